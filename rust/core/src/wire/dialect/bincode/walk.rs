//! Checking on the hot path: the layout of the serde definitions, written out so that it inlines, nothing kept.
//!
//! What is accepted here the full decoder would accept; for anything unusual or wrong the answer is `None`, and the full
//! decoder judges and names it. Random and mutated frames hold the two to the same verdict in the tests.
use super::super::Outline;
use crate::event::EventKind;
use crate::event::map::MAX_ENTRIES;
use crate::wire::MessageType;

/// First bytes that say how wide an integer is; below them, the byte is the integer.
pub(super) const U16: u8 = 251;
pub(super) const U32: u8 = 252;
pub(super) const U64: u8 = 253;

pub(super) const NANOS_PER_SEC: u32 = 1_000_000_000;

/// What [`Outline`] needs of a whole envelope.
#[inline]
pub(super) fn envelope(bytes: &[u8]) -> Option<Outline<'_>> {
    let mut walk = Walker(bytes);
    if walk.bytes()?.len() != 16 {
        return None;
    }
    let topic = std::str::from_utf8(walk.bytes()?).ok()?;
    walk.text()?;
    walk.optional(Walker::text)?;
    walk.text()?;
    walk.u64()?;
    walk.optional(Walker::text)?;
    walk.map()?;
    walk.timestamp()?;
    let payload = walk.bytes()?;
    let sequence = walk.u64()?;
    walk.timestamp()?;
    let message_type = match walk.byte()? {
        0 => MessageType::Event,
        1 => MessageType::Control,
        2 => MessageType::Heartbeat,
        3 => MessageType::Shutdown,
        _ => return None,
    };
    walk.end(Outline {
        topic,
        payload,
        sequence,
        message_type,
    })
}

/// The kind of a whole event.
#[inline]
pub(super) fn event(bytes: &[u8]) -> Option<EventKind> {
    let mut walk = Walker(bytes);
    let kind = match walk.byte()? {
        0 => {
            walk.u32()?;
            walk.text()?;
            walk.optional(Walker::text)?;
            walk.optional(Walker::text)?;
            walk.optional(Walker::u32)?;
            walk.optional(Walker::timestamp)?;
            EventKind::Process
        }
        1 => {
            for _ in 0..4 {
                walk.text()?;
            }
            EventKind::Network
        }
        2 => {
            walk.text()?;
            walk.text()?;
            walk.optional(Walker::u64)?;
            EventKind::Filesystem
        }
        3 => {
            walk.text()?;
            walk.take(8)?;
            walk.text()?;
            EventKind::Performance
        }
        4 => {
            walk.text()?;
            walk.text()?;
            walk.byte()?;
            walk.bytes()?;
            EventKind::Trigger
        }
        _ => return None,
    };
    walk.map()?;
    walk.end(kind)
}

/// What is left to walk over.
struct Walker<'a>(&'a [u8]);

impl<'a> Walker<'a> {
    #[inline(always)]
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    #[inline(always)]
    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    #[inline(always)]
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    #[inline(always)]
    fn u64(&mut self) -> Option<u64> {
        match self.byte()? {
            small @ ..U16 => Some(u64::from(small)),
            U16 => self.chunk().map(|bytes| u64::from(u16::from_le_bytes(bytes))),
            U32 => self.chunk().map(|bytes| u64::from(u32::from_le_bytes(bytes))),
            U64 => self.chunk().map(u64::from_le_bytes),
            _ => None,
        }
    }

    #[inline(always)]
    fn u32(&mut self) -> Option<u32> {
        match self.byte()? {
            small @ ..U16 => Some(u32::from(small)),
            U16 => self.chunk().map(|bytes| u32::from(u16::from_le_bytes(bytes))),
            U32 => self.chunk().map(u32::from_le_bytes),
            _ => None,
        }
    }

    #[inline(always)]
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u64()?).ok()?;
        self.take(length)
    }

    #[inline(always)]
    fn text(&mut self) -> Option<()> {
        let bytes = self.bytes()?;
        (bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()).then_some(())
    }

    #[inline(always)]
    fn optional<T>(&mut self, some: impl FnOnce(&mut Self) -> Option<T>) -> Option<()> {
        match self.byte()? {
            0 => Some(()),
            1 => some(self).map(|_| ()),
            _ => None,
        }
    }

    /// Times that need no carry.
    #[inline(always)]
    fn timestamp(&mut self) -> Option<()> {
        let (secs, nanos) = (self.u64()?, self.u32()?);
        (nanos < NANOS_PER_SEC && i64::try_from(secs).is_ok()).then_some(())
    }

    #[inline(always)]
    fn map(&mut self) -> Option<()> {
        let count = usize::try_from(self.u64()?)
            .ok()
            .filter(|count| *count <= MAX_ENTRIES)?;
        for _ in 0..count {
            self.text()?;
            self.text()?;
        }
        Some(())
    }

    #[inline(always)]
    fn end<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}
