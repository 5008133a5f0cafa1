//! postcard 1.1 through its crate: what the original speaks since 3a90019.
//!
//! Its errors carry neither a place nor serde's words, so what it refuses is read again by [`plain`] to say both. The crate
//! borrows, and takes text and bytes from what is there, whatever length is announced.
use postcard::ser_flavors::{Flavor, Size};
use serde::{Deserialize, Serialize};

use super::super::Message;
use super::plain::{self, Codec};
use super::{Outline, bincode};
use crate::error::{DecodeError, Error, Result};
use crate::event::{CollectionEvent, EventKind, Walk};

pub(super) const NAME: &str = "postcard";

#[inline]
pub(super) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    let before = out.len();
    postcard::serialize_with_flavor(value, Append(out)).map_err(|error| {
        out.truncate(before);
        unwritable(value, &error)
    })
}

#[inline]
pub(super) fn encode_into<T: Serialize + ?Sized>(value: &T, place: &mut [u8]) -> Option<usize> {
    postcard::to_slice(value, place).ok().map(|written| written.len())
}

#[inline]
pub(super) fn encoded_len<T: Serialize + ?Sized>(value: &T) -> Result<usize> {
    postcard::serialize_with_flavor(value, Size::default()).map_err(|error| unwritable(value, &error))
}

#[inline]
pub(super) fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => decode_plain(bytes),
    }
}

#[cold]
fn decode_plain<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, DecodeError> {
    plain::decode::<Integers, T>(bytes)
}

/// [`decode`] of an envelope, for what routing needs of it.
#[inline]
pub(super) fn outline(bytes: &[u8]) -> Result<Outline<'_>, DecodeError> {
    decode::<Message<'_, Walk>>(bytes).map(|message| Outline::of(&message))
}

/// [`decode`] of an event, for its kind.
#[inline]
pub(super) fn event_kind(bytes: &[u8]) -> Result<EventKind, DecodeError> {
    decode::<CollectionEvent<'_, Walk>>(bytes).map(|event| event.kind())
}

/// bincode refuses the same values, for they refuse themselves, and keeps the reason.
#[cold]
fn unwritable<T: Serialize + ?Sized>(value: &T, error: &postcard::Error) -> Error {
    bincode::encoded_len(value)
        .err()
        .unwrap_or_else(|| Error::invalid("value", error.to_string()))
}

struct Append<'a>(&'a mut Vec<u8>);

impl Flavor for Append<'_> {
    type Output = ();

    #[inline(always)]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    #[inline(always)]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline(always)]
    fn finalize(self) -> postcard::Result<()> {
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

fn integer<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<(T, usize), String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, rest)) => Ok((value, bytes.len().saturating_sub(rest.len()))),
        Err(postcard::Error::DeserializeUnexpectedEnd) => Err("integer is cut short".to_owned()),
        Err(_) => Err("integer is too wide here, or does not end".to_owned()),
    }
}
