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

/// Events up to this size are encoded on the stack, so that their length is known when it is their turn in the envelope.
const EVENT: usize = 256;

/// Room made at once for all of an envelope but its payload.
const AROUND: usize = 320;

/// Appends the body of `draft`; on error `out` is as before.
///
/// In one pass if it is of the usual size: the event aside, then the envelope around it into room made ahead. What does not
/// fit is measured first and then appended; what must not be written fails in both and is named by the second.
#[inline]
pub(super) fn encode(dialect: Dialect, draft: &Draft<'_>, message_type: MessageType, out: &mut Vec<u8>) -> Result<()> {
    match draft.payload {
        Payload::Control(payload) => around(dialect, draft, message_type, payload, out),
        Payload::Event(event) => {
            let mut aside = [0; EVENT];
            let encoded = dialect
                .encode_into(event, &mut aside)
                .and_then(|length| aside.get(..length));
            match encoded {
                Some(payload) => around(dialect, draft, message_type, payload, out),
                None => measured(dialect, draft, message_type, event, out),
            }
        }
    }
}

#[inline]
fn around(
    dialect: Dialect,
    draft: &Draft<'_>,
    message_type: MessageType,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> Result<()> {
    let envelope = Envelope::new(draft, message_type, Bytes::new(payload));
    if payload.len() <= EVENT {
        let before = out.len();
        out.resize(before + AROUND + payload.len(), 0);
        let written = out
            .get_mut(before..)
            .and_then(|room| dialect.encode_into(&envelope, room));
        out.truncate(before + written.unwrap_or_default());
        if written.is_some() {
            return Ok(());
        }
    }
    dialect.encode(&envelope, out)
}

fn measured(
    dialect: Dialect,
    draft: &Draft<'_>,
    message_type: MessageType,
    event: &CollectionEvent<'_>,
    out: &mut Vec<u8>,
) -> Result<()> {
    let bytes = dialect.encoded_len(event)?;
    let event = Some(event);
    dialect.encode(&Envelope::new(draft, message_type, Nested { bytes, event }), out)
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
