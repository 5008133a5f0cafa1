//! The five events that collectors publish, and their union.
use serde::{Deserialize, Serialize};

use super::{Map, Timestamp};

/// Something about a process; times and ids are the collector's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessEvent<T, M> {
    pub pid: u32,
    pub name: T,
    pub command_line: Option<T>,
    pub executable_path: Option<T>,
    pub ppid: Option<u32>,
    pub start_time: Option<Timestamp>,
    pub metadata: M,
}

/// Something about a network connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkEvent<T, M> {
    pub connection_id: T,
    pub source_address: T,
    pub destination_address: T,
    pub protocol: T,
    pub metadata: M,
}

/// Something that happened to a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesystemEvent<T, M> {
    pub path: T,
    pub event_type: T,
    pub size: Option<u64>,
    pub metadata: M,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PerformanceEvent<T, M> {
    pub metric_name: T,
    pub value: f64,
    pub unit: T,
    pub metadata: M,
}

/// Asks collectors for an analysis; travels as a Control message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerRequest<'a, T = &'a str, M = Map<'a>> {
    pub request_id: T,
    pub collector_type: T,
    pub priority: u8,
    #[serde(with = "serde_bytes")]
    pub payload: &'a [u8],
    pub metadata: M,
}

/// The union of the five; the index of a variant is wire order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CollectionEvent<'a, M = Map<'a>, T = &'a str> {
    Process(ProcessEvent<T, M>),
    Network(NetworkEvent<T, M>),
    Filesystem(FilesystemEvent<T, M>),
    Performance(PerformanceEvent<T, M>),
    #[serde(borrow)]
    TriggerRequest(TriggerRequest<'a, T, M>),
}

/// Which of the five.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    Process,
    Network,
    Filesystem,
    Performance,
    Trigger,
}

impl EventKind {
    pub const ALL: [Self; 5] = [
        Self::Process,
        Self::Network,
        Self::Filesystem,
        Self::Performance,
        Self::Trigger,
    ];

    /// The kind that `word` names, if any.
    pub fn from_name(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == word)
    }

    /// The word that filters, capabilities and topics use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Network => "network",
            Self::Filesystem => "filesystem",
            Self::Performance => "performance",
            Self::Trigger => "trigger",
        }
    }
}

impl<M, T> CollectionEvent<'_, M, T> {
    #[inline]
    pub const fn metadata(&self) -> &M {
        match self {
            Self::Process(event) => &event.metadata,
            Self::Network(event) => &event.metadata,
            Self::Filesystem(event) => &event.metadata,
            Self::Performance(event) => &event.metadata,
            Self::TriggerRequest(event) => &event.metadata,
        }
    }

    #[inline]
    pub const fn metadata_mut(&mut self) -> &mut M {
        match self {
            Self::Process(event) => &mut event.metadata,
            Self::Network(event) => &mut event.metadata,
            Self::Filesystem(event) => &mut event.metadata,
            Self::Performance(event) => &mut event.metadata,
            Self::TriggerRequest(event) => &mut event.metadata,
        }
    }

    #[inline]
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::Process(_) => EventKind::Process,
            Self::Network(_) => EventKind::Network,
            Self::Filesystem(_) => EventKind::Filesystem,
            Self::Performance(_) => EventKind::Performance,
            Self::TriggerRequest(_) => EventKind::Trigger,
        }
    }
}
