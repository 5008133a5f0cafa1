//! A validating scanner in front of the crate, for messages that are as they should be: every frame of a broker passes it.
//!
//! It never decides differently from the crate. What it takes, the crate takes, with the same values; for anything wrong or
//! unusual the answer is `None`, and the crate decides. Random, mutated and exhaustively changed frames hold the two to
//! the same verdict and values (`tests/wire`), and so does the fuzz target `dialect`.
//!
//! Why it is here: for envelope and event of 227 bytes it takes 37 ns, the crate through serde 105 ns, and the crate's own
//! `BorrowDecode` without serde 80 ns (least of many on 2 cores, rustc 1.95; the benchmark `codec` times the first two side by
//! side). Writing goes through the crate, which at 50 ns came near enough to 42 ns by hand, and is faster above 600 bytes.
use simdutf8::basic::from_utf8;
use uuid::Uuid;

use super::super::{Entries, Outline};
use crate::event::map::MAX_ENTRIES;
use crate::event::{
    CollectionEvent, EventKind, FilesystemEvent, NetworkEvent, PerformanceEvent, ProcessEvent, Timestamp,
    TriggerRequest, Utf8, Walk,
};
use crate::wire::MessageType;

/// First bytes that say how wide an integer is; below them, the byte is the integer.
const U16: u8 = 251;
const U32: u8 = 252;
const U64: u8 = 253;

const NANOS_PER_SEC: u32 = 1_000_000_000;

/// A whole envelope.
#[inline]
pub(super) fn envelope(bytes: &[u8]) -> Option<Outline<'_>> {
    envelope_with(Walker::<false>(bytes))
}

/// A whole envelope that [`envelope`] took before.
#[inline]
pub(super) fn known_envelope(bytes: &[u8]) -> Option<Outline<'_>> {
    envelope_with(Walker::<true>(bytes))
}

#[inline(always)]
fn envelope_with<const KNOWN: bool>(mut walk: Walker<'_, KNOWN>) -> Option<Outline<'_>> {
    let walk = &mut walk;
    let id = walk.bytes()?.try_into().ok()?;
    let topic = walk.text().map(Utf8)?;
    let correlation_id = walk.text()?;
    Option::<()>::read(walk)?;
    walk.text()?;
    walk.u64()?;
    Option::<()>::read(walk)?;
    walk.map()?;
    walk.timestamp()?;
    let payload = walk.bytes()?;
    let sequence = walk.u64()?;
    let timestamp = walk.timestamp()?;
    let message_type = match walk.byte()? {
        0 => MessageType::Event,
        1 => MessageType::Control,
        2 => MessageType::Heartbeat,
        3 => MessageType::Shutdown,
        _ => return None,
    };
    walk.end(Outline {
        id: Uuid::from_bytes(id),
        topic,
        correlation_id,
        payload,
        sequence,
        timestamp,
        message_type,
    })
}

/// The kind of a whole event.
#[inline]
pub(super) fn event_kind(bytes: &[u8]) -> Option<EventKind> {
    event_with::<false, (), Walk>(bytes).map(|event| event.kind())
}

/// A whole event, its map walked over.
#[inline]
pub(super) fn event(bytes: &[u8]) -> Option<CollectionEvent<'_, Walk>> {
    event_with::<false, _, _>(bytes)
}

/// A whole event that [`event_kind`] took before.
#[inline]
pub(super) fn known_event(bytes: &[u8]) -> Option<CollectionEvent<'_, Walk, Utf8<'_>>> {
    event_with::<true, _, _>(bytes)
}

/// The map of a whole event that [`event_kind`] took before.
#[inline]
pub(super) fn known_metadata(bytes: &[u8]) -> Option<Entries<'_>> {
    let mut event = event_with::<true, (), Entries<'_>>(bytes)?;
    Some(std::mem::take(event.metadata_mut()))
}

/// A field, as what is kept of it. Not by closures: the compiler calls those that are used so often, and then what is left to walk over
/// stands in memory instead of registers.
trait Field<'a>: Sized {
    fn read<const KNOWN: bool>(walk: &mut Walker<'a, KNOWN>) -> Option<Self>;
}

macro_rules! field {
    ($kept:ty, $walk:ident => $read:expr) => {
        impl<'a> Field<'a> for $kept {
            #[inline(always)]
            fn read<const KNOWN: bool>($walk: &mut Walker<'a, KNOWN>) -> Option<Self> {
                $read
            }
        }
    };
}

field!((), walk => walk.text().map(|_| ()));
field!(&'a str, walk => from_utf8(walk.bytes()?).ok());
field!(Utf8<'a>, walk => walk.text().map(Utf8));
field!(u32, walk => walk.u32());
field!(u64, walk => walk.u64());
field!(Timestamp, walk => walk.timestamp());
field!(Walk, walk => walk.map());
field!(Entries<'a>, walk => walk.entries());

impl<'a, T: Field<'a>> Field<'a> for Option<T> {
    #[inline(always)]
    fn read<const KNOWN: bool>(walk: &mut Walker<'a, KNOWN>) -> Option<Self> {
        match walk.byte()? {
            0 => Some(None),
            1 => T::read(walk).map(Some),
            _ => None,
        }
    }
}

/// With its texts and its map as these types.
#[inline(always)]
fn event_with<'a, const KNOWN: bool, T: Field<'a>, M: Field<'a>>(bytes: &'a [u8]) -> Option<CollectionEvent<'a, M, T>> {
    let walk = &mut Walker::<KNOWN>(bytes);
    let event = match walk.byte()? {
        0 => CollectionEvent::Process(ProcessEvent {
            pid: walk.u32()?,
            name: T::read(walk)?,
            command_line: Field::read(walk)?,
            executable_path: Field::read(walk)?,
            ppid: Field::read(walk)?,
            start_time: Field::read(walk)?,
            metadata: M::read(walk)?,
        }),
        1 => CollectionEvent::Network(NetworkEvent {
            connection_id: T::read(walk)?,
            source_address: T::read(walk)?,
            destination_address: T::read(walk)?,
            protocol: T::read(walk)?,
            metadata: M::read(walk)?,
        }),
        2 => CollectionEvent::Filesystem(FilesystemEvent {
            path: T::read(walk)?,
            event_type: T::read(walk)?,
            size: Field::read(walk)?,
            metadata: M::read(walk)?,
        }),
        3 => CollectionEvent::Performance(PerformanceEvent {
            metric_name: T::read(walk)?,
            value: walk.chunk().map(f64::from_le_bytes)?,
            unit: T::read(walk)?,
            metadata: M::read(walk)?,
        }),
        4 => CollectionEvent::TriggerRequest(TriggerRequest {
            request_id: T::read(walk)?,
            collector_type: T::read(walk)?,
            priority: walk.byte()?,
            payload: walk.bytes()?,
            metadata: M::read(walk)?,
        }),
        _ => return None,
    };
    walk.end(event)
}

/// What is left to walk over; `KNOWN` if it was walked over before and its UTF-8 needs no second look.
struct Walker<'a, const KNOWN: bool>(&'a [u8]);

impl<'a, const KNOWN: bool> Walker<'a, KNOWN> {
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

    /// Text whose UTF-8 is checked and not kept as such: twice as fast for the ASCII that most of it is. Of the rest, the standard
    /// library would take a nanosecond a byte, more than all else that happens to it.
    #[inline(always)]
    fn text(&mut self) -> Option<&'a [u8]> {
        let bytes = self.bytes()?;
        (KNOWN || bytes.is_ascii() || from_utf8(bytes).is_ok()).then_some(bytes)
    }

    /// Times that need no carry.
    #[inline(always)]
    fn timestamp(&mut self) -> Option<Timestamp> {
        let (secs, nanos) = (self.u64()?, self.u32()?);
        (nanos < NANOS_PER_SEC && i64::try_from(secs).is_ok()).then_some(Timestamp { secs, nanos })
    }

    #[inline(always)]
    fn count(&mut self) -> Option<usize> {
        usize::try_from(self.u64()?).ok().filter(|count| *count <= MAX_ENTRIES)
    }

    #[inline(always)]
    fn map(&mut self) -> Option<Walk> {
        for _ in 0..self.count()? {
            self.text()?;
            self.text()?;
        }
        Some(Walk)
    }

    #[inline(always)]
    fn entries(&mut self) -> Option<Entries<'a>> {
        let mut entries = Entries::new();
        for _ in 0..self.count()? {
            entries.try_reserve(1).ok()?;
            entries.push((Utf8(self.text()?), Utf8(self.text()?)));
        }
        Some(entries)
    }

    #[inline(always)]
    fn end<T>(&self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}
