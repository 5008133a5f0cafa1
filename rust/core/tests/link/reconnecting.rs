//! What happens to a link between the moment in which its connection is made again and the one in which it is live.

use std::sync::Arc;
use std::time::{Duration, Instant};

use daemoneye_eventbus_core::client::{State, Ticket};
use daemoneye_eventbus_core::wire::frame::DEFAULT_MAX_FRAME;
use daemoneye_eventbus_core::wire::text::{FromBroker, FromClient, Id};
use daemoneye_eventbus_core::wire::{self, Dialect};

use crate::support::{
    ScriptedBroker, TestWaker, broken, greet, inbox, info, next_text, ok_frame, open, pids, wait_done, with_draft,
};

#[test]
fn what_a_broker_had_sent_before_it_answered_is_skipped_and_counted() {
    let broker = ScriptedBroker::new();
    let (link, waker) = open(&broker);
    // To a broker that took it for a peer of the original. The first time it gets no further.
    for answer in [Vec::new(), info(30.0)] {
        let client = broker.accept();
        assert!(broker.read(&client, 1)[4..].starts_with(b"CONNECT"));
        let mut sent = b"\x02\0\0\0\x10\0".to_vec();
        sent.extend(FromBroker::Pong.frame());
        sent.extend(&answer);
        broker.send(&client, &sent);
        if !answer.is_empty() {
            waker.until("connected", || link.state() == State::Connected);
        }
    }
    assert_eq!(link.local_statistics().decode_errors, 4);
}

#[test]
fn a_subscription_ended_during_resubscription_is_ended_at_the_broker_too() {
    let broker = ScriptedBroker::new();
    let (link, waker, first, id) = broken(&broker);
    let client = greet(&broker, 30.0);
    let mut read = Vec::new();
    assert!(matches!(next_text(&broker, &client, &mut read), FromClient::Sub(sub) if sub.id == id));
    // The broker is slow to answer, and nobody wants it any more.
    let ticket = Ticket::new(Arc::<TestWaker>::clone(&waker) as _);
    link.unsubscribe(id, &first, ticket.clone(), None);
    wait_done(&waker, &ticket);
    assert!(first.queue.is_closed());
    broker.send(&client, &ok_frame(id));
    assert_eq!(next_text(&broker, &client, &mut read), FromClient::Unsub(Id { id }));
    waker.until("connected", || link.state() == State::Connected);
    broker.send(&client, &ok_frame(id));
    // The link is as good as any: others are asked for and answered.
    let second = inbox(&waker, &["events.#"], 10, false);
    let ticket = Ticket::new(Arc::<TestWaker>::clone(&waker) as _);
    let id = link.subscribe(second, ticket.clone()).unwrap();
    assert!(matches!(next_text(&broker, &client, &mut read), FromClient::Sub(sub) if sub.id == id));
    broker.send(&client, &ok_frame(id));
    wait_done(&waker, &ticket);
}

#[test]
fn a_connection_without_progress_is_closed_before_the_next_is_made() {
    let mut broker = ScriptedBroker::new();
    let (link, waker, _inbox, id) = broken(&broker);
    let client = greet(&broker, 30.0);
    let mut read = Vec::new();
    assert!(matches!(next_text(&broker, &client, &mut read), FromClient::Sub(sub) if sub.id == id));
    // Nobody can be dialled instead of this one, which never answers.
    drop(broker.listener.take());
    assert_eq!(broker.read(&client, 1), b"");
    assert_eq!(link.state(), State::Reconnecting);
    // On Windows this end holds the path too, until the runtime has got to it.
    drop(client);
    broker.turn();
    broker.listen();
    let client = greet(&broker, 30.0);
    assert!(matches!(next_text(&broker, &client, &mut read), FromClient::Sub(sub) if sub.id == id));
    broker.send(&client, &ok_frame(id));
    waker.until("connected", || link.state() == State::Connected);
}

#[test]
fn a_subscription_confirmed_on_a_connection_that_never_went_live_is_interrupted_once_more() {
    let broker = ScriptedBroker::new();
    let (link, waker, first, id) = broken(&broker);
    assert_eq!(first.gaps(), 1);
    let second = inbox(&waker, &["events.#"], 10, false);
    let ticket = Ticket::new(Arc::<TestWaker>::clone(&waker) as _);
    let other = link.subscribe(second, ticket).unwrap();
    let client = greet(&broker, 30.0);
    let mut read = Vec::new();
    for asked in [id, other] {
        assert!(matches!(next_text(&broker, &client, &mut read), FromClient::Sub(sub) if sub.id == asked));
    }
    let mut sent = ok_frame(id);
    with_draft(7, |draft| {
        wire::write(Dialect::Bincode, draft, DEFAULT_MAX_FRAME, 8, &mut sent).unwrap();
    });
    broker.send(&client, &sent);
    assert_eq!(pids(&first, &waker, 1), [7]);
    drop(client);
    broker.turn();
    let client = greet(&broker, 30.0);
    broker.send(&client, &ok_frame(id));
    broker.send(&client, &ok_frame(other));
    waker.until("connected", || link.state() == State::Connected);
    assert_eq!(first.gaps(), 2);
}

#[test]
fn a_link_closed_during_the_handshake_closes_the_connection() {
    let broker = ScriptedBroker::new();
    let (link, _waker) = open(&broker);
    let client = broker.accept();
    assert!(broker.read(&client, 1)[4..].starts_with(b"CONNECT"));
    let begun = Instant::now();
    link.close();
    assert_eq!(broker.read(&client, 1), b"");
    // An attempt may take 3 s.
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}
