//! Who asked for what, across processes: the chain of ids that every message carries.
use serde::{Deserialize, Serialize};

use super::{Map, Timestamp};

/// The ids of one workflow that a message belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(serialize = "M: Serialize", deserialize = "M: Deserialize<'de>"))]
pub struct CorrelationMetadata<'a, M = Map<'a>> {
    pub correlation_id: &'a str,
    /// The id that this one was derived from.
    #[serde(borrow)]
    pub parent_correlation_id: Option<&'a str>,
    /// The first id of the chain; equal to `correlation_id` where the chain begins.
    pub root_correlation_id: &'a str,
    /// Position within the workflow, chosen by the publisher; not the message's own sequence.
    pub sequence_number: u64,
    #[serde(borrow)]
    pub workflow_stage: Option<&'a str>,
    /// Free pairs; `source_process` names the publisher where the event itself does not.
    pub correlation_tags: M,
    pub created_at: Timestamp,
}
