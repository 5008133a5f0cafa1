//! bincode 2.0.1, `config::standard()`, through its crate; only the two ends are ours.
//!
//! The reader borrows everything from the input and knows where it stands, so that an error names its offset. Nothing is
//! allocated for an announced length: text and bytes are taken from what is there, or the input is too short.
mod put;
mod walk;

use bincode::config;
use bincode::de::read::{BorrowReader, Reader};
use bincode::de::{BorrowDecode, BorrowDecoder, DecoderImpl};
use bincode::enc::write::{SizeWriter, Writer};
use bincode::error::{DecodeError as Refused, EncodeError};
use bincode::serde::{BorrowCompat, borrow_decode_from_slice, encode_into_writer};
use serde::{Deserialize, Serialize};

use super::super::{Draft, MessageType, envelope};
use super::{Dialect, Outline};
use crate::error::{DecodeError, Error, Result};
use crate::event::{CollectionEvent, EventKind, Walk};

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
pub(super) fn encoded_len<T: Serialize + ?Sized>(value: &T) -> Result<usize> {
    let mut size = SizeWriter::default();
    encode_into_writer(value, &mut size, config::standard()).map_err(unwritable)?;
    Ok(size.bytes_written)
}

#[inline]
pub(super) fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, DecodeError> {
    match borrow_decode_from_slice(bytes, config::standard()) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        _ => decode_tracked(bytes),
    }
}

/// [`decode`] again, this time knowing where it stands: to do so always would double the price of what is right.
#[cold]
fn decode_tracked<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, DecodeError> {
    let mut decoder = DecoderImpl::new(Position::new(bytes), config::standard(), ());
    let decoded = BorrowCompat::<T>::borrow_decode(&mut decoder);
    let position = decoder.borrow_reader();
    match decoded {
        Ok(BorrowCompat(value)) if position.rest.is_empty() => Ok(value),
        Ok(_) => Err(position.trailing(bytes.len())),
        Err(refused) => Err(position.refuse(bytes.len(), &refused)),
    }
}

/// Appends the body of `draft`.
#[inline]
pub(super) fn encode_draft(draft: &Draft<'_>, message_type: MessageType, out: &mut Vec<u8>) -> Result<()> {
    let before = out.len();
    if put::draft(draft, message_type, out).is_some() {
        return Ok(());
    }
    out.truncate(before);
    envelope::encode(Dialect::Bincode, draft, message_type, out)
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

struct Append<'a>(&'a mut Vec<u8>);

impl Writer for Append<'_> {
    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// A place in the input. Places are kept as the number of bytes from there to the end.
struct Position<'de> {
    rest: &'de [u8],
    /// Where the item last begun begins: every integer and tag is peeked at first, everything longer is taken.
    item: usize,
}

impl<'de> Position<'de> {
    fn new(bytes: &'de [u8]) -> Self {
        Self {
            rest: bytes,
            item: bytes.len(),
        }
    }

    fn short(&self, wanted: usize) -> Refused {
        Refused::UnexpectedEnd {
            additional: wanted.saturating_sub(self.rest.len()),
        }
    }

    fn trailing(&self, whole: usize) -> DecodeError {
        DecodeError {
            dialect: NAME,
            offset: whole.saturating_sub(self.rest.len()),
            reason: format!("{} bytes too many behind the value", self.rest.len()),
        }
    }

    fn refuse(&self, whole: usize, refused: &Refused) -> DecodeError {
        let to_end = match refused {
            Refused::UnexpectedEnd { .. } => self.rest.len(),
            Refused::Utf8 { inner } => self.item.saturating_sub(inner.valid_up_to()),
            _ => self.item,
        };
        DecodeError {
            dialect: NAME,
            offset: whole.saturating_sub(to_end),
            reason: reason(refused),
        }
    }
}

impl Reader for Position<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), Refused> {
        let Some((taken, rest)) = self.rest.split_at_checked(bytes.len()) else {
            return Err(self.short(bytes.len()));
        };
        bytes.copy_from_slice(taken);
        self.rest = rest;
        Ok(())
    }

    fn peek_read(&mut self, n: usize) -> Option<&[u8]> {
        self.item = self.rest.len();
        self.rest.get(..n)
    }

    fn consume(&mut self, n: usize) {
        self.rest = self.rest.get(n..).unwrap_or_default();
    }
}

impl<'de> BorrowReader<'de> for Position<'de> {
    fn take_bytes(&mut self, length: usize) -> Result<&'de [u8], Refused> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(self.short(length));
        };
        self.item = self.rest.len();
        self.rest = rest;
        Ok(taken)
    }
}

#[cold]
pub(super) fn reason(refused: &Refused) -> String {
    match refused {
        Refused::UnexpectedEnd { additional } => {
            format!("{additional} more bytes announced than there are")
        }
        Refused::InvalidIntegerType { found, .. } => {
            format!("integer tag {found:?} is too wide here, or reserved")
        }
        Refused::UnexpectedVariant { found, .. } => {
            format!("option tag {found} is neither 0 nor 1")
        }
        Refused::InvalidBooleanValue(found) => format!("bool {found} is neither 0 nor 1"),
        Refused::Utf8 { .. } => "text is not UTF-8".to_owned(),
        Refused::Other(text) => (*text).to_owned(),
        Refused::OtherString(text) => text.clone(),
        other => format!("{other:?}"),
    }
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
