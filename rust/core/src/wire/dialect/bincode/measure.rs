//! How long a value's encoding would be, counted from its fields where the crate would walk it through serde.
//!
//! It never counts differently from the crate. For what the crate would refuse, the answer is `None`, and the crate says why.
//! Random values hold the two to the same length (`tests/wire`).
//!
//! Why it is here: a bus of the broker's own process encodes nothing, but its queues have limits in bytes.
use crate::event::map::MAX_ENTRIES;
use crate::event::{CollectionEvent, CorrelationMetadata, Map, Timestamp};
use crate::wire::Draft;

/// Of an index below 251 of a variant, of an option's mark, of a byte.
const ONE: usize = 1;
const FLOAT: usize = 8;
/// Sixteen bytes behind their number.
const UUID: usize = 17;

/// A whole event.
#[inline]
pub(super) fn event(event: &CollectionEvent<'_>) -> Option<usize> {
    let fields = match event {
        CollectionEvent::Process(event) => {
            integer(event.pid.into())
                + text(event.name)
                + optional(event.command_line, text)
                + optional(event.executable_path, text)
                + optional(event.ppid, |ppid| integer(ppid.into()))
                + match event.start_time {
                    Some(time) => ONE + timestamp(time)?,
                    None => ONE,
                }
        }
        CollectionEvent::Network(event) => {
            text(event.connection_id)
                + text(event.source_address)
                + text(event.destination_address)
                + text(event.protocol)
        }
        CollectionEvent::Filesystem(event) => text(event.path) + text(event.event_type) + optional(event.size, integer),
        CollectionEvent::Performance(event) => text(event.metric_name) + FLOAT + text(event.unit),
        CollectionEvent::TriggerRequest(event) => {
            text(event.request_id) + text(event.collector_type) + ONE + bytes(event.payload)
        }
    };
    Some(ONE + fields + map(event.metadata())?)
}

/// An envelope around a payload of `payload` bytes, without these.
#[inline]
pub(super) fn envelope(draft: &Draft<'_>, payload: usize) -> Option<usize> {
    Some(
        UUID + text(draft.topic)
            + correlation(&draft.correlation_metadata)?
            + length(payload)
            + integer(draft.sequence)
            + timestamp(draft.timestamp)?
            + ONE,
    )
}

fn correlation(metadata: &CorrelationMetadata<'_>) -> Option<usize> {
    Some(
        text(metadata.correlation_id)
            + optional(metadata.parent_correlation_id, text)
            + text(metadata.root_correlation_id)
            + integer(metadata.sequence_number)
            + optional(metadata.workflow_stage, text)
            + map(&metadata.correlation_tags)?
            + timestamp(metadata.created_at)?,
    )
}

fn timestamp(time: Timestamp) -> Option<usize> {
    time.is_writable()
        .then(|| integer(time.secs) + integer(time.nanos.into()))
}

fn map(map: &Map<'_>) -> Option<usize> {
    let entries = map.0.iter().map(|(key, value)| text(key) + text(value));
    (map.0.len() <= MAX_ENTRIES).then(|| length(map.0.len()) + entries.sum::<usize>())
}

fn optional<T>(value: Option<T>, measure: impl FnOnce(T) -> usize) -> usize {
    ONE + value.map_or(0, measure)
}

fn text(text: &str) -> usize {
    bytes(text.as_bytes())
}

fn bytes(bytes: &[u8]) -> usize {
    length(bytes.len()) + bytes.len()
}

fn length(length: usize) -> usize {
    // A number of bytes in memory fits into 64 bits.
    integer(length as u64)
}

fn integer(value: u64) -> usize {
    match value {
        0..251 => 1,
        251..0x1_0000 => 3,
        0x1_0000..0x1_0000_0000 => 5,
        _ => 9,
    }
}
