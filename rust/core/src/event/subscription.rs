//! What a subscriber asks for, and the five numbers of the bus.
use serde::{Deserialize, Serialize};

use super::{CorrelationFilter, EventFilter, Text};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceCaps {
    pub event_types: Vec<Text>,
    pub collectors: Vec<Text>,
    pub max_priority: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventSubscription {
    pub subscriber_id: Text,
    pub capabilities: SourceCaps,
    pub event_filter: Option<EventFilter>,
    pub correlation_filter: Option<CorrelationFilter>,
    pub topic_patterns: Option<Vec<Text>>,
    pub enable_wildcards: bool,
    pub include_control: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventBusStatistics {
    pub messages_published: u64,
    pub messages_delivered: u64,
    pub active_subscribers: u64,
    pub active_topics: u64,
    pub uptime_seconds: u64,
}
