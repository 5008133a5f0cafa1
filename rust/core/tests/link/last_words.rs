//! What a broker says in one breath with something else, or as its last: all of it is heard.

use std::sync::Arc;

use daemoneye_eventbus_core::client::{ClientConfig, Inbox, Link, Read, Reader, State, Ticket};
use daemoneye_eventbus_core::queue::{DropReason, Wake};
use daemoneye_eventbus_core::transport::Stream;
use daemoneye_eventbus_core::wire::frame::DEFAULT_MAX_FRAME;
use daemoneye_eventbus_core::wire::text::{Bye, Code, ErrText, FromBroker, FromClient};
use daemoneye_eventbus_core::wire::{self, Dialect};

use crate::support::{
    Bell, ScriptedBroker, answered, broken, greet, inbox, open, pids, publish, said, with_draft, yes,
};

fn refusal() -> ErrText {
    ErrText::new(Code::DisconnectedByOperator, "for good")
}

#[test]
fn a_last_refusal_behind_the_answers_of_a_new_connection_is_the_last() {
    let broker = ScriptedBroker::new();
    let (link, bell, _inbox, id) = broken(&broker);
    let client = greet(&broker, 30.0);
    assert!(matches!(said(&broker, &client, &mut Vec::new()), FromClient::Sub(sub) if sub.id == id));
    broker.send(&client, &[yes(id), FromBroker::Err(refusal()).frame()].concat());
    bell.until("closed", || link.state() == State::Closed);
    assert_eq!(link.cause(), Some(refusal().into_error()));
}

#[test]
fn a_ping_behind_the_answers_of_a_new_connection_is_answered() {
    let broker = ScriptedBroker::new();
    let (link, bell, _inbox, id) = broken(&broker);
    let client = greet(&broker, 30.0);
    let mut read = Vec::new();
    assert!(matches!(said(&broker, &client, &mut read), FromClient::Sub(sub) if sub.id == id));
    broker.send(&client, &[yes(id), FromBroker::Ping.frame()].concat());
    bell.until("connected", || link.state() == State::Connected);
    assert_eq!(said(&broker, &client, &mut read), FromClient::Pong);
}

#[test]
fn a_last_refusal_before_a_frame_that_cannot_be_is_the_last() {
    let broker = ScriptedBroker::new();
    let (link, bell) = open(&broker);
    let client = greet(&broker, 30.0);
    bell.until("connected", || link.state() == State::Connected);
    broker.send(&client, &[FromBroker::Err(refusal()).frame(), vec![0; 4]].concat());
    bell.until("closed", || link.state() == State::Closed);
    assert_eq!(link.cause(), Some(refusal().into_error()));
}

#[test]
fn a_text_that_is_none_of_this_protocol_ends_the_connection() {
    let broker = ScriptedBroker::new();
    let (link, bell) = open(&broker);
    let client = greet(&broker, 30.0);
    bell.until("connected", || link.state() == State::Connected);
    broker.send(&client, b"\x08\0\0\0abc:PING");
    bell.until("lost", || link.state() == State::Reconnecting);
}

#[test]
fn what_came_whole_before_a_frame_that_cannot_be_is_delivered() {
    for block in [false, true] {
        let broker = ScriptedBroker::new();
        let (link, bell) = open(&broker);
        let client = greet(&broker, 30.0);
        let inbox = fed(&broker, &link, &bell, &client, block);
        broker.send(&client, &[events(0..3), vec![0; 4]].concat());
        bell.until("lost", || link.state() == State::Reconnecting);
        assert_eq!(pids(&inbox, &bell, 3), [0, 1, 2]);
    }
}

#[test]
fn what_a_broker_sent_before_it_ended_is_delivered_though_nobody_reads_for_a_full_subscription() {
    for (last, cause) in [(vec![], "closed the connection"), (bye(), "said goodbye: over")] {
        let broker = ScriptedBroker::new();
        let (link, bell) = open_once(&broker, Reader::Link);
        let client = greet(&broker, 30.0);
        let inbox = fed(&broker, &link, &bell, &client, true);
        let sent = [events(0..500), last].concat();
        broker.send(&client, &sent);
        drop(client);
        broker.turn();
        bell.until("found closed", || link.state() == State::Closed);
        assert_eq!(pids(&inbox, &bell, 500), (0..500).collect::<Vec<_>>());
        assert_eq!(inbox.queue.snapshot().lost(), 0);
        let said = link.cause().map(|cause| cause.to_string());
        assert!(said.as_ref().is_some_and(|said| said.contains(cause)), "{said:?}");
    }
}

#[test]
fn a_full_subscription_takes_the_last_of_one_broker_beyond_its_limits_and_counts_that_of_the_next() {
    let broker = ScriptedBroker::new();
    let (link, bell) = open(&broker);
    let client = greet(&broker, 30.0);
    let inbox = fed(&broker, &link, &bell, &client, true);
    let ends = |client: Stream, numbers| {
        broker.send(&client, &events(numbers));
        drop(client);
        broker.turn();
        bell.until("lost", || link.state() == State::Reconnecting);
    };
    let comes_back = || {
        let client = greet(&broker, 30.0);
        let FromClient::Sub(sub) = said(&broker, &client, &mut Vec::new()) else {
            panic!("subscribed again");
        };
        broker.send(&client, &yes(sub.id));
        bell.until("connected", || link.state() == State::Connected);
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
    assert_eq!(pids(&inbox, &bell, 100), (0..100).collect::<Vec<_>>());
    ends(comes_back(), 400..500);
    let Ok(next) = inbox.queue.pop() else {
        panic!("as before");
    };
    assert_eq!(next.dropped_before, 300);
    assert_eq!(pids(&inbox, &bell, 99), (401..500).collect::<Vec<_>>());
    assert_eq!(inbox.queue.snapshot().lost(), 300);
}

#[test]
fn what_a_broker_sent_before_it_ended_is_delivered_though_the_host_stands_still() {
    let broker = ScriptedBroker::new();
    let (link, bell) = open_once(&broker, Reader::Host);
    let client = greet(&broker, 30.0);
    bell.until("connected", || link.state() == State::Connected);
    let inbox = inbox(&bell, &["events.#"], 100, false);
    let ticket = Ticket::new(Arc::<Bell>::clone(&bell) as _);
    let id = link.subscribe(Arc::clone(&inbox), ticket.clone()).unwrap();
    broker.send(&client, &yes(id));
    bell.until("answered", || {
        link.on_readable() == Read::Open && ticket.poll().is_some()
    });
    broker.send(&client, &[events(0..20), bye()].concat());
    drop(client);
    broker.turn();
    // From another thread, say; that nobody takes it is how the end is found.
    publish(&link, &bell, 1);
    bell.until("found closed", || link.state() == State::Closed);
    assert_eq!(pids(&inbox, &bell, 20), (0..20).collect::<Vec<_>>());
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
fn open_once(broker: &ScriptedBroker, reader: Reader) -> (Link, Arc<Bell>) {
    let bell = Arc::new(Bell::default());
    let host: Arc<dyn Wake> = Arc::<Bell>::clone(&bell);
    let config = ClientConfig {
        reconnect: false,
        ..ClientConfig::default()
    };
    let link = Link::open(broker.place.address.clone(), config, reader, host).unwrap();
    (link, bell)
}

/// The queue, of one message if it blocks, of a subscription that the broker has confirmed.
fn fed(broker: &ScriptedBroker, link: &Link, bell: &Arc<Bell>, client: &Stream, block: bool) -> Arc<Inbox> {
    let inbox = inbox(bell, &["events.#"], if block { 1 } else { 10 }, block);
    let ticket = Ticket::new(Arc::<Bell>::clone(bell) as _);
    let id = link.subscribe(Arc::clone(&inbox), ticket.clone()).unwrap();
    broker.send(client, &yes(id));
    answered(bell, &ticket);
    inbox
}
