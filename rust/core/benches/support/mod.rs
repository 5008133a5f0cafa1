//! What several benches need: a broker, a process event in a message, a subscription, and a reader that nobody has to wake.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // Each bench uses some of it, and one that fails should stop.

use std::sync::mpsc;

use daemoneye_eventbus_core::broker::{Broker, BrokerConfig};
use daemoneye_eventbus_core::event::{
    CollectionEvent, CorrelationMetadata, EventSubscription, Map, ProcessEvent, SourceCaps, Timestamp,
};
use daemoneye_eventbus_core::queue::{Limits, Wake};
use daemoneye_eventbus_core::transport::Address;
use daemoneye_eventbus_core::wire::{Draft, Payload};

pub const TOPIC: &str = "events.process.new";
/// No clock is read, so that nothing depends on how long anything takes.
pub const NOW: Timestamp = Timestamp {
    secs: 1_767_916_800,
    nanos: 123_456_789,
};
pub const LIMITS: Limits = Limits {
    messages: 65_536,
    bytes: 8 << 20,
};

pub struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

/// A running broker, and the directory of its socket.
pub fn start() -> (Broker, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let address = Address::from_path(&directory.path().join("b.sock")).unwrap();
    let config = BrokerConfig {
        max_patterns_per_client: 200_000,
        ..BrokerConfig::default()
    };
    let broker = Broker::new(address, config).unwrap();
    let (done, wait) = mpsc::channel();
    broker.start(move |result| done.send(result).unwrap());
    wait.recv().unwrap().unwrap();
    (broker, directory)
}

/// A message of about 230 bytes; `command_line` decides exactly.
pub fn with_draft<R>(topic: &str, command_line: &str, work: impl FnOnce(&mut Draft<'_>) -> R) -> R {
    let event = CollectionEvent::Process(ProcessEvent {
        pid: 4321,
        name: "postgres",
        command_line: Some(command_line),
        executable_path: Some("/usr/lib/postgresql/bin/postgres"),
        ppid: Some(1),
        start_time: None,
        metadata: Map(vec![("collector", "procmond"), ("host", "node-7")]),
    });
    work(&mut Draft {
        id: uuid::Uuid::from_u128(7),
        topic,
        correlation_metadata: CorrelationMetadata {
            correlation_id: "correlation-123",
            parent_correlation_id: None,
            root_correlation_id: "correlation-123",
            sequence_number: 0,
            workflow_stage: None,
            correlation_tags: Map::default(),
            created_at: NOW,
        },
        payload: Payload::Event(&event),
        sequence: 1,
        timestamp: NOW,
    })
}

pub fn subscription(pattern: &str) -> EventSubscription {
    EventSubscription {
        subscriber_id: "s".into(),
        capabilities: SourceCaps::default(),
        event_filter: None,
        correlation_filter: None,
        topic_patterns: Some(vec![pattern.into()]),
        enable_wildcards: true,
        include_control: false,
    }
}
