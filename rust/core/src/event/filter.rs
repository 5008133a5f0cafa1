//! Filters: which of the matching messages a subscription takes.
//!
//! Empty means no restriction; several restrictions must all hold; within one list any element must; a restriction on
//! something that an event does not have excludes it. Matching is linear in the terms and the message.
use serde::{Deserialize, Serialize};

use super::{CollectionEvent, Text, TextMap};
use crate::error::Result;
use crate::wire::Message;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventFilter {
    pub event_types: Vec<Text>,
    pub pids: Vec<u32>,
    pub min_priority: Option<u8>,
    pub metadata_filters: TextMap,
    pub topic_filters: Vec<Text>,
    pub source_collectors: Vec<Text>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CorrelationFilter {
    pub correlation_ids: Vec<Text>,
    pub correlation_patterns: Vec<Text>,
    pub parent_correlation_ids: Vec<Text>,
    pub root_correlation_ids: Vec<Text>,
    pub workflow_stages: Vec<Text>,
    pub required_tags: TextMap,
    pub any_tags: TextMap,
    pub min_sequence: Option<u64>,
    pub max_sequence: Option<u64>,
}

/// Both filters of one subscription, compiled.
#[derive(Debug, Clone)]
pub struct Filters {
    // compiled form
}

impl Filters {
    /// `None` if nothing is restricted. Refuses more than `max_terms` terms over both filters.
    pub fn compile(
        _event: Option<&EventFilter>,
        _correlation: Option<&CorrelationFilter>,
        _max_terms: usize,
        _max_topic_depth: usize,
    ) -> Result<Option<Self>> {
        todo!()
    }

    /// `event` is `None` for a Control message that is no TriggerRequest.
    pub fn accept(&self, _message: &Message<'_>, _event: Option<&CollectionEvent<'_>>) -> bool {
        todo!()
    }
}
