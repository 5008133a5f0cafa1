//! The envelope, and the three things done with it: write a frame, check one, read one.
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::frame::PREFIX;
use super::{Dialect, envelope};
use crate::error::{DecodeError, Error, Result, TopicError};
use crate::event::{CollectionEvent, CorrelationMetadata, EventKind, Map, Timestamp, Utf8};
use crate::topic::names::trigger;
use crate::topic::{Domain, TopicCheck};

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

/// What a publisher hands to [`write()`]; the message type follows from the payload (`docs/wire.md`).
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

impl Payload<'_> {
    /// A lower bound of the encoded payload's size.
    #[inline]
    const fn min_len(&self) -> usize {
        match self {
            Self::Control(payload) => payload.len(),
            Self::Event(CollectionEvent::TriggerRequest(trigger)) => trigger.payload.len(),
            Self::Event(_) => 0,
        }
    }
}

/// What routing needs of a message that was found whole and well-formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary<'a> {
    pub topic: Utf8<'a>,
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

/// Appends one whole frame (prefix and body) to `out`; on error `out` is as before. Checks the topic, its domain against the
/// payload, and `max_frame`. Returns the length of the frame.
#[inline]
pub fn write(
    dialect: Dialect,
    draft: &Draft<'_>,
    max_frame: usize,
    topics: impl TopicCheck,
    out: &mut Vec<u8>,
) -> Result<usize> {
    let message_type = message_type_of(draft, topics)?;
    if draft.payload.min_len() > max_frame {
        // Not worth copying; only the exact size is still needed, for the error.
        return frame_len(dialect, draft, message_type, max_frame);
    }
    let before = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    let written = envelope::encode(dialect, draft, message_type, out).and_then(|()| {
        let size = out.len().saturating_sub(before + PREFIX);
        let prefix = length_prefix(size, max_frame)?.to_le_bytes();
        if let Some(place) = out.get_mut(before..before + PREFIX) {
            place.copy_from_slice(&prefix);
        }
        Ok(PREFIX + size)
    });
    if written.is_err() {
        out.truncate(before);
    }
    written
}

/// The length of the frame that [`write()`] would append, without writing it; the same errors.
pub fn encoded_len(dialect: Dialect, draft: &Draft<'_>, max_frame: usize, topics: impl TopicCheck) -> Result<usize> {
    let message_type = message_type_of(draft, topics)?;
    frame_len(dialect, draft, message_type, max_frame)
}

fn frame_len(dialect: Dialect, draft: &Draft<'_>, message_type: MessageType, max_frame: usize) -> Result<usize> {
    let size = envelope::encoded_len(dialect, draft, message_type)?;
    length_prefix(size, max_frame)?;
    Ok(PREFIX + size)
}

/// Checks a whole body without allocating: full consumption of envelope and Event payload, topic grammar, type against domain.
#[inline]
pub fn check(dialect: Dialect, body: &[u8], topics: impl TopicCheck) -> Result<Summary<'_>, Refusal<'_>> {
    let outline = dialect.outline(body).map_err(Refusal::Malformed)?;
    let (topic, sequence, message_type) = (outline.topic, outline.sequence, outline.message_type);
    let kind = match payload_kind(message_type, topic.0) {
        PayloadKind::Event => match dialect.event_kind(outline.payload) {
            Ok(kind) => Some(kind),
            Err(error) => return Err(Refusal::Malformed(in_payload(error, body, outline.payload))),
        },
        PayloadKind::MaybeTrigger => dialect
            .event_kind(outline.payload)
            .ok()
            .filter(|kind| *kind == EventKind::Trigger),
        PayloadKind::Bytes => None,
    };
    let domain = topics
        .check(topic)
        .map_err(|error| Refusal::Topic { error, sequence })?;
    let refused = match (message_type, domain, kind) {
        (MessageType::Event, _, Some(EventKind::Trigger)) => Some("a trigger request travels as Control"),
        (MessageType::Event, Domain::Control, _) => Some("topics of `control` take Control messages only"),
        (MessageType::Control, Domain::Events, _) => Some("topics of `events` take Event messages only"),
        (MessageType::Heartbeat | MessageType::Shutdown, _, _) => {
            Some("messages of type Heartbeat and Shutdown are taken from no client")
        }
        (MessageType::Event, Domain::Events | Domain::Health, _)
        | (MessageType::Control, Domain::Control | Domain::Health, _) => None,
    };
    match refused {
        Some(reason) => Err(Refusal::Type {
            reason,
            topic: topic.text(),
            sequence,
        }),
        None => Ok(Summary {
            topic,
            message_type,
            sequence,
            event: kind,
        }),
    }
}

/// Reads a body whole: the envelope, and its event (as [`Summary::event`] tells when there is one).
#[inline]
pub fn read(dialect: Dialect, body: &[u8]) -> Result<(Message<'_>, Option<CollectionEvent<'_>>), DecodeError> {
    let message: Message<'_> = dialect.decode(body)?;
    let event = match payload_kind(message.message_type, message.topic.as_bytes()) {
        PayloadKind::Event => match dialect.decode(message.payload) {
            Ok(event) => Some(event),
            Err(error) => return Err(in_payload(error, body, message.payload)),
        },
        PayloadKind::MaybeTrigger => dialect
            .decode(message.payload)
            .ok()
            .filter(|event: &CollectionEvent<'_>| event.kind() == EventKind::Trigger),
        PayloadKind::Bytes => None,
    };
    Ok((message, event))
}

/// What the payload of a message is.
enum PayloadKind {
    /// One whole event, or the message is malformed.
    Event,
    /// A trigger request if it decodes as one, else bytes.
    MaybeTrigger,
    Bytes,
}

#[inline]
fn payload_kind(message_type: MessageType, topic: &[u8]) -> PayloadKind {
    match message_type {
        MessageType::Event => PayloadKind::Event,
        MessageType::Control if topic == trigger::REQUEST.as_bytes() => PayloadKind::MaybeTrigger,
        _ => PayloadKind::Bytes,
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
fn message_type_of(draft: &Draft<'_>, topics: impl TopicCheck) -> Result<MessageType> {
    let domain = topics.check(draft.topic.into())?;
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
fn length_prefix(size: usize, max_frame: usize) -> Result<u32> {
    match u32::try_from(size) {
        Ok(prefix) if size <= max_frame => Ok(prefix),
        _ => Err(Error::FrameTooLarge { size, limit: max_frame }),
    }
}
