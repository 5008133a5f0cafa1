//! The types of the wire as plain serde structs, so that bincode's and postcard's own decoders can be asked for their verdict.
//!
//! Written from `docs/wire.md` and sharing nothing with the bus. Everything is borrowed: the crates then take text and bytes from what
//! is there, whatever length is announced.

use std::collections::BTreeMap;

use daemoneye_eventbus_core::wire::Dialect;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub struct Time {
    pub secs: u64,
    pub nanos: u32,
}

#[derive(Debug, Deserialize)]
pub struct Correlation<'a> {
    pub correlation_id: &'a str,
    pub parent_correlation_id: Option<&'a str>,
    pub root_correlation_id: &'a str,
    pub sequence_number: u64,
    pub workflow_stage: Option<&'a str>,
    #[serde(borrow)]
    pub correlation_tags: BTreeMap<&'a str, &'a str>,
    pub created_at: Time,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub enum MessageType {
    Event,
    Control,
    Heartbeat,
    Shutdown,
}

#[derive(Debug, Deserialize)]
pub struct Message<'a> {
    #[serde(borrow)]
    pub id: &'a serde_bytes::Bytes,
    pub topic: &'a str,
    #[serde(borrow)]
    pub correlation_metadata: Correlation<'a>,
    #[serde(borrow)]
    pub payload: &'a serde_bytes::Bytes,
    pub sequence: u64,
    pub timestamp: Time,
    pub message_type: MessageType,
}

#[derive(Debug, Deserialize)]
pub enum Event<'a> {
    Process {
        pid: u32,
        name: &'a str,
        command_line: Option<&'a str>,
        executable_path: Option<&'a str>,
        ppid: Option<u32>,
        start_time: Option<Time>,
        #[serde(borrow)]
        metadata: BTreeMap<&'a str, &'a str>,
    },
    Network {
        connection_id: &'a str,
        source_address: &'a str,
        destination_address: &'a str,
        protocol: &'a str,
        #[serde(borrow)]
        metadata: BTreeMap<&'a str, &'a str>,
    },
    Filesystem {
        path: &'a str,
        event_type: &'a str,
        size: Option<u64>,
        #[serde(borrow)]
        metadata: BTreeMap<&'a str, &'a str>,
    },
    Performance {
        metric_name: &'a str,
        value: f64,
        unit: &'a str,
        #[serde(borrow)]
        metadata: BTreeMap<&'a str, &'a str>,
    },
    Trigger {
        request_id: &'a str,
        collector_type: &'a str,
        priority: u8,
        #[serde(borrow)]
        payload: &'a serde_bytes::Bytes,
        #[serde(borrow)]
        metadata: BTreeMap<&'a str, &'a str>,
    },
}

/// The crate's own verdict on whole bytes; `None` where it refuses them or leaves some over.
pub fn decode<'de, T: Deserialize<'de>>(dialect: Dialect, bytes: &'de [u8]) -> Option<T> {
    match dialect {
        Dialect::Postcard => match postcard::take_from_bytes(bytes) {
            Ok((value, [])) => Some(value),
            _ => None,
        },
        _ => match bincode::serde::borrow_decode_from_slice(bytes, bincode::config::standard()) {
            Ok((value, used)) if used == bytes.len() => Some(value),
            _ => None,
        },
    }
}

impl Time {
    /// Whether the nanoseconds are a second or more: the bus, as `Duration`, carries them over.
    pub fn carries(&self) -> bool {
        self.nanos >= 1_000_000_000
    }

    /// Whether the clock can say it.
    pub fn is_possible(&self) -> bool {
        self.secs
            .checked_add(u64::from(self.nanos / 1_000_000_000))
            .is_some_and(|secs| secs <= i64::MAX.unsigned_abs())
    }
}

impl Message<'_> {
    /// Whether the bus takes what the crate took: it asks for 16 bytes of id and for times that a clock can say.
    pub fn is_possible(&self) -> bool {
        self.id.len() == 16 && self.timestamp.is_possible() && self.correlation_metadata.created_at.is_possible()
    }

    pub fn carries(&self) -> bool {
        self.timestamp.carries() || self.correlation_metadata.created_at.carries()
    }
}

impl Event<'_> {
    pub fn is_possible(&self) -> bool {
        match self {
            Self::Process {
                start_time: Some(time), ..
            } => time.is_possible(),
            _ => true,
        }
    }
}
