//! bincode 2.0.1, `config::standard()`, through its crate; in front of it, on the hot path, [`walk`] and [`measure`].
//!
//! The crate borrows, and takes text and bytes from what is there, whatever length is announced. Its errors carry no place,
//! so what it refuses is read again by [`plain`] to name one: to keep count always would double the price of what is right.
mod measure;
mod subscription;
mod walk;

use bincode::de::Decode;
use bincode::enc::write::{SizeWriter, Writer};
use bincode::error::{DecodeError as CrateError, EncodeError};
use bincode::serde::{borrow_decode_from_slice, encode_into_slice, encode_into_writer};
use bincode::{config, decode_from_slice};
use serde::{Deserialize, Serialize};

use super::plain::{self, Codec};
use super::{Entries, Outline};
use crate::error::{DecodeError, Error, Result};
use crate::event::{CollectionEvent, EventKind, Utf8, Walk};
use crate::wire::Draft;

pub(super) use subscription::{decode_subscription, encode_subscription};

pub(super) const NAME: &str = "bincode";

#[inline]
pub(super) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    let before = out.len();
    encode_into_writer(value, Append(out), config::standard()).map_err(|error| {
        out.truncate(before);
        unwritable(error)
    })
}

#[inline]
pub(super) fn encode_into<T: Serialize + ?Sized>(value: &T, place: &mut [u8]) -> Option<usize> {
    encode_into_slice(value, place, config::standard()).ok()
}

#[inline]
pub(super) fn encoded_len<T: Serialize + ?Sized>(value: &T) -> Result<usize> {
    let mut size = SizeWriter::default();
    encode_into_writer(value, &mut size, config::standard()).map_err(unwritable)?;
    Ok(size.bytes_written)
}

/// [`encoded_len`] of an event.
#[inline]
pub(super) fn event_len(event: &CollectionEvent<'_>) -> Result<usize> {
    match measure::event(event) {
        Some(length) => Ok(length),
        None => encoded_len(event),
    }
}

#[inline]
pub(super) fn envelope_len(draft: &Draft<'_>, payload: usize) -> Option<usize> {
    measure::envelope(draft, payload)
}

#[inline]
pub(super) fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, DecodeError> {
    match borrow_decode_from_slice(bytes, config::standard()) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        _ => decode_plain(bytes),
    }
}

#[cold]
fn decode_plain<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, DecodeError> {
    plain::decode::<Integers, T>(bytes)
}

/// [`decode`] of an envelope, for its outline.
#[inline]
pub(super) fn outline(bytes: &[u8]) -> Result<Outline<'_>, DecodeError> {
    match walk::envelope(bytes) {
        Some(outline) => Ok(outline),
        None => Outline::by_serde(bytes, decode),
    }
}

/// [`decode`] of an event, for its kind.
#[inline]
pub(super) fn event_kind(bytes: &[u8]) -> Result<EventKind, DecodeError> {
    match walk::event_kind(bytes) {
        Some(kind) => Ok(kind),
        None => super::kind_by_serde(bytes, decode),
    }
}

/// [`decode`] of an event, its map walked over.
#[inline]
pub(super) fn event(bytes: &[u8]) -> Result<CollectionEvent<'_, Walk>, DecodeError> {
    match walk::event(bytes) {
        Some(event) => Ok(event),
        None => decode(bytes),
    }
}

/// [`outline`] of what it took before.
#[inline]
pub(super) fn known_outline(bytes: &[u8]) -> Result<Outline<'_>, DecodeError> {
    match walk::known_envelope(bytes) {
        Some(outline) => Ok(outline),
        None => outline(bytes),
    }
}

/// [`event`] of what it took before.
#[inline]
pub(super) fn known_event(bytes: &[u8]) -> Result<CollectionEvent<'_, Walk, Utf8<'_>>, DecodeError> {
    match walk::known_event(bytes) {
        Some(event) => Ok(event),
        None => decode(bytes),
    }
}

/// The map of an event that [`event`] took before.
#[inline]
pub(super) fn known_metadata(bytes: &[u8]) -> Result<Entries<'_>, DecodeError> {
    match walk::known_metadata(bytes) {
        Some(entries) => Ok(entries),
        None => super::metadata_by_serde(bytes, decode),
    }
}

struct Append<'a>(&'a mut Vec<u8>);

impl Writer for Append<'_> {
    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

enum Integers {}

impl Codec for Integers {
    const NAME: &'static str = NAME;

    fn u32(bytes: &[u8]) -> Result<(u32, usize), String> {
        integer(bytes)
    }

    fn u64(bytes: &[u8]) -> Result<(u64, usize), String> {
        integer(bytes)
    }
}

pub(super) fn integer<T: Decode<()>>(bytes: &[u8]) -> Result<(T, usize), String> {
    decode_from_slice(bytes, config::standard()).map_err(|refused| match refused {
        CrateError::UnexpectedEnd { .. } => "integer is cut short".to_owned(),
        CrateError::InvalidIntegerType { found, .. } => {
            format!("integer tag {found:?} is too wide here, or reserved")
        }
        other => format!("{other:?}"),
    })
}

#[cold]
fn unwritable(error: EncodeError) -> Error {
    let reason = match error {
        EncodeError::Other(text) => text.to_owned(),
        EncodeError::OtherString(text) => text,
        other => format!("{other:?}"),
    };
    Error::invalid("value", reason)
}
