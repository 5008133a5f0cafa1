//! What a broker sends together with something else, or as its last: all of it is processed.

use std::sync::Arc;

use daemoneye_eventbus_core::client::{ClientConfig, Inbox, Link, Read, Reader, State, Ticket};
use daemoneye_eventbus_core::queue::{DropReason, Wake};
use daemoneye_eventbus_core::transport::{Peer, Stream};
use daemoneye_eventbus_core::wire::frame::DEFAULT_MAX_FRAME;
use daemoneye_eventbus_core::wire::text::{Bye, Code, ErrText, FromBroker, FromClient};
use daemoneye_eventbus_core::wire::{self, Dialect};

use crate::support::{
    ScriptedBroker, TestWaker, broken, greet, inbox, next_text, ok_frame, open, pids, publish, wait_done, with_draft,
};

fn refusal() -> ErrText {
    ErrText::new(Code::DisconnectedByOperator, "for good")
}

#[test]
fn a_final_refusal_behind_the_answers_of_a_new_connection_is_final() {
    let broker = ScriptedBroker::new();
    let (link, waker, _inbox, id) = broken(&broker);
    let client = greet(&broker, 30.0);
    assert!(matches!(next_text(&broker, &client, &mut Vec::new()), FromClient::Sub(sub) if sub.id == id));
    broker.send(&client, &[ok_frame(id), FromBroker::Err(refusal()).frame()].concat());
    waker.until("closed", || link.state() == State::Closed);
    assert_eq!(link.cause(), Some(refusal().into_error(Peer::own_uid())));
}

#[test]
fn a_ping_behind_the_answers_of_a_new_connection_is_answered() {
    let broker = ScriptedBroker::new();
    let (link, waker, _inbox, id) = broken(&broker);
    let client = greet(&broker, 30.0);
    let mut read = Vec::new();
    assert!(matches!(next_text(&broker, &client, &mut read), FromClient::Sub(sub) if sub.id == id));
    broker.send(&client, &[ok_frame(id), FromBroker::Ping.frame()].concat());
    waker.until("connected", || link.state() == State::Connected);
    assert_eq!(next_text(&broker, &client, &mut read), FromClient::Pong);
}

#[test]
fn a_final_refusal_before_an_invalid_frame_is_final() {
    let broker = ScriptedBroker::new();
    let (link, waker) = open(&broker);
    let client = greet(&broker, 30.0);
    waker.until("connected", || link.state() == State::Connected);
    broker.send(&client, &[FromBroker::Err(refusal()).frame(), vec![0; 4]].concat());
    waker.until("closed", || link.state() == State::Closed);
    assert_eq!(link.cause(), Some(refusal().into_error(Peer::own_uid())));
}

#[test]
fn a_text_that_is_not_of_this_protocol_ends_the_connection() {
    let broker = ScriptedBroker::new();
    let (link, waker) = open(&broker);
    let client = greet(&broker, 30.0);
    waker.until("connected", || link.state() == State::Connected);
    broker.send(&client, b"\x08\0\0\0abc:PING");
    waker.until("lost", || link.state() == State::Reconnecting);
}

#[test]
fn what_came_whole_before_an_invalid_frame_is_delivered() {
    for block in [false, true] {
        let broker = ScriptedBroker::new();
        let (link, waker) = open(&broker);
        let client = greet(&broker, 30.0);
        let inbox = fed(&broker, &link, &waker, &client, block);
        broker.send(&client, &[events(0..3), vec![0; 4]].concat());
        waker.until("lost", || link.state() == State::Reconnecting);
        assert_eq!(pids(&inbox, &waker, 3), [0, 1, 2]);
    }
}

#[test]
fn what_a_broker_sent_before_it_ended_is_delivered_though_nobody_reads_for_a_full_subscription() {
    for (last, cause) in [(vec![], "closed the connection"), (bye(), "said goodbye: over")] {
        let broker = ScriptedBroker::new();
        let (link, waker) = open_once(&broker, Reader::Link);
        let client = greet(&broker, 30.0);
        let inbox = fed(&broker, &link, &waker, &client, true);
        let sent = [events(0..500), last].concat();
        broker.send(&client, &sent);
        drop(client);
        broker.turn();
        waker.until("found closed", || link.state() == State::Closed);
        assert_eq!(pids(&inbox, &waker, 500), (0..500).collect::<Vec<_>>());
        assert_eq!(inbox.queue.snapshot().lost(), 0);
        let said = link.cause().map(|cause| cause.to_string());
        assert!(said.as_ref().is_some_and(|said| said.contains(cause)), "{said:?}");
    }
}

#[test]
fn what_has_come_when_a_link_is_closed_is_accounted_for_though_a_subscription_is_full() {
    let broker = ScriptedBroker::new();
    let (link, waker) = open_once(&broker, Reader::Link);
    let client = greet(&broker, 30.0);
    let inbox = fed(&broker, &link, &waker, &client, true);
    // Each ends a run, so that most of it stands behind what the full queue is waited for with.
    let sent = (0..35).flat_map(|pid| [events(pid..pid + 1), FromBroker::Pong.frame()].concat());
    broker.send(&client, &sent.collect::<Vec<_>>());
    waker.until("full", || inbox.queue.snapshot().messages == 1);
    link.close();
    let now = inbox.queue.snapshot();
    assert_eq!(now.messages as u64 + now.lost(), 35);
}

#[test]
fn a_full_subscription_takes_the_last_of_one_broker_beyond_its_limits_and_counts_that_of_the_next() {
    let broker = ScriptedBroker::new();
    let (link, waker) = open(&broker);
    let client = greet(&broker, 30.0);
    let inbox = fed(&broker, &link, &waker, &client, true);
    let ends = |client: Stream, numbers| {
        broker.send(&client, &events(numbers));
        drop(client);
        broker.turn();
        waker.until("lost", || link.state() == State::Reconnecting);
    };
    let comes_back = || {
        let client = greet(&broker, 30.0);
        let FromClient::Sub(sub) = next_text(&broker, &client, &mut Vec::new()) else {
            panic!("subscribed again");
        };
        broker.send(&client, &ok_frame(sub.id));
        waker.until("connected", || link.state() == State::Connected);
        client
    };
    ends(client, 0..100);
    for round in 1..4 {
        ends(comes_back(), 100 * round..100 * (round + 1));
    }
    let now = inbox.queue.snapshot();
    assert_eq!(
        (now.messages, now.dropped[DropReason::Disconnected as usize]),
        (100, 300)
    );
    // Within its limits again, it loses nothing.
    assert_eq!(pids(&inbox, &waker, 100), (0..100).collect::<Vec<_>>());
    ends(comes_back(), 400..500);
    let Ok(next) = inbox.queue.pop() else {
        panic!("as before");
    };
    assert_eq!(next.dropped_before, 300);
    assert_eq!(pids(&inbox, &waker, 99), (401..500).collect::<Vec<_>>());
    assert_eq!(inbox.queue.snapshot().lost(), 300);
}

#[test]
fn what_a_broker_sent_before_it_ended_is_delivered_though_the_host_stands_still() {
    let broker = ScriptedBroker::new();
    let (link, waker) = open_once(&broker, Reader::Host);
    let client = greet(&broker, 30.0);
    waker.until("connected", || link.state() == State::Connected);
    let inbox = inbox(&waker, &["events.#"], 100, false);
    let ticket = Ticket::new(Arc::<TestWaker>::clone(&waker) as _);
    let id = link.subscribe(Arc::clone(&inbox), ticket.clone()).unwrap();
    broker.send(&client, &ok_frame(id));
    waker.until("answered", || {
        link.on_readable() == Read::Open && ticket.poll().is_some()
    });
    broker.send(&client, &[events(0..20), bye()].concat());
    drop(client);
    broker.turn();
    // From another thread, say; that nobody takes it is how the end is found.
    publish(&link, &waker, 1);
    waker.until("found closed", || link.state() == State::Closed);
    assert_eq!(pids(&inbox, &waker, 20), (0..20).collect::<Vec<_>>());
    let said = link.cause().map(|cause| cause.to_string());
    assert!(said.as_ref().is_some_and(|said| said.contains("goodbye")), "{said:?}");
}

fn events(numbers: std::ops::Range<u32>) -> Vec<u8> {
    let mut sent = Vec::new();
    for pid in numbers {
        with_draft(pid, |draft| {
            wire::write(Dialect::Bincode, draft, DEFAULT_MAX_FRAME, 8, &mut sent).unwrap();
        });
    }
    sent
}

fn bye() -> Vec<u8> {
    FromBroker::Bye(Bye {
        reason: Some("over".to_owned()),
    })
    .frame()
}

/// A link that dials no second time.
fn open_once(broker: &ScriptedBroker, reader: Reader) -> (Link, Arc<TestWaker>) {
    let waker = Arc::new(TestWaker::default());
    let host: Arc<dyn Wake> = Arc::<TestWaker>::clone(&waker);
    let config = ClientConfig {
        reconnect: false,
        ..ClientConfig::default()
    };
    let link = Link::open(broker.place.address.clone(), config, reader, host).unwrap();
    (link, waker)
}

/// The queue, of one message if it blocks, of a subscription that the broker has confirmed.
fn fed(broker: &ScriptedBroker, link: &Link, waker: &Arc<TestWaker>, client: &Stream, block: bool) -> Arc<Inbox> {
    let inbox = inbox(waker, &["events.#"], if block { 1 } else { 10 }, block);
    let ticket = Ticket::new(Arc::<TestWaker>::clone(waker) as _);
    let id = link.subscribe(Arc::clone(&inbox), ticket.clone()).unwrap();
    broker.send(client, &ok_frame(id));
    wait_done(waker, &ticket);
    inbox
}
