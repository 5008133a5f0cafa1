//! Writing on the hot path: the layout of the serde definitions, written out so that it inlines, in one pass.
//!
//! What is written here the full encoder would write; what must not be written gives `None`, and the full encoder names why.
//! The golden vectors and random values hold the two to the same bytes in the tests.
use super::walk::{NANOS_PER_SEC, U16, U32, U64};
use crate::event::map::MAX_ENTRIES;
use crate::event::{CollectionEvent, Map, Timestamp};
use crate::wire::{Draft, MessageType, Payload};

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
