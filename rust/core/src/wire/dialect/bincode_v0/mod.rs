//! The original's first generation, 09764ed to c2c9547: bincode 2.0.1 with fewer fields. It never crossed a socket, so this
//! is for tools and forensics, not for connections; nothing here is meant to be fast.
//!
//! The types stay as they are: reader and writer know by name which fields this generation did not have. A field that is not
//! there is read as empty, and written only if it is; so what cannot be expressed is refused, not lost. Correlation metadata
//! was an id alone: its root is read as that id, its `created_at`, which every metadata has, as 1970 and never written.
mod write;

use serde::{Deserialize, Serialize};

use super::Outline;
use super::bincode::integer;
use super::plain::{self, Codec, Field};
use crate::error::{DecodeError, Result};
use crate::event::EventKind;

pub(super) const NAME: &str = "bincode-v0";

/// Appends the encoding of `value`.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    let before = out.len();
    write::value(value, out).inspect_err(|_| out.truncate(before))
}

pub(super) fn encoded_len<T: Serialize + ?Sized>(value: &T) -> Result<usize> {
    let mut out = Vec::new();
    write::value(value, &mut out)?;
    Ok(out.len())
}

pub(super) fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, DecodeError> {
    plain::decode::<FirstGeneration, T>(bytes)
}

/// [`decode`] of an envelope, for what routing needs of it.
pub(super) fn outline(bytes: &[u8]) -> Result<Outline<'_>, DecodeError> {
    Outline::by_serde(bytes, decode)
}

/// [`decode`] of an event, for its kind.
pub(super) fn event_kind(bytes: &[u8]) -> Result<EventKind, DecodeError> {
    super::kind_by_serde(bytes, decode)
}

enum FirstGeneration {}

impl Codec for FirstGeneration {
    const NAME: &'static str = NAME;

    fn u32(bytes: &[u8]) -> Result<(u32, usize), String> {
        integer(bytes)
    }

    fn u64(bytes: &[u8]) -> Result<(u64, usize), String> {
        integer(bytes)
    }

    fn field(structure: &str, field: &str) -> Field {
        match (structure, field) {
            ("CorrelationMetadata", "root_correlation_id") => Field::LikeFirst,
            ("CorrelationMetadata", "created_at") => Field::Forgotten,
            ("CorrelationMetadata", "correlation_id")
            | ("CorrelationFilter", "correlation_ids" | "correlation_patterns") => Field::Written,
            ("CorrelationMetadata" | "CorrelationFilter", _) | ("EventSubscription", "include_control") => {
                Field::Absent
            }
            _ => Field::Written,
        }
    }
}
