//! Dialects: how values become bytes. Adding one touches this folder only.
//!
//! A dialect is a module with the same functions, generic over serde, and one line in each `match` here. `outline`,
//! `event_kind` and `event` may be [`Outline::by_serde`], [`kind_by_serde`] and `decode`, or something faster that says
//! the same; `encode_into` and `envelope_len` may always give `None`. A generation whose *types* differ (an id in place of
//! `CorrelationMetadata`, a field fewer in `EventSubscription`) knows these structs by name as serde tells it; the types themselves stay as
//! they are. Every decoder borrows, refuses trailing bytes, and allocates nothing for an announced length.

mod bincode;
mod bincode_v0;
mod plain;
mod postcard;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Draft, Message, MessageType};
use crate::error::{DecodeError, Error};
use crate::event::{CollectionEvent, EventKind, EventSubscription, Timestamp, Utf8, Walk};

/// The encodings that the bus speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// bincode 2 `config::standard()`: the default between native peers.
    Bincode,
    /// postcard 1.1: what the original speaks today.
    Postcard,
    /// bincode 2 with the types of the original's first generation: for tools, never on a connection.
    BincodeV0,
}

/// What routing and a reader's first look need of an envelope that was decoded whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline<'a> {
    pub id: Uuid,
    pub topic: Utf8<'a>,
    /// UTF-8.
    pub correlation_id: &'a [u8],
    pub payload: &'a [u8],
    pub sequence: u64,
    pub timestamp: Timestamp,
    pub message_type: MessageType,
}

impl<'a> Outline<'a> {
    #[cold]
    fn by_serde(
        bytes: &'a [u8],
        decode: impl FnOnce(&'a [u8]) -> Result<Message<'a, Walk>, DecodeError>,
    ) -> Result<Self, DecodeError> {
        decode(bytes).map(|message| Self::of(&message))
    }

    #[inline]
    fn of(message: &Message<'a, Walk>) -> Self {
        Self {
            id: message.id,
            topic: message.topic.into(),
            correlation_id: message.correlation_metadata.correlation_id.as_bytes(),
            payload: message.payload,
            sequence: message.sequence,
            timestamp: message.timestamp,
            message_type: message.message_type,
        }
    }
}

/// A map's keys and values in wire order, borrowed from a frame that was checked; a repeated key is kept.
pub type Entries<'a> = Vec<(Utf8<'a>, Utf8<'a>)>;

fn metadata_by_serde<'a>(
    bytes: &'a [u8],
    decode: impl FnOnce(&'a [u8]) -> Result<CollectionEvent<'a>, DecodeError>,
) -> Result<Entries<'a>, DecodeError> {
    let event = decode(bytes)?;
    let entries = event.metadata().0.iter();
    Ok(entries.map(|&(key, value)| (key.into(), value.into())).collect())
}

#[cold]
fn kind_by_serde<'a>(
    bytes: &'a [u8],
    decode: impl FnOnce(&'a [u8]) -> Result<CollectionEvent<'a, Walk>, DecodeError>,
) -> Result<EventKind, DecodeError> {
    decode(bytes).map(|event| event.kind())
}

impl Dialect {
    /// Every dialect, the default first.
    pub const ALL: &'static [Self] = &[Self::Bincode, Self::Postcard, Self::BincodeV0];

    /// Those that a connection can speak, the default first.
    pub const CONNECTIONS: &'static [Self] = &[Self::Bincode, Self::Postcard];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Bincode => bincode::NAME,
            Self::Postcard => postcard::NAME,
            Self::BincodeV0 => bincode_v0::NAME,
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|dialect| dialect.name() == name)
    }

    /// The dialect of that name, if a connection can speak it; otherwise the names of those that one can.
    pub fn for_connection(name: &str) -> Result<Self, String> {
        Self::from_name(name)
            .filter(|dialect| Self::CONNECTIONS.contains(dialect))
            .ok_or_else(|| Self::names(Self::CONNECTIONS))
    }

    /// Refuses a setting that no connection can have.
    pub fn must_be_on_connections(self, field: &'static str) -> crate::Result<()> {
        Self::for_connection(self.name()).map(|_| ()).map_err(|known| {
            let reason = format!("{} is never spoken on a connection; use one of {known}", self.name());
            Error::invalid(field, reason)
        })
    }

    /// The names of `dialects`, for people.
    pub fn names(dialects: &[Self]) -> String {
        let names: Vec<_> = dialects.iter().map(|dialect| dialect.name()).collect();
        names.join(", ")
    }

    /// Appends the encoding of `value`; on error `out` is as before.
    #[inline]
    pub fn encode<T: Serialize + ?Sized>(self, value: &T, out: &mut Vec<u8>) -> crate::Result<()> {
        match self {
            Self::Bincode => bincode::encode(value, out),
            Self::Postcard => postcard::encode(value, out),
            Self::BincodeV0 => bincode_v0::encode(value, out),
        }
    }

    /// How many bytes [`encode`](Self::encode) would append; the same errors.
    #[inline]
    pub fn encoded_len<T: Serialize + ?Sized>(self, value: &T) -> crate::Result<usize> {
        match self {
            Self::Bincode => bincode::encoded_len(value),
            Self::Postcard => postcard::encoded_len(value),
            Self::BincodeV0 => bincode_v0::encoded_len(value),
        }
    }

    /// [`encoded_len`](Self::encoded_len) of an event.
    #[inline]
    pub(super) fn event_len(self, event: &CollectionEvent<'_>) -> crate::Result<usize> {
        match self {
            Self::Bincode => bincode::event_len(event),
            Self::Postcard | Self::BincodeV0 => self.encoded_len(event),
        }
    }

    /// The length of the envelope around a payload of `payload` bytes, without these. `None`: [`encoded_len`](Self::encoded_len) must
    /// say it, or why it cannot be written.
    #[inline]
    pub(super) fn envelope_len(self, draft: &Draft<'_>, payload: usize) -> Option<usize> {
        match self {
            Self::Bincode => bincode::envelope_len(draft, payload),
            Self::Postcard | Self::BincodeV0 => None,
        }
    }

    /// Decodes `bytes` whole: trailing bytes are refused.
    #[inline]
    pub fn decode<'de, T: Deserialize<'de>>(self, bytes: &'de [u8]) -> Result<T, DecodeError> {
        match self {
            Self::Bincode => bincode::decode(bytes),
            Self::Postcard => postcard::decode(bytes),
            Self::BincodeV0 => bincode_v0::decode(bytes),
        }
    }

    /// [`encode`](Self::encode) of a subscription as the original had it in this dialect's time. A value that it could not
    /// express is refused.
    pub fn encode_subscription(self, value: &EventSubscription, out: &mut Vec<u8>) -> crate::Result<()> {
        match self {
            Self::Bincode => bincode::encode_subscription(value, out),
            Self::Postcard | Self::BincodeV0 => self.encode(value, out),
        }
    }

    /// [`decode`](Self::decode) of a subscription as the original had it in this dialect's time.
    pub fn decode_subscription(self, bytes: &[u8]) -> Result<EventSubscription, DecodeError> {
        match self {
            Self::Bincode => bincode::decode_subscription(bytes),
            Self::Postcard | Self::BincodeV0 => self.decode(bytes),
        }
    }

    /// Writes the encoding of `value` at the start of `place` and gives its length. `None`: `place` is too small, or
    /// [`encode`](Self::encode) must say why it cannot be written. Faster than `encode`, whose every write makes room first.
    #[inline]
    pub(super) fn encode_into<T: Serialize + ?Sized>(self, value: &T, place: &mut [u8]) -> Option<usize> {
        match self {
            Self::Bincode => bincode::encode_into(value, place),
            Self::Postcard => postcard::encode_into(value, place),
            Self::BincodeV0 => None,
        }
    }

    /// Decodes an envelope whole, keeping its outline; allocates only for the error.
    #[inline]
    pub fn outline(self, bytes: &[u8]) -> Result<Outline<'_>, DecodeError> {
        match self {
            Self::Bincode => bincode::outline(bytes),
            Self::Postcard => postcard::outline(bytes),
            Self::BincodeV0 => bincode_v0::outline(bytes),
        }
    }

    /// Decodes an event whole, keeping its kind; allocates only for the error.
    #[inline]
    pub(super) fn event_kind(self, bytes: &[u8]) -> Result<EventKind, DecodeError> {
        match self {
            Self::Bincode => bincode::event_kind(bytes),
            Self::Postcard => postcard::event_kind(bytes),
            Self::BincodeV0 => bincode_v0::event_kind(bytes),
        }
    }

    /// Decodes an event whole, its map walked over; allocates only for the error.
    #[inline]
    pub fn event(self, bytes: &[u8]) -> Result<CollectionEvent<'_, Walk>, DecodeError> {
        match self {
            Self::Bincode => bincode::event(bytes),
            Self::Postcard | Self::BincodeV0 => self.decode(bytes),
        }
    }

    /// [`outline`](Self::outline) of what it took before: whether texts are UTF-8 is not asked again, since no text is made of them here.
    #[inline]
    pub fn known_outline(self, bytes: &[u8]) -> Result<Outline<'_>, DecodeError> {
        match self {
            Self::Bincode => bincode::known_outline(bytes),
            Self::Postcard | Self::BincodeV0 => self.outline(bytes),
        }
    }

    /// [`event`](Self::event) of what was decoded before, in the same way.
    #[inline]
    pub fn known_event(self, bytes: &[u8]) -> Result<CollectionEvent<'_, Walk, Utf8<'_>>, DecodeError> {
        match self {
            Self::Bincode => bincode::known_event(bytes),
            Self::Postcard | Self::BincodeV0 => self.decode(bytes),
        }
    }

    /// The map of an event of what was decoded before, in the same way.
    #[inline]
    pub fn known_metadata(self, bytes: &[u8]) -> Result<Entries<'_>, DecodeError> {
        match self {
            Self::Bincode => bincode::known_metadata(bytes),
            Self::Postcard | Self::BincodeV0 => metadata_by_serde(bytes, |bytes| self.decode(bytes)),
        }
    }
}
