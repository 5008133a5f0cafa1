//! Filters as a subscriber asks for them; [`filter`](crate::filter) applies them.
use serde::{Deserialize, Serialize};

use super::map::list;
use super::{Text, TextMap};

/// What an event must be; empty fields restrict nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventFilter {
    /// Words of [`EventKind`](super::EventKind); any other word is refused.
    #[serde(deserialize_with = "list")]
    pub event_types: Vec<Text>,
    /// Process ids; only process events have one.
    #[serde(deserialize_with = "list")]
    pub pids: Vec<u32>,
    /// The lowest priority taken; only trigger requests have one.
    pub min_priority: Option<u8>,
    /// All of these must be in the event's metadata.
    pub metadata_filters: TextMap,
    /// Topic patterns, any of which must match the topic.
    #[serde(deserialize_with = "list")]
    pub topic_filters: Vec<Text>,
    /// Names of collectors: the metadata key `collector`, else the correlation tag `source_process`.
    #[serde(deserialize_with = "list")]
    pub source_collectors: Vec<Text>,
}

/// What a message's correlation must be; empty fields restrict nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CorrelationFilter {
    #[serde(deserialize_with = "list")]
    pub correlation_ids: Vec<Text>,
    /// `*` stands for any run; anchored; tried against id, parent and root. At most 256 bytes each.
    #[serde(deserialize_with = "list")]
    pub correlation_patterns: Vec<Text>,
    #[serde(deserialize_with = "list")]
    pub parent_correlation_ids: Vec<Text>,
    #[serde(deserialize_with = "list")]
    pub root_correlation_ids: Vec<Text>,
    #[serde(deserialize_with = "list")]
    pub workflow_stages: Vec<Text>,
    /// All of these must be among the tags.
    pub required_tags: TextMap,
    /// At least one of these must be among the tags.
    pub any_tags: TextMap,
    /// Bounds of the correlation's `sequence_number`, both included.
    pub min_sequence: Option<u64>,
    pub max_sequence: Option<u64>,
}

impl EventFilter {
    /// One for each list element and map entry.
    pub(crate) fn terms(&self) -> usize {
        self.event_types.len()
            + self.pids.len()
            + self.metadata_filters.0.len()
            + self.topic_filters.len()
            + self.source_collectors.len()
    }

    /// Of text in them.
    pub(crate) fn bytes(&self) -> usize {
        let lists = [&self.event_types, &self.topic_filters, &self.source_collectors];
        lists.map(|list| in_list(list)).iter().sum::<usize>() + in_map(&self.metadata_filters)
    }
}

impl CorrelationFilter {
    /// One for each list element and map entry; the bounds of the sequence are none.
    pub(crate) fn terms(&self) -> usize {
        self.correlation_ids.len()
            + self.correlation_patterns.len()
            + self.parent_correlation_ids.len()
            + self.root_correlation_ids.len()
            + self.workflow_stages.len()
            + self.required_tags.0.len()
            + self.any_tags.0.len()
    }

    /// Of text in them.
    pub(crate) fn bytes(&self) -> usize {
        let lists = [
            &self.correlation_ids,
            &self.correlation_patterns,
            &self.parent_correlation_ids,
            &self.root_correlation_ids,
            &self.workflow_stages,
        ];
        lists.map(|list| in_list(list)).iter().sum::<usize>() + in_map(&self.required_tags) + in_map(&self.any_tags)
    }
}

fn in_list(list: &[Text]) -> usize {
    list.iter().map(|text| text.0.len()).sum()
}

fn in_map(map: &TextMap) -> usize {
    map.0.iter().map(|(key, value)| key.0.len() + value.0.len()).sum()
}
