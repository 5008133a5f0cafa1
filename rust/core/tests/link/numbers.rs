//! Brokers that say numbers which no broker should say.

use std::sync::Arc;
use std::time::Duration;

use daemoneye_eventbus_core::client::{ClientConfig, Link, Reader, State};
use daemoneye_eventbus_core::queue::Wake;
use daemoneye_eventbus_core::transport::Stream;
use daemoneye_eventbus_core::wire::text::{FromBroker, Info, PROTOCOL};

use crate::support::{Bell, FarEnd};

/// Answers CONNECT, with `ping_interval` in it.
fn greet(broker: &FarEnd, ping_interval: f64) -> Stream {
    let client = broker.accept();
    assert!(broker.read(&client, 1)[4..].starts_with(b"CONNECT"));
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
    broker.send(&client, &FromBroker::Info(Box::new(info)).frame());
    client
}

fn open(broker: &FarEnd) -> (Link, Arc<Bell>) {
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
            bell.until("lost", || link.state() == State::Reconnecting);
        }
    }
}
