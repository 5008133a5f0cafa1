//! Brokers that say numbers which no broker should say.

use std::time::Duration;

use daemoneye_eventbus_core::client::State;
use daemoneye_eventbus_core::wire::text::{Code, Dropped, ErrText, FromBroker};

use crate::support::{ScriptedBroker, greet, open, subscribed};

#[test]
fn a_ping_interval_beyond_every_clock_costs_nobody_the_next_connection() {
    for told in [1e19, 1e300, -1.0] {
        let broker = ScriptedBroker::new();
        let (link, waker) = open(&broker);
        for _ in 0..2 {
            let client = greet(&broker, told);
            waker.until("connected", || link.state() == State::Connected);
            // Whoever looks after the connection is still there to dial again.
            broker.turn();
            drop(client);
            // A pipe closes when its runtime gets to it.
            broker.turn();
            waker.until("lost", || link.state() == State::Reconnecting);
        }
    }
}

#[test]
fn a_ping_interval_of_next_to_nothing_makes_no_flood() {
    for told in [0.0, 1e-9] {
        let broker = ScriptedBroker::new();
        let (link, waker) = open(&broker);
        let client = greet(&broker, told);
        waker.until("connected", || link.state() == State::Connected);
        std::thread::sleep(Duration::from_millis(300));
        let said = broker.read(&client, 1);
        assert!(said.len() < 1000, "{} bytes of PONG at least", said.len());
    }
}

#[test]
fn a_loss_count_beyond_u64_saturates() {
    let broker = ScriptedBroker::new();
    let (link, waker) = open(&broker);
    let client = greet(&broker, 30.0);
    let (inbox, id) = subscribed(&broker, &link, &waker, &client);
    for reason in ["overflow", "max_frame"] {
        let dropped = Dropped {
            subscriptions: [(id, u64::MAX)].into(),
            reason: reason.to_owned(),
        };
        broker.send(&client, &FromBroker::Dropped(dropped).frame());
    }
    waker.until("told", || inbox.queue.snapshot().dropped.contains(&u64::MAX));
    broker.send(&client, &FromBroker::Ping.frame());
    let mut heard = Vec::new();
    while !heard.ends_with(b"\x04\0\0\0PONG") {
        heard.extend(broker.read(&client, 1));
    }
    assert_eq!(inbox.queue.snapshot().lost(), u64::MAX);
    assert_eq!(link.state(), State::Connected);
}

#[test]
fn a_refusal_count_beyond_u64_saturates() {
    let broker = ScriptedBroker::new();
    let (link, waker) = open(&broker);
    let client = greet(&broker, 30.0);
    waker.until("connected", || link.state() == State::Connected);
    let refused = |count| {
        let refused = ErrText {
            topic: Some("events.process.new".to_owned()),
            count: Some(count),
            ..ErrText::new(Code::Rights, "no")
        };
        FromBroker::Err(refused).frame()
    };
    broker.send(&client, &[refused(2), refused(u64::MAX), refused(1)].concat());
    waker.until("told", || link.local_statistics().refused >= u64::MAX - 1);
    broker.send(&client, &FromBroker::Ping.frame());
    assert!(broker.read(&client, 8).ends_with(b"PONG"));
    assert_eq!(link.local_statistics().refused, u64::MAX);
}
