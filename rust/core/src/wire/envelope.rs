//! A draft as the message that it becomes, written without building that message.
use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};
use serde_bytes::Bytes;
use uuid::Uuid;

use super::{Dialect, Draft, MessageType, Payload};
use crate::error::Result;
use crate::event::{CollectionEvent, CorrelationMetadata, Timestamp};

/// [`Message`](super::Message) as it is written: the metadata by reference, the payload as whatever writes the same bytes.
#[derive(Serialize)]
#[serde(rename = "Message")]
struct Envelope<'a, P> {
    id: Uuid,
    topic: &'a str,
    correlation_metadata: &'a CorrelationMetadata<'a>,
    payload: P,
    sequence: u64,
    timestamp: Timestamp,
    message_type: MessageType,
}

impl<'a, P> Envelope<'a, P> {
    fn new(draft: &'a Draft<'_>, message_type: MessageType, payload: P) -> Self {
        Self {
            id: draft.id,
            topic: draft.topic,
            correlation_metadata: &draft.correlation_metadata,
            payload,
            sequence: draft.sequence,
            timestamp: draft.timestamp,
            message_type,
        }
    }
}

/// An encoded value as the payload, written in place: in every dialect bytes are their number and then themselves, as is a
/// list of that many elements, and an element is written without anything around it.
struct Nested<'a> {
    bytes: usize,
    /// `None` to write the number alone.
    event: Option<&'a CollectionEvent<'a>>,
}

impl Serialize for Nested<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.bytes))?;
        if let Some(event) = self.event {
            list.serialize_element(event)?;
        }
        list.end()
    }
}

/// Appends the body of `draft`.
pub(super) fn encode(dialect: Dialect, draft: &Draft<'_>, message_type: MessageType, out: &mut Vec<u8>) -> Result<()> {
    match draft.payload {
        Payload::Control(payload) => dialect.encode(&Envelope::new(draft, message_type, Bytes::new(payload)), out),
        Payload::Event(event) => {
            let bytes = dialect.encoded_len(event)?;
            let event = Some(event);
            dialect.encode(&Envelope::new(draft, message_type, Nested { bytes, event }), out)
        }
    }
}

/// How many bytes [`encode`] would append.
pub(super) fn encoded_len(dialect: Dialect, draft: &Draft<'_>, message_type: MessageType) -> Result<usize> {
    let bytes = match draft.payload {
        Payload::Control(payload) => payload.len(),
        Payload::Event(event) => dialect.encoded_len(event)?,
    };
    let around = Envelope::new(draft, message_type, Nested { bytes, event: None });
    Ok(dialect.encoded_len(&around)?.saturating_add(bytes))
}
