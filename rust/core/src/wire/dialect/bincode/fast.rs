//! The hot path of the default dialect: the same layout as the serde definitions, written out so that it inlines.
//!
//! What is done here is what the full codec would do; for anything unusual or wrong the answer is `None`, and the full
//! codec judges and names it. Random and mutated frames hold the two to the same bytes and verdicts in the tests.
use super::super::Outline;
use crate::event::map::MAX_ENTRIES;
use crate::event::{CollectionEvent, EventKind, Map, Timestamp};
use crate::wire::{Draft, MessageType, Payload};

const U16: u8 = 251;
const U32: u8 = 252;
const U64: u8 = 253;

const NANOS_PER_SEC: u32 = 1_000_000_000;

/// Appends the body of a draft; after `None` a part of it.
#[inline]
pub(super) fn draft(draft: &Draft<'_>, message_type: MessageType, out: &mut Vec<u8>) -> Option<()> {
    let mut write = Writer(out);
    let correlation = &draft.correlation_metadata;
    write.bytes(draft.id.as_bytes())?;
    write.text(draft.topic)?;
    write.text(correlation.correlation_id)?;
    write.optional(correlation.parent_correlation_id, Writer::text)?;
    write.text(correlation.root_correlation_id)?;
    write.u64(correlation.sequence_number);
    write.optional(correlation.workflow_stage, Writer::text)?;
    write.map(&correlation.correlation_tags)?;
    write.timestamp(correlation.created_at)?;
    match draft.payload {
        Payload::Control(payload) => write.bytes(payload)?,
        Payload::Event(event) => write.nested(event)?,
    }
    write.u64(draft.sequence);
    write.timestamp(draft.timestamp)?;
    write.byte(match message_type {
        MessageType::Event => 0,
        MessageType::Control => 1,
        MessageType::Heartbeat => 2,
        MessageType::Shutdown => 3,
    });
    Some(())
}

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    #[inline(always)]
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    #[inline(always)]
    fn u64(&mut self, value: u64) {
        match u8::try_from(value) {
            Ok(small) if small < U16 => self.byte(small),
            _ => self.wide(value),
        }
    }

    #[inline]
    fn wide(&mut self, value: u64) {
        if let Ok(value) = u16::try_from(value) {
            let [a, b] = value.to_le_bytes();
            self.0.extend_from_slice(&[U16, a, b]);
        } else if let Ok(value) = u32::try_from(value) {
            let [a, b, c, d] = value.to_le_bytes();
            self.0.extend_from_slice(&[U32, a, b, c, d]);
        } else {
            self.byte(U64);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    #[inline(always)]
    fn length(&mut self, length: usize) -> Option<()> {
        self.u64(u64::try_from(length).ok()?);
        Some(())
    }

    #[inline(always)]
    fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        self.length(bytes.len())?;
        self.0.extend_from_slice(bytes);
        Some(())
    }

    #[inline(always)]
    fn text(&mut self, text: &str) -> Option<()> {
        self.bytes(text.as_bytes())
    }

    #[inline(always)]
    fn optional<T>(&mut self, value: Option<T>, some: impl FnOnce(&mut Self, T) -> Option<()>) -> Option<()> {
        match value {
            None => {
                self.byte(0);
                Some(())
            }
            Some(value) => {
                self.byte(1);
                some(self, value)
            }
        }
    }

    #[inline(always)]
    fn timestamp(&mut self, time: Timestamp) -> Option<()> {
        if time.nanos >= NANOS_PER_SEC || i64::try_from(time.secs).is_err() {
            return None;
        }
        self.u64(time.secs);
        self.u64(u64::from(time.nanos));
        Some(())
    }

    #[inline(always)]
    fn map(&mut self, map: &Map<'_>) -> Option<()> {
        if map.0.len() > MAX_ENTRIES {
            return None;
        }
        self.length(map.0.len())?;
        for (key, value) in &map.0 {
            self.text(key)?;
            self.text(value)?;
        }
        Some(())
    }

    /// The event as bytes: its length is known behind it, and needs more than the one byte kept for it only if it is long.
    #[inline(always)]
    fn nested(&mut self, event: &CollectionEvent<'_>) -> Option<()> {
        let at = self.0.len();
        self.byte(0);
        self.event(event)?;
        let length = self.0.len().checked_sub(at + 1)?;
        match u8::try_from(length) {
            Ok(small) if small < U16 => *self.0.get_mut(at)? = small,
            _ => {
                let end = self.0.len();
                self.length(length)?;
                // The length stands behind the event and a byte kept before it: turned about, then that byte dropped.
                let width = self.0.len().checked_sub(end)?;
                self.0.get_mut(at..)?.rotate_right(width);
                self.0.remove(at + width);
            }
        }
        Some(())
    }

    #[inline(always)]
    fn event(&mut self, event: &CollectionEvent<'_>) -> Option<()> {
        match event {
            CollectionEvent::Process(event) => {
                self.byte(0);
                self.u64(u64::from(event.pid));
                self.text(event.name)?;
                self.optional(event.command_line, Self::text)?;
                self.optional(event.executable_path, Self::text)?;
                self.optional(event.ppid, |this, ppid| {
                    this.u64(u64::from(ppid));
                    Some(())
                })?;
                self.optional(event.start_time, Self::timestamp)?;
                self.map(&event.metadata)
            }
            CollectionEvent::Network(event) => {
                self.byte(1);
                self.text(event.connection_id)?;
                self.text(event.source_address)?;
                self.text(event.destination_address)?;
                self.text(event.protocol)?;
                self.map(&event.metadata)
            }
            CollectionEvent::Filesystem(event) => {
                self.byte(2);
                self.text(event.path)?;
                self.text(event.event_type)?;
                self.optional(event.size, |this, size| {
                    this.u64(size);
                    Some(())
                })?;
                self.map(&event.metadata)
            }
            CollectionEvent::Performance(event) => {
                self.byte(3);
                self.text(event.metric_name)?;
                self.0.extend_from_slice(&event.value.to_le_bytes());
                self.text(event.unit)?;
                self.map(&event.metadata)
            }
            CollectionEvent::TriggerRequest(event) => {
                self.byte(4);
                self.text(event.request_id)?;
                self.text(event.collector_type)?;
                self.byte(event.priority);
                self.bytes(event.payload)?;
                self.map(&event.metadata)
            }
        }
    }
}

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
