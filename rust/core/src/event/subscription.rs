//! What a subscriber asks for, and the five numbers of the bus.
use serde::{Deserialize, Serialize};

use super::map::{list, optional_list};
use super::{CorrelationFilter, EventFilter, Text};

/// What a subscriber can work with. Without patterns the subscription's patterns come from `event_types`; nothing here filters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceCaps {
    /// Words of [`EventKind`](super::EventKind); held to them only where patterns come from them.
    #[serde(deserialize_with = "list")]
    pub event_types: Vec<Text>,
    #[serde(deserialize_with = "list")]
    pub collectors: Vec<Text>,
    pub max_priority: u8,
}

/// One subscription as asked for. `Default` is the API's: nothing filtered, wildcards allowed, no Control messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventSubscription {
    pub subscriber_id: Text,
    pub capabilities: SourceCaps,
    pub event_filter: Option<EventFilter>,
    pub correlation_filter: Option<CorrelationFilter>,
    /// `None`: derived from `capabilities.event_types`.
    #[serde(deserialize_with = "optional_list")]
    pub topic_patterns: Option<Vec<Text>>,
    /// False: a wildcard in `topic_patterns` is refused.
    pub enable_wildcards: bool,
    /// Whether Control messages are delivered too. The original appended this field in 2026-04.
    pub include_control: bool,
}

impl Default for EventSubscription {
    fn default() -> Self {
        Self {
            subscriber_id: Text::default(),
            capabilities: SourceCaps::default(),
            event_filter: None,
            correlation_filter: None,
            topic_patterns: None,
            enable_wildcards: true,
            include_control: false,
        }
    }
}

/// The broker's totals since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventBusStatistics {
    /// Accepted publishes, with or without a reader.
    pub messages_published: u64,
    /// (message, subscription) pairs handed to the kernel or an in-process queue.
    pub messages_delivered: u64,
    /// Live subscriptions plus original peers.
    pub active_subscribers: u64,
    /// Distinct patterns now subscribed.
    pub active_topics: u64,
    pub uptime_seconds: u64,
}
