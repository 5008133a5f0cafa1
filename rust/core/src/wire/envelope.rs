//! A draft as the message that it becomes, written without building that message.
use std::cell::RefCell;

use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};
use serde_bytes::Bytes;
use uuid::Uuid;

use super::{Dialect, Draft, MessageType, Payload};
use crate::error::Result;
use crate::event::{CollectionEvent, CorrelationMetadata, Timestamp};
use crate::growth;

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

/// Events up to this size are encoded into the scratch buffer, since their length stands before them in the envelope.
const SCRATCH_LEN: usize = 16 * 1024;

/// Payloads up to this size are written into room made ahead; above, zeroing it costs more than it saves.
const MAX_PAYLOAD_IN_PLACE: usize = 2048;

/// Room made ahead for all of an envelope but its payload.
const ENVELOPE_ROOM: usize = 320;

thread_local! {
    /// Where events are encoded first: made once, since zeroing it each time would cost as much as the encoding.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Appends the body of `draft`; on error `out` is as before.
///
/// In one pass if it is of the usual size: the event into the scratch buffer, then the envelope around it into room made ahead. What does
/// not fit is measured first and then appended; what must not be written fails both ways, and the second gives the reason.
#[inline]
pub(super) fn encode(dialect: Dialect, draft: &Draft<'_>, message_type: MessageType, out: &mut Vec<u8>) -> Result<()> {
    let event = match draft.payload {
        Payload::Control(payload) => return encode_envelope(dialect, draft, message_type, payload, out),
        Payload::Event(event) => event,
    };
    let in_one_pass = SCRATCH.try_with(|scratch| {
        let mut scratch = scratch.try_borrow_mut().ok()?;
        if scratch.is_empty() {
            growth::reserve(&mut scratch, SCRATCH_LEN).ok()?;
            scratch.resize(SCRATCH_LEN, 0);
        }
        let length = dialect.encode_into(event, &mut scratch)?;
        Some(encode_envelope(
            dialect,
            draft,
            message_type,
            scratch.get(..length)?,
            out,
        ))
    });
    match in_one_pass {
        Ok(Some(done)) => done,
        _ => encode_measured(dialect, draft, message_type, event, out),
    }
}

#[inline]
fn encode_envelope(
    dialect: Dialect,
    draft: &Draft<'_>,
    message_type: MessageType,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> Result<()> {
    let envelope = Envelope::new(draft, message_type, Bytes::new(payload));
    if payload.len() <= MAX_PAYLOAD_IN_PLACE {
        reserve(out, payload.len())?;
        let before = out.len();
        out.resize(before + ENVELOPE_ROOM + payload.len(), 0);
        let written = out
            .get_mut(before..)
            .and_then(|room| dialect.encode_into(&envelope, room));
        out.truncate(before + written.unwrap_or_default());
        if written.is_some() {
            return Ok(());
        }
    }
    reserve(out, body_len(dialect, draft, message_type, payload.len())?)?;
    dialect.encode(&envelope, out)
}

/// What is published may be large, and a process out of memory is told so; growing as it is written would end it.
#[inline]
fn reserve(out: &mut Vec<u8>, bytes: usize) -> Result<()> {
    // The length of the next one and a short text find room behind it.
    growth::reserve(out, bytes.saturating_add(ENVELOPE_ROOM))
}

fn encode_measured(
    dialect: Dialect,
    draft: &Draft<'_>,
    message_type: MessageType,
    event: &CollectionEvent<'_>,
    out: &mut Vec<u8>,
) -> Result<()> {
    let bytes = dialect.event_len(event)?;
    reserve(out, body_len(dialect, draft, message_type, bytes)?)?;
    let event = Some(event);
    dialect.encode(&Envelope::new(draft, message_type, Nested { bytes, event }), out)
}

/// How many bytes [`encode`] would append.
pub(super) fn encoded_len(dialect: Dialect, draft: &Draft<'_>, message_type: MessageType) -> Result<usize> {
    let bytes = match draft.payload {
        Payload::Control(payload) => payload.len(),
        Payload::Event(event) => dialect.event_len(event)?,
    };
    body_len(dialect, draft, message_type, bytes)
}

/// The same for a payload of `bytes`.
fn body_len(dialect: Dialect, draft: &Draft<'_>, message_type: MessageType, bytes: usize) -> Result<usize> {
    let envelope = match dialect.envelope_len(draft, bytes) {
        Some(envelope) => envelope,
        None => dialect.encoded_len(&Envelope::new(draft, message_type, Nested { bytes, event: None }))?,
    };
    Ok(envelope.saturating_add(bytes))
}
