//! Equality and hash of the native dataclasses: by value, whether made by a caller or still in a frame.
//!
//! Times count to the nanosecond, maps without regard to order. A NaN equals a NaN of the same bits, so that what was
//! read back equals what was written. Hashes are keyed at random, since their input comes from other processes.
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::LazyLock;

use daemoneye_eventbus_core::event::{CollectionEvent, CorrelationMetadata as Correlation, Map};
use pyo3::prelude::*;

use super::bus_event::BusEvent;
use super::control::ControlMessage;
use super::correlation::CorrelationMetadata;
use super::envelope::Envelope;
use super::message::Message;
use super::{as_event, view};
use crate::text::inconsistent;

static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Of two objects of one class.
pub(crate) fn equal(a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = a.py();
    if as_event(a).is_some() {
        return Ok(same_event(&view(a)?, &view(b)?));
    }
    if let (Ok(a), Ok(b)) = (a.cast::<CorrelationMetadata>(), b.cast::<CorrelationMetadata>()) {
        return Ok(same_correlation(&a.get().view(py)?, &b.get().view(py)?));
    }
    if let (Ok(a), Ok(b)) = (a.cast::<BusEvent>(), b.cast::<BusEvent>()) {
        let (a, b) = (a.get(), b.get());
        let (pattern_a, subscriber_a) = a.names();
        let (pattern_b, subscriber_b) = b.names();
        return Ok(same_envelope(py, a.envelope(), b.envelope())?
            && pattern_a.bind(py).to_str()? == pattern_b.bind(py).to_str()?
            && subscriber_a.bind(py).to_str()? == subscriber_b.bind(py).to_str()?
            && a.event_object().bind(py).eq(b.event_object().bind(py))?);
    }
    if let (Ok(a), Ok(b)) = (a.cast::<ControlMessage>(), b.cast::<ControlMessage>()) {
        let (a, b) = (a.get(), b.get());
        return Ok(a.bytes(py)? == b.bytes(py)? && same_envelope(py, a.envelope(), b.envelope())?);
    }
    if let (Ok(a), Ok(b)) = (a.cast::<Message>(), b.cast::<Message>()) {
        let (a, b) = (a.get().view(py)?, b.get().view(py)?);
        return Ok(a.id == b.id
            && a.topic == b.topic
            && a.payload == b.payload
            && a.sequence == b.sequence
            && a.timestamp == b.timestamp
            && a.message_type == b.message_type
            && same_correlation(&a.correlation_metadata, &b.correlation_metadata));
    }
    Err(inconsistent())
}

pub(crate) fn hash(ob: &Bound<'_, PyAny>) -> PyResult<u64> {
    let py = ob.py();
    let mut state = KEYS.build_hasher();
    if as_event(ob).is_some() {
        hash_event(&view(ob)?, &mut state);
    } else if let Ok(correlation) = ob.cast::<CorrelationMetadata>() {
        hash_correlation(&correlation.get().view(py)?, &mut state);
    } else if let Ok(event) = ob.cast::<BusEvent>() {
        let event = event.get();
        hash_envelope(py, event.envelope(), &mut state)?;
        hash_event(&view(event.event_object().bind(py))?, &mut state);
    } else if let Ok(message) = ob.cast::<ControlMessage>() {
        hash_envelope(py, message.get().envelope(), &mut state)?;
        message.get().bytes(py)?.hash(&mut state);
    } else if let Ok(message) = ob.cast::<Message>() {
        let message = message.get().view(py)?;
        (
            message.id,
            message.topic,
            message.payload,
            message.sequence,
            message.timestamp,
        )
            .hash(&mut state);
        hash_correlation(&message.correlation_metadata, &mut state);
    } else {
        return Err(inconsistent());
    }
    Ok(state.finish())
}

fn same_envelope(py: Python<'_>, a: &Envelope, b: &Envelope) -> PyResult<bool> {
    if a.time != b.time
        || a.sequence != b.sequence
        || a.id(py).to_str()? != b.id(py).to_str()?
        || a.topic(py)?.to_str()? != b.topic(py)?.to_str()?
    {
        return Ok(false);
    }
    let (a, b) = (a.correlation_metadata(py)?, b.correlation_metadata(py)?);
    Ok(same_correlation(&a.get().view(py)?, &b.get().view(py)?))
}

fn hash_envelope(py: Python<'_>, envelope: &Envelope, state: &mut impl Hasher) -> PyResult<()> {
    envelope.time.hash(state);
    envelope.sequence.hash(state);
    envelope.id(py).to_str()?.hash(state);
    envelope.topic(py)?.to_str()?.hash(state);
    hash_correlation(&envelope.correlation_metadata(py)?.get().view(py)?, state);
    Ok(())
}

fn same_event(a: &CollectionEvent<'_>, b: &CollectionEvent<'_>) -> bool {
    use CollectionEvent::{Filesystem, Network, Performance, Process, TriggerRequest};
    match (a, b) {
        (Process(a), Process(b)) => {
            a.pid == b.pid
                && a.name == b.name
                && a.command_line == b.command_line
                && a.executable_path == b.executable_path
                && a.ppid == b.ppid
                && a.start_time == b.start_time
                && same_map(&a.metadata, &b.metadata)
        }
        (Network(a), Network(b)) => {
            a.connection_id == b.connection_id
                && a.source_address == b.source_address
                && a.destination_address == b.destination_address
                && a.protocol == b.protocol
                && same_map(&a.metadata, &b.metadata)
        }
        (Filesystem(a), Filesystem(b)) => {
            a.path == b.path && a.event_type == b.event_type && a.size == b.size && same_map(&a.metadata, &b.metadata)
        }
        (Performance(a), Performance(b)) => {
            a.metric_name == b.metric_name
                && a.unit == b.unit
                && float_key(a.value) == float_key(b.value)
                && same_map(&a.metadata, &b.metadata)
        }
        (TriggerRequest(a), TriggerRequest(b)) => {
            a.request_id == b.request_id
                && a.collector_type == b.collector_type
                && a.priority == b.priority
                && a.payload == b.payload
                && same_map(&a.metadata, &b.metadata)
        }
        _ => false,
    }
}

fn hash_event(event: &CollectionEvent<'_>, state: &mut impl Hasher) {
    event.kind().hash(state);
    match event {
        CollectionEvent::Process(event) => {
            let texts = (event.name, event.command_line, event.executable_path);
            (event.pid, texts, event.ppid, event.start_time).hash(state);
            hash_map(&event.metadata, state);
        }
        CollectionEvent::Network(event) => {
            (
                event.connection_id,
                event.source_address,
                event.destination_address,
                event.protocol,
            )
                .hash(state);
            hash_map(&event.metadata, state);
        }
        CollectionEvent::Filesystem(event) => {
            (event.path, event.event_type, event.size).hash(state);
            hash_map(&event.metadata, state);
        }
        CollectionEvent::Performance(event) => {
            (event.metric_name, float_key(event.value), event.unit).hash(state);
            hash_map(&event.metadata, state);
        }
        CollectionEvent::TriggerRequest(event) => {
            (event.request_id, event.collector_type, event.priority, event.payload).hash(state);
            hash_map(&event.metadata, state);
        }
    }
}

fn same_correlation(a: &Correlation<'_>, b: &Correlation<'_>) -> bool {
    a.correlation_id == b.correlation_id
        && a.parent_correlation_id == b.parent_correlation_id
        && a.root_correlation_id == b.root_correlation_id
        && a.sequence_number == b.sequence_number
        && a.workflow_stage == b.workflow_stage
        && a.created_at == b.created_at
        && same_map(&a.correlation_tags, &b.correlation_tags)
}

fn hash_correlation(value: &Correlation<'_>, state: &mut impl Hasher) {
    let ids = (
        value.correlation_id,
        value.parent_correlation_id,
        value.root_correlation_id,
    );
    (ids, value.sequence_number, value.workflow_stage, value.created_at).hash(state);
    hash_map(&value.correlation_tags, state);
}

/// Zero has two signs and one value.
fn float_key(value: f64) -> u64 {
    if value == 0.0 { 0 } else { value.to_bits() }
}

fn same_map(a: &Map<'_>, b: &Map<'_>) -> bool {
    a == b || distinct(a) == distinct(b)
}

fn hash_map(map: &Map<'_>, state: &mut impl Hasher) {
    distinct(map).hash(state);
}

/// The entries by key; of a repeated key the last, as in every reader.
fn distinct<'a>(map: &Map<'a>) -> Vec<(&'a str, &'a str)> {
    let mut entries: Vec<_> = map.0.iter().rev().copied().collect();
    // Stable, so that of equal keys the last one given stays in front and is the one kept.
    entries.sort_by_key(|(key, _)| *key);
    entries.dedup_by_key(|(key, _)| *key);
    entries
}
