//! Brokers that say numbers which no broker should say.

use std::sync::Arc;
use std::time::Duration;

use daemoneye_eventbus_core::client::{ClientConfig, Inbox, Link, Reader, State, Ticket};
use daemoneye_eventbus_core::queue::Wake;
use daemoneye_eventbus_core::transport::Stream;
use daemoneye_eventbus_core::wire::text::{Code, Dropped, Err as ErrText, FromBroker, Info, PROTOCOL};

use crate::midway::yes;
use crate::support::{Bell, FarEnd, answered, inbox};

/// The answer to CONNECT, with `ping_interval` in it.
pub(crate) fn info(ping_interval: f64) -> Vec<u8> {
    let info = Info {
        protocol: PROTOCOL,
        version: "0".to_owned(),
        client_id: uuid::Uuid::nil(),
        dialect: "bincode".to_owned(),
        max_frame: u64::MAX,
        queue_messages: u64::MAX,
        queue_bytes: u64::MAX,
        max_patterns_per_client: u64::MAX,
        max_filter_terms: u64::MAX,
        max_topic_depth: u64::MAX,
        ping_interval,
        nonce: None,
        auth: "none".to_owned(),
    };
    FromBroker::Info(Box::new(info)).frame()
}

/// Answers CONNECT.
pub(crate) fn greet(broker: &FarEnd, ping_interval: f64) -> Stream {
    let client = broker.accept();
    assert!(broker.read(&client, 1)[4..].starts_with(b"CONNECT"));
    broker.send(&client, &info(ping_interval));
    client
}

/// A link that dials again at once.
pub(crate) fn open(broker: &FarEnd) -> (Link, Arc<Bell>) {
    let bell = Arc::new(Bell::default());
    let host: Arc<dyn Wake> = Arc::<Bell>::clone(&bell);
    let config = ClientConfig {
        reconnect_max: Duration::from_millis(100),
        ..ClientConfig::default()
    };
    let link = Link::open(broker.place.address.clone(), config, Reader::Link, host).unwrap();
    (link, bell)
}

#[test]
fn a_ping_interval_beyond_every_clock_costs_nobody_the_next_connection() {
    for told in [1e19, 1e300, -1.0] {
        let broker = FarEnd::new();
        let (link, bell) = open(&broker);
        for _ in 0..2 {
            let client = greet(&broker, told);
            bell.until("connected", || link.state() == State::Connected);
            // Whoever looks after the connection is still there to dial again.
            broker.turn();
            drop(client);
            // A pipe closes when its runtime gets to it.
            broker.turn();
            bell.until("lost", || link.state() == State::Reconnecting);
        }
    }
}

#[test]
fn a_ping_interval_of_next_to_nothing_makes_no_flood() {
    for told in [0.0, 1e-9] {
        let broker = FarEnd::new();
        let (link, bell) = open(&broker);
        let client = greet(&broker, told);
        bell.until("connected", || link.state() == State::Connected);
        std::thread::sleep(Duration::from_millis(300));
        let said = broker.read(&client, 1);
        assert!(said.len() < 1000, "{} bytes of PONG at least", said.len());
    }
}

/// A subscription to all events that the broker has confirmed, and its number there.
pub(crate) fn subscribed(broker: &FarEnd, link: &Link, bell: &Arc<Bell>, client: &Stream) -> (Arc<Inbox>, u64) {
    let inbox = inbox(bell, &["events.#"], 10, false);
    let ticket = Ticket::new(Arc::<Bell>::clone(bell) as _);
    let id = link.subscribe(Arc::clone(&inbox), ticket.clone()).unwrap();
    broker.send(client, &yes(id));
    answered(bell, &ticket);
    (inbox, id)
}

#[test]
fn more_losses_than_can_be_counted_are_as_many_as_can() {
    let broker = FarEnd::new();
    let (link, bell) = open(&broker);
    let client = greet(&broker, 30.0);
    let (inbox, id) = subscribed(&broker, &link, &bell, &client);
    for reason in ["overflow", "max_frame"] {
        let dropped = Dropped {
            subscriptions: [(id, u64::MAX)].into(),
            reason: reason.to_owned(),
        };
        broker.send(&client, &FromBroker::Dropped(dropped).frame());
    }
    bell.until("told", || inbox.queue.snapshot().dropped.contains(&u64::MAX));
    broker.send(&client, &FromBroker::Ping.frame());
    let mut heard = Vec::new();
    while !heard.ends_with(b"\x04\0\0\0PONG") {
        heard.extend(broker.read(&client, 1));
    }
    assert_eq!(inbox.queue.snapshot().lost(), u64::MAX);
    assert_eq!(link.state(), State::Connected);
}

#[test]
fn more_refusals_than_can_be_counted_are_as_many_as_can() {
    let broker = FarEnd::new();
    let (link, bell) = open(&broker);
    let client = greet(&broker, 30.0);
    bell.until("connected", || link.state() == State::Connected);
    let refused = |count| {
        let refused = ErrText {
            topic: Some("events.process.new".to_owned()),
            count: Some(count),
            ..ErrText::new(Code::Rights, "no")
        };
        FromBroker::Err(refused).frame()
    };
    broker.send(&client, &[refused(2), refused(u64::MAX), refused(1)].concat());
    bell.until("told", || link.local_statistics().refused >= u64::MAX - 1);
    broker.send(&client, &FromBroker::Ping.frame());
    assert!(broker.read(&client, 8).ends_with(b"PONG"));
    assert_eq!(link.local_statistics().refused, u64::MAX);
}
