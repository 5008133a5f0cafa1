//! The envelope, and the three things done with it: write a frame, check one, read one.
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Dialect;
use crate::error::{DecodeError, Result, TopicError};
use crate::event::{CollectionEvent, CorrelationMetadata, EventKind, Map, Timestamp};

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

/// Appends one whole frame (prefix and body) to `out`; on error `out` is as before. Checks the topic, its domain against the
/// payload, and `max_frame`. Returns the length of the frame.
pub fn write(
    _dialect: Dialect,
    _draft: &Draft<'_>,
    _max_frame: usize,
    _max_depth: usize,
    _out: &mut Vec<u8>,
) -> Result<usize> {
    todo!()
}

/// The length of the frame that [`write`] would append, without writing it; the same errors.
pub fn encoded_len(_dialect: Dialect, _draft: &Draft<'_>, _max_frame: usize, _max_depth: usize) -> Result<usize> {
    todo!()
}

/// Checks a whole body without allocating: full consumption of envelope and Event payload, topic grammar, type against domain.
pub fn check(_dialect: Dialect, _body: &[u8], _max_depth: usize) -> Result<Summary<'_>, Refusal<'_>> {
    todo!()
}

/// Reads a body whole: the envelope, and its event (as [`Summary::event`] tells when there is one).
pub fn read(_dialect: Dialect, _body: &[u8]) -> Result<(Message<'_>, Option<CollectionEvent<'_>>), DecodeError> {
    todo!()
}
