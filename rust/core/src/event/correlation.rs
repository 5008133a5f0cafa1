//! Who asked for what, across processes.
use serde::{Deserialize, Serialize};

use super::{Map, Timestamp};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(serialize = "M: Serialize", deserialize = "M: Deserialize<'de>"))]
pub struct CorrelationMetadata<'a, M = Map<'a>> {
    pub correlation_id: &'a str,
    #[serde(borrow)]
    pub parent_correlation_id: Option<&'a str>,
    pub root_correlation_id: &'a str,
    pub sequence_number: u64,
    #[serde(borrow)]
    pub workflow_stage: Option<&'a str>,
    pub correlation_tags: M,
    pub created_at: Timestamp,
}
