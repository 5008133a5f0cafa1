//! The envelope, and the three things done with it: write a frame, check one, read one.
use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};
use serde_bytes::Bytes;
use uuid::Uuid;

use super::Dialect;
use super::frame::PREFIX;
use crate::error::{DecodeError, Error, Result, TopicError};
use crate::event::{CollectionEvent, CorrelationMetadata, EventKind, Map, Timestamp, Walk};
use crate::topic::{self, Domain};

/// Where trigger requests travel.
const TRIGGER_TOPIC: &str = "control.trigger.request";

/// The index is wire order.

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MessageType {
    Event,
    Control,
    Heartbeat,
    Shutdown,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(serialize = "M: Serialize", deserialize = "M: Deserialize<'de>"))]
pub struct Message<'a, M = Map<'a>> {
    pub id: Uuid,
    pub topic: &'a str,
    #[serde(borrow)]
    pub correlation_metadata: CorrelationMetadata<'a, M>,
    #[serde(with = "serde_bytes")]
    pub payload: &'a [u8],
    pub sequence: u64,
    pub timestamp: Timestamp,
    pub message_type: MessageType,
}

/// What a publisher hands to [`write`]; the message type follows from the payload (`docs/wire.md`).
#[derive(Debug)]
pub struct Draft<'a> {
    pub id: Uuid,
    pub topic: &'a str,
    pub correlation_metadata: CorrelationMetadata<'a>,
    pub payload: Payload<'a>,
    pub sequence: u64,
    pub timestamp: Timestamp,
}

#[derive(Debug)]
pub enum Payload<'a> {
    /// One of four events: type Event, payload the `CollectionEvent`. A TriggerRequest: type Control.
    Event(&'a CollectionEvent<'a>),
    /// Raw bytes: type Control.
    Control(&'a [u8]),
}

/// What routing needs of a message that was found whole and well-formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary<'a> {
    pub topic: &'a str,
    pub message_type: MessageType,
    pub sequence: u64,
    /// `Some` if the payload is one whole `CollectionEvent` (always for type Event; for Control only on `control.trigger.request`).
    pub event: Option<EventKind>,
}

/// Why a message is not taken: `Malformed` closes the connection, the others refuse this publish alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal<'a> {
    Malformed(DecodeError),
    Topic {
        error: TopicError,
        sequence: u64,
    },
    /// Decodes, but this topic does not take this type, or the type is not taken from clients.
    Type {
        reason: &'static str,
        topic: &'a str,
        sequence: u64,
    },
}

/// [`Message`] as it is written: the metadata by reference, the payload as whatever writes the same bytes.
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
    #[inline]
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
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.bytes))?;
        if let Some(event) = self.event {
            list.serialize_element(event)?;
        }
        list.end()
    }
}

/// Appends one whole frame (prefix and body) to `out`; on error `out` is as before. Checks the topic, its domain against the
/// payload, and `max_frame`. Returns the length of the frame.
#[inline]
pub fn write(
    dialect: Dialect,
    draft: &Draft<'_>,
    max_frame: usize,
    max_depth: usize,
    out: &mut Vec<u8>,
) -> Result<usize> {
    let message_type = admit(draft, max_depth)?;
    match draft.payload {
        Payload::Control(payload) => append(
            dialect,
            draft,
            message_type,
            Bytes::new(payload),
            max_frame,
            out,
        ),
        Payload::Event(event) => {
            let bytes = dialect.encoded_len(event)?;
            let event = Some(event);
            append(
                dialect,
                draft,
                message_type,
                Nested { bytes, event },
                max_frame,
                out,
            )
        }
    }
}

#[inline]
fn append<P: Serialize>(
    dialect: Dialect,
    draft: &Draft<'_>,
    message_type: MessageType,
    payload: P,
    max_frame: usize,
    out: &mut Vec<u8>,
) -> Result<usize> {
    let before = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    let result = dialect
        .encode(&Envelope::new(draft, message_type, payload), out)
        .and_then(|()| {
            let size = out.len().saturating_sub(before + PREFIX);
            let prefix = fitting(size, max_frame)?.to_le_bytes();
            if let Some(place) = out.get_mut(before..before + PREFIX) {
                place.copy_from_slice(&prefix);
            }
            Ok(PREFIX + size)
        });
    if result.is_err() {
        out.truncate(before);
    }
    result
}

/// The length of the frame that [`write`] would append, without writing it; the same errors.
pub fn encoded_len(
    dialect: Dialect,
    draft: &Draft<'_>,
    max_frame: usize,
    max_depth: usize,
) -> Result<usize> {
    let message_type = admit(draft, max_depth)?;
    let bytes = match draft.payload {
        Payload::Control(payload) => payload.len(),
        Payload::Event(event) => dialect.encoded_len(event)?,
    };
    let around = Envelope::new(draft, message_type, Nested { bytes, event: None });
    let size = dialect.encoded_len(&around)?.saturating_add(bytes);
    fitting(size, max_frame)?;
    Ok(PREFIX + size)
}

/// Checks a whole body without allocating: full consumption of envelope and Event payload, topic grammar, type against domain.
#[inline]
pub fn check(dialect: Dialect, body: &[u8], max_depth: usize) -> Result<Summary<'_>, Refusal<'_>> {
    let message: Message<'_, Walk> = dialect.decode(body).map_err(Refusal::Malformed)?;
    let event = event_of::<Walk>(dialect, body, &message).map_err(Refusal::Malformed)?;
    let (topic, sequence) = (message.topic, message.sequence);
    let domain =
        topic::check(topic, max_depth).map_err(|error| Refusal::Topic { error, sequence })?;
    let kind = event.as_ref().map(CollectionEvent::kind);
    let refused = match (message.message_type, domain, kind) {
        (MessageType::Event, _, Some(EventKind::Trigger)) => {
            Some("a trigger request travels as Control")
        }
        (MessageType::Event, Domain::Control, _) => {
            Some("topics of `control` take Control messages only")
        }
        (MessageType::Control, Domain::Events, _) => {
            Some("topics of `events` take Event messages only")
        }
        (MessageType::Heartbeat | MessageType::Shutdown, _, _) => {
            Some("messages of type Heartbeat and Shutdown are taken from no client")
        }
        (MessageType::Event, Domain::Events | Domain::Health, _)
        | (MessageType::Control, Domain::Control | Domain::Health, _) => None,
    };
    match refused {
        Some(reason) => Err(Refusal::Type {
            reason,
            topic,
            sequence,
        }),
        None => Ok(Summary {
            topic,
            message_type: message.message_type,
            sequence,
            event: kind,
        }),
    }
}

/// Reads a body whole: the envelope, and its event (as [`Summary::event`] tells when there is one).
#[inline]
pub fn read(
    dialect: Dialect,
    body: &[u8],
) -> Result<(Message<'_>, Option<CollectionEvent<'_>>), DecodeError> {
    let message: Message<'_> = dialect.decode(body)?;
    let event = event_of::<Map<'_>>(dialect, body, &message)?;
    Ok((message, event))
}

/// The event of a message: always for type Event, for Control only a trigger request on its own topic.
#[inline]
fn event_of<'a, M: Deserialize<'a>>(
    dialect: Dialect,
    body: &'a [u8],
    message: &Message<'a, M>,
) -> Result<Option<CollectionEvent<'a, M>>, DecodeError> {
    match message.message_type {
        MessageType::Event => dialect
            .decode(message.payload)
            .map(Some)
            .map_err(|error| in_payload(error, body, message.payload)),
        MessageType::Control if message.topic == TRIGGER_TOPIC => Ok(dialect
            .decode(message.payload)
            .ok()
            .filter(|event: &CollectionEvent<'_, M>| event.kind() == EventKind::Trigger)),
        _ => Ok(None),
    }
}

/// The payload's error, with the offset counted from the start of the body.
#[cold]
fn in_payload(error: DecodeError, body: &[u8], payload: &[u8]) -> DecodeError {
    let start = payload.as_ptr().addr().saturating_sub(body.as_ptr().addr());
    DecodeError {
        dialect: error.dialect,
        offset: start.saturating_add(error.offset),
        reason: format!("payload of type Event: {}", error.reason),
    }
}

/// The message type that follows from the payload, if the topic takes it.
#[inline]
fn admit(draft: &Draft<'_>, max_depth: usize) -> Result<MessageType> {
    let domain = topic::check(draft.topic, max_depth)?;
    let (message_type, taken, rule) = match draft.payload {
        Payload::Event(CollectionEvent::TriggerRequest(_)) => (
            MessageType::Control,
            domain == Domain::Control,
            "a trigger request goes to topics of `control` only",
        ),
        Payload::Event(_) => (
            MessageType::Event,
            domain != Domain::Control,
            "events go to topics of `events` or `health`",
        ),
        Payload::Control(_) => (
            MessageType::Control,
            domain != Domain::Events,
            "control messages go to topics of `control` or `health`",
        ),
    };
    if taken {
        Ok(message_type)
    } else {
        Err(wrong_domain(draft.topic, rule))
    }
}

#[cold]
fn wrong_domain(topic: &str, rule: &str) -> Error {
    Error::Topic(TopicError {
        topic: topic.to_owned(),
        kind: rule.to_owned(),
    })
}

/// The prefix for a body of `size` bytes.
#[inline]
fn fitting(size: usize, max_frame: usize) -> Result<u32> {
    match u32::try_from(size) {
        Ok(prefix) if size <= max_frame => Ok(prefix),
        _ => Err(Error::FrameTooLarge {
            size,
            limit: max_frame,
        }),
    }
}
