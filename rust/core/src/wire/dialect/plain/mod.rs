//! A serde deserializer for codecs that do not describe their types, as bincode and postcard: values one after another. They differ only in
//! how an integer is written, which is left to the codec's own crate.
//!
//! Two things need this: naming what was wrong and where in bytes that a codec's crate has refused, whose errors do not say;
//! and a generation whose structs lacked fields that they have now. The reader borrows everything, knows where it stands, and
//! allocates nothing for an announced length. That it judges as the crates do is held by the tests.
mod read;

use std::fmt::{self, Display};

use serde::Deserialize;

use crate::error::DecodeError;
use read::Reader;

/// What sets one of these codecs apart.
pub(super) trait Codec {
    const NAME: &'static str;

    /// The integer that `bytes` begin with and how many bytes it took, or what is wrong with it.
    fn u32(bytes: &[u8]) -> Result<(u32, usize), String>;

    /// As [`u32`](Self::u32); lengths are such integers too.
    fn u64(bytes: &[u8]) -> Result<(u64, usize), String>;

    /// Whether this generation's struct of that name had this field.
    fn field(structure: &str, field: &str) -> Field {
        let _ = (structure, field);
        Field::Written
    }
}

/// What became of a field in an earlier generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Written,
    /// Not there: empty, zero or none.
    Absent,
    /// Not there: the same as the struct's first field.
    LikeFirst,
    /// Not there, and whatever it is, nobody misses it; read as [`Absent`](Self::Absent).
    Forgotten,
}

/// Decodes `bytes` whole: trailing bytes are refused.
pub(super) fn decode<'de, C: Codec, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, DecodeError> {
    let mut reader = Reader::<C>::new(bytes);
    let error = match T::deserialize(&mut reader) {
        Ok(value) if reader.rest.is_empty() => return Ok(value),
        Ok(_) => ReadError {
            to_end: Some(reader.rest.len()),
            reason: format!("{} bytes too many behind the value", reader.rest.len()),
        },
        Err(error) => error,
    };
    Err(DecodeError {
        dialect: C::NAME,
        offset: bytes.len().saturating_sub(error.to_end.unwrap_or(reader.item)),
        reason: error.reason,
    })
}

/// Why a value was not decoded. Places are kept as the number of bytes from there to the end.
#[derive(Debug)]
pub(super) struct ReadError {
    /// `None`: where the item last begun begins; a length begins the text, bytes or map that it announces.
    to_end: Option<usize>,
    reason: String,
}

impl Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for ReadError {}

impl serde::de::Error for ReadError {
    #[cold]
    fn custom<T: Display>(reason: T) -> Self {
        Self {
            to_end: None,
            reason: reason.to_string(),
        }
    }
}
