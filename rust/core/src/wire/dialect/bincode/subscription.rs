//! `EventSubscription` as this dialect's commits of the original had it: without `include_control`, which came after them.
//!
//! What cannot be expressed is refused, not lost.
use serde::{Deserialize, Serialize};

use crate::error::{DecodeError, Error, Result};
use crate::event::{CorrelationFilter, EventFilter, EventSubscription, SourceCaps, Text};

#[derive(Serialize, Deserialize)]
#[serde(rename = "EventSubscription")]
struct BincodeSubscription {
    subscriber_id: Text,
    capabilities: SourceCaps,
    event_filter: Option<EventFilter>,
    correlation_filter: Option<CorrelationFilter>,
    #[serde(deserialize_with = "crate::event::map::optional_list")]
    topic_patterns: Option<Vec<Text>>,
    enable_wildcards: bool,
}

pub(in super::super) fn encode_subscription(value: &EventSubscription, out: &mut Vec<u8>) -> Result<()> {
    let EventSubscription {
        subscriber_id,
        capabilities,
        event_filter,
        correlation_filter,
        topic_patterns,
        enable_wildcards,
        include_control,
    } = value.clone();
    if include_control {
        let reason =
            "EventSubscription.include_control is not in bincode, so it must be left empty; or use another dialect";
        return Err(Error::invalid("value", reason));
    }
    let encoded = BincodeSubscription {
        subscriber_id,
        capabilities,
        event_filter,
        correlation_filter,
        topic_patterns,
        enable_wildcards,
    };
    super::encode(&encoded, out)
}

pub(in super::super) fn decode_subscription(bytes: &[u8]) -> Result<EventSubscription, DecodeError> {
    let encoded: BincodeSubscription = super::decode(bytes)?;
    Ok(EventSubscription {
        subscriber_id: encoded.subscriber_id,
        capabilities: encoded.capabilities,
        event_filter: encoded.event_filter,
        correlation_filter: encoded.correlation_filter,
        topic_patterns: encoded.topic_patterns,
        enable_wildcards: encoded.enable_wildcards,
        include_control: false,
    })
}
