//! The native dataclasses, and their conversion to and from the core's types.
//!
//! In: [`view_given`] and [`correlation_view`] borrow what the encoder takes straight from the Python objects. Out:
//! [`received`] makes the object of a received body, [`bus_event_local`] and [`control_message_local`] those of a message
//! that never left this process. A received object keeps a copy of its own frame and makes texts, times and maps when
//! they are read.

mod backing;
mod bus_event;
mod bytes;
mod compare;
pub(crate) mod construct;
mod control;
mod correlation;
mod envelope;
mod filesystem;
mod message;
mod network;
mod performance;
mod process;
mod record;
mod restore;
mod trigger;

use daemoneye_eventbus_core::event::{self as core, CollectionEvent, EventKind, Map, Timestamp, Utf8, Walk};
use daemoneye_eventbus_core::topic::names::trigger as trigger_topic;
use daemoneye_eventbus_core::wire::{Dialect, MessageType};
use pyo3::prelude::*;
use pyo3::pyclass::PyClass;
use pyo3::types::{PyBytes, PyString};
use uuid::Uuid;

pub(crate) use self::backing::Payload;
pub(crate) use self::bus_event::{BusEvent, DeliveryInfo};
use self::bytes::Bytes;
pub(crate) use self::control::ControlMessage;
pub(crate) use self::correlation::CorrelationMetadata;
pub(crate) use self::envelope::Correlation;
pub(crate) use self::filesystem::FilesystemEvent;
pub(crate) use self::message::Message;
pub(crate) use self::network::NetworkEvent;
pub(crate) use self::performance::PerformanceEvent;
pub(crate) use self::process::ProcessEvent;
pub(crate) use self::record::Record;
pub(crate) use self::restore::_restore;
pub(crate) use self::trigger::TriggerRequest;
use crate::args::Field;
use crate::errors::decode_error;
use crate::objects;
use crate::text::{Frame, Text};

/// Which of the five `ob` is.
pub(crate) fn as_event(ob: &Bound<'_, PyAny>) -> Option<EventKind> {
    if ob.is_exact_instance_of::<ProcessEvent>() {
        Some(EventKind::Process)
    } else if ob.is_exact_instance_of::<NetworkEvent>() {
        Some(EventKind::Network)
    } else if ob.is_exact_instance_of::<FilesystemEvent>() {
        Some(EventKind::Filesystem)
    } else if ob.is_exact_instance_of::<PerformanceEvent>() {
        Some(EventKind::Performance)
    } else if ob.is_exact_instance_of::<TriggerRequest>() {
        Some(EventKind::Trigger)
    } else {
        None
    }
}

fn check_event(field: Field, ob: &Bound<'_, PyAny>) -> PyResult<EventKind> {
    as_event(ob).ok_or_else(|| not_an_event(field, ob))
}

fn not_an_event(field: Field, ob: &Bound<'_, PyAny>) -> PyErr {
    field.type_error(
        "ProcessEvent, NetworkEvent, FilesystemEvent, PerformanceEvent or TriggerRequest",
        ob,
    )
}

/// The core's view of one of the five, borrowed from the object: no text is copied.
pub(crate) fn view<'a>(ob: &'a Bound<'_, PyAny>) -> PyResult<CollectionEvent<'a>> {
    view_given(ob, || Field("CollectionEvent", "event"))
}

/// The same of what a caller gave, as this `field`.
pub(crate) fn view_given<'a>(ob: &'a Bound<'_, PyAny>, field: impl FnOnce() -> Field) -> PyResult<CollectionEvent<'a>> {
    let py = ob.py();
    if let Ok(event) = ob.cast_exact::<ProcessEvent>() {
        event.get().view(py)
    } else if let Ok(event) = ob.cast_exact::<NetworkEvent>() {
        event.get().view(py)
    } else if let Ok(event) = ob.cast_exact::<FilesystemEvent>() {
        event.get().view(py)
    } else if let Ok(event) = ob.cast_exact::<PerformanceEvent>() {
        event.get().view(py)
    } else if let Ok(event) = ob.cast_exact::<TriggerRequest>() {
        event.get().view(py)
    } else {
        Err(not_an_event(field(), ob))
    }
}

/// The core's view of a publisher's correlation: a `CorrelationMetadata`, or a `str` that becomes id and root of a
/// fresh one made at `created_at`. `field` names what is neither.
pub(crate) fn correlation_view<'a>(
    ob: &'a Bound<'_, PyAny>,
    created_at: Timestamp,
    field: impl FnOnce() -> Field,
) -> PyResult<core::CorrelationMetadata<'a>> {
    if let Ok(metadata) = ob.cast_exact::<CorrelationMetadata>() {
        return metadata.get().view(ob.py());
    }
    let field = field();
    let id = ob
        .cast::<PyString>()
        .map_err(|_| field.type_error("str, CorrelationMetadata or None", ob))?;
    Ok(fresh_correlation(field.short_str(id, correlation::MAX_ID)?, created_at))
}

/// The metadata of a message that was published with nothing but an id.
pub(crate) fn fresh_correlation(id: &str, created_at: Timestamp) -> core::CorrelationMetadata<'_> {
    core::CorrelationMetadata {
        correlation_id: id,
        parent_correlation_id: None,
        root_correlation_id: id,
        sequence_number: 0,
        workflow_stage: None,
        correlation_tags: Map::default(),
        created_at,
    }
}

/// What a received body is to a subscriber: a `BusEvent` if it holds an event, else a `ControlMessage`.
///
/// `matched_pattern` is asked for an event alone. `frame` is kept; everything but numbers is read from it when a field is read.
pub(crate) fn received<'s>(
    py: Python<'_>,
    frame: Frame,
    matched_pattern: impl FnOnce(Utf8<'_>) -> PyResult<&'s Py<PyString>>,
    subscriber_id: &Py<PyString>,
    info: DeliveryInfo,
) -> PyResult<Py<PyAny>> {
    let dialect = frame.dialect;
    let outline = dialect.known_outline(frame.bytes(py));
    let outline = match outline {
        Ok(ref outline) => outline,
        Err(error) => return Err(decode_error(py, error)),
    };
    let mut envelope = envelope::Envelope::of_wire(frame.bytes(py), outline)?;
    let holds_event = match outline.message_type {
        MessageType::Event => true,
        MessageType::Control if outline.topic.0 == trigger_topic::REQUEST.as_bytes() => {
            matches!(dialect.event(outline.payload), Ok(CollectionEvent::TriggerRequest(_)))
        }
        _ => false,
    };
    if holds_event {
        let event = bus_event::event_of(py, &frame, outline.payload)?;
        let matched_pattern = matched_pattern(outline.topic)?;
        envelope.frame = Some(frame);
        let (matched_pattern, subscriber_id) = (matched_pattern.clone_ref(py), subscriber_id.clone_ref(py));
        let made = BusEvent::of_envelope(envelope, event, matched_pattern, subscriber_id, info);
        Ok(made.into_object(py)?.into_any())
    } else {
        let payload = Bytes::wire(frame.bytes(py), outline.payload)?;
        envelope.frame = Some(frame);
        Ok(ControlMessage::of_envelope(envelope, payload, info)
            .into_object(py)?
            .into_any())
    }
}

/// A message of this process, as a publisher made it.
pub(crate) struct Local<'a> {
    pub id: Uuid,
    pub topic: &'a Py<PyString>,
    pub correlation: &'a Correlation,
    pub timestamp: Timestamp,
    pub sequence: u64,
}

impl Local<'_> {
    fn envelope(&self, py: Python<'_>) -> envelope::Envelope {
        envelope::Envelope::new(
            self.id.into(),
            Text::Owned(self.topic.clone_ref(py)),
            self.correlation.clone_ref(py),
            self.timestamp,
            self.sequence,
        )
    }
}

/// The `BusEvent` of an event that never left this process: the publisher's own object, no codec.
pub(crate) fn bus_event_local(
    py: Python<'_>,
    local: &Local<'_>,
    event: Py<PyAny>,
    matched_pattern: &Py<PyString>,
    subscriber_id: &Py<PyString>,
    info: DeliveryInfo,
) -> PyResult<Py<PyAny>> {
    let (matched_pattern, subscriber_id) = (matched_pattern.clone_ref(py), subscriber_id.clone_ref(py));
    let made = BusEvent::of_envelope(local.envelope(py), event, matched_pattern, subscriber_id, info);
    Ok(made.into_object(py)?.into_any())
}

/// The `ControlMessage` of a payload that never left this process.
pub(crate) fn control_message_local(
    py: Python<'_>,
    local: &Local<'_>,
    payload: Py<PyBytes>,
    info: DeliveryInfo,
) -> PyResult<Py<PyAny>> {
    Ok(
        ControlMessage::of_envelope(local.envelope(py), Bytes::Owned(payload), info)
            .into_object(py)?
            .into_any(),
    )
}

/// Makes the Python object of a native dataclass. What these hold is their own kind, exact text, bytes and numbers, which refer
/// to nothing back.
#[inline]
pub(crate) fn made<T>(py: Python<'_>, value: T) -> PyResult<Py<T>>
where
    T: PyClass<BaseType = Record>,
{
    Ok(objects::untrack(Py::new(
        py,
        PyClassInitializer::from(Record).add_subclass(value),
    )?))
}

#[inline]
pub(crate) fn object<T>(py: Python<'_>, value: T) -> PyResult<Py<PyAny>>
where
    T: PyClass<BaseType = Record>,
{
    Ok(made(py, value)?.into_any())
}

/// The object of an event that stays in its frame.
fn of_wire<T: AsRef<[u8]>>(
    py: Python<'_>,
    event: &CollectionEvent<'_, Walk, T>,
    payload: Payload,
) -> PyResult<Py<PyAny>> {
    match event {
        CollectionEvent::Process(event) => object(py, ProcessEvent::of_wire(py, event, payload)?),
        CollectionEvent::Network(event) => object(py, NetworkEvent::of_wire(py, event, payload)?),
        CollectionEvent::Filesystem(event) => object(py, FilesystemEvent::of_wire(py, event, payload)?),
        CollectionEvent::Performance(event) => object(py, PerformanceEvent::of_wire(py, event, payload)?),
        CollectionEvent::TriggerRequest(event) => object(py, TriggerRequest::of_wire(py, event, payload)?),
    }
}

/// The object of an encoded `CollectionEvent`.
pub(crate) fn decode_event(py: Python<'_>, bytes: &[u8], dialect: Dialect) -> PyResult<Py<PyAny>> {
    let frame = envelope::frame(py, bytes, dialect);
    let body = frame.bytes(py);
    let span = crate::text::Span::of(body, body)?;
    let event = dialect.event(body).map_err(|error| decode_error(py, error))?;
    of_wire(py, &event, Payload::new(frame.clone_ref(py), span))
}
