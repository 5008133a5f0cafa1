//! The five events that collectors publish, and their union.
use serde::{Deserialize, Serialize};

use super::{Map, Timestamp};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(serialize = "M: Serialize", deserialize = "M: Deserialize<'de>"))]
pub struct ProcessEvent<'a, M = Map<'a>> {
    pub pid: u32,
    pub name: &'a str,
    #[serde(borrow)]
    pub command_line: Option<&'a str>,
    #[serde(borrow)]
    pub executable_path: Option<&'a str>,
    pub ppid: Option<u32>,
    pub start_time: Option<Timestamp>,
    pub metadata: M,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(serialize = "M: Serialize", deserialize = "M: Deserialize<'de>"))]
pub struct NetworkEvent<'a, M = Map<'a>> {
    pub connection_id: &'a str,
    pub source_address: &'a str,
    pub destination_address: &'a str,
    pub protocol: &'a str,
    pub metadata: M,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(serialize = "M: Serialize", deserialize = "M: Deserialize<'de>"))]
pub struct FilesystemEvent<'a, M = Map<'a>> {
    pub path: &'a str,
    pub event_type: &'a str,
    pub size: Option<u64>,
    pub metadata: M,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound(serialize = "M: Serialize", deserialize = "M: Deserialize<'de>"))]
pub struct PerformanceEvent<'a, M = Map<'a>> {
    pub metric_name: &'a str,
    pub value: f64,
    pub unit: &'a str,
    pub metadata: M,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(serialize = "M: Serialize", deserialize = "M: Deserialize<'de>"))]
pub struct TriggerRequest<'a, M = Map<'a>> {
    pub request_id: &'a str,
    pub collector_type: &'a str,
    pub priority: u8,
    #[serde(with = "serde_bytes")]
    pub payload: &'a [u8],
    pub metadata: M,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound(serialize = "M: Serialize", deserialize = "M: Deserialize<'de>"))]
pub enum CollectionEvent<'a, M = Map<'a>> {
    #[serde(borrow)]
    Process(ProcessEvent<'a, M>),
    #[serde(borrow)]
    Network(NetworkEvent<'a, M>),
    #[serde(borrow)]
    Filesystem(FilesystemEvent<'a, M>),
    #[serde(borrow)]
    Performance(PerformanceEvent<'a, M>),
    #[serde(borrow)]
    TriggerRequest(TriggerRequest<'a, M>),
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

impl<M> CollectionEvent<'_, M> {
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
