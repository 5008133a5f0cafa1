//! `BusEvent`: an event as a subscription hands it over.
use std::sync::Arc;

use daemoneye_eventbus_core::event::Timestamp;
use daemoneye_eventbus_core::queue::Sender;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

use super::backing::Payload;
use super::correlation::CorrelationMetadata;
use super::envelope::{Correlation, Envelope, Id};
use super::record::Record;
use crate::args::{Arg, Field, Origin};
use crate::errors::decode_error;
use crate::mapping::generic_alias;
use crate::text::{Frame, Span, Text};
use crate::timestamp;
use crate::types;

/// What the broker says about a message besides the message.
#[derive(Default)]
pub(crate) struct DeliveryInfo {
    pub dropped_before: u64,
    /// `None` at a client: the wire has no place for it.
    pub sender: Option<Arc<Sender>>,
}

/// An event as a subscription delivers it.
#[pyclass(frozen, extends = Record, module = "daemoneye_eventbus")]
pub(crate) struct BusEvent {
    envelope: Envelope,
    // Members rather than properties: the interpreter reads them in place.
    /// What was published.
    #[pyo3(get)]
    event: Py<PyAny>,
    /// The subscription's pattern that matched the topic: the exact one if there is one, else the most specific.
    #[pyo3(get)]
    matched_pattern: Py<PyString>,
    /// The subscription that received it.
    #[pyo3(get)]
    subscriber_id: Py<PyString>,
    info: DeliveryInfo,
}

const fn field(name: &'static str) -> Field {
    Field("BusEvent", name)
}

impl BusEvent {
    /// From the constructor's arguments in the order of the fields; `dropped_before` is no field.
    pub(crate) fn build(
        py: Python<'_>,
        arguments: &[Arg<'_, '_>; 8],
        dropped_before: u64,
        origin: Origin,
    ) -> PyResult<Self> {
        let &[id, event, correlation, time, pattern, subscriber, topic, sequence] = arguments;
        let text = |name, arg: Arg<'_, '_>| field(name).text(arg.required(field(name))?);
        let id = Id::Text(text("event_id", id)?);
        let event = event.required(field("event"))?;
        super::check_event(field("event"), &event)?;
        let correlation = correlation.required(field("correlation_metadata"))?;
        let correlation = correlation
            .cast::<CorrelationMetadata>()
            .map_err(|_| field("correlation_metadata").type_error("CorrelationMetadata", &correlation))?;
        let time = timestamp::take(field("bus_timestamp"), time.required(field("bus_timestamp"))?, origin)?;
        let topic = match topic.present() {
            Some(ob) => field("topic").text(ob)?,
            None => PyString::new(py, "").unbind(),
        };
        let sequence = sequence.present().map_or(Ok(0), |ob| field("sequence").u64(ob))?;
        let correlation = Correlation::Object(correlation.to_owned().unbind());
        Ok(Self {
            envelope: Envelope::new(id, Text::Owned(topic), correlation, time, sequence),
            event: event.to_owned().unbind(),
            matched_pattern: text("matched_pattern", pattern)?,
            subscriber_id: text("subscriber_id", subscriber)?,
            info: DeliveryInfo {
                dropped_before,
                sender: None,
            },
        })
    }

    pub(crate) fn of_envelope(
        envelope: Envelope,
        event: Py<PyAny>,
        matched_pattern: Py<PyString>,
        subscriber_id: Py<PyString>,
        info: DeliveryInfo,
    ) -> Self {
        Self {
            envelope,
            event,
            matched_pattern,
            subscriber_id,
            info,
        }
    }

    /// From values that were decoded, which no limit holds back.
    pub(crate) fn of_parts(
        py: Python<'_>,
        event_id: Py<PyString>,
        event: Py<PyAny>,
        correlation: Py<CorrelationMetadata>,
        time: Timestamp,
        (matched_pattern, subscriber_id): (Py<PyString>, Py<PyString>),
    ) -> Self {
        let topic = Text::Owned(PyString::new(py, "").unbind());
        let envelope = Envelope::new(Id::Text(event_id), topic, Correlation::Object(correlation), time, 0);
        Self::of_envelope(envelope, event, matched_pattern, subscriber_id, DeliveryInfo::default())
    }

    pub(crate) fn into_object(self, py: Python<'_>) -> PyResult<Py<Self>> {
        super::made(py, self)
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.info.dropped_before
    }

    pub(crate) fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    pub(crate) fn event_object(&self) -> &Py<PyAny> {
        &self.event
    }

    pub(crate) fn names(&self) -> (&Py<PyString>, &Py<PyString>) {
        (&self.matched_pattern, &self.subscriber_id)
    }
}

/// The event in a message's payload, staying in the frame.
pub(crate) fn event_of(py: Python<'_>, frame: &Frame, payload: &[u8]) -> PyResult<Py<PyAny>> {
    // Used where it is: moved out of the result it would be copied whole, right behind its making.
    let event = frame.dialect.known_event(payload);
    let event = match event {
        Ok(ref event) => event,
        Err(error) => return Err(decode_error(py, error)),
    };
    let span = Span::of(frame.bytes(py), payload)?;
    let frame = frame.clone_ref(py);
    super::of_wire(py, event, Payload::new(frame, span))
}

#[pymethods]
impl BusEvent {
    #[new]
    #[pyo3(
        signature = (event_id, event, correlation_metadata, bus_timestamp, matched_pattern, subscriber_id, topic = Arg::MISSING, sequence = Arg::MISSING),
        text_signature = "(event_id, event, correlation_metadata, bus_timestamp, matched_pattern, subscriber_id, topic='', sequence=0)"
    )]
    #[expect(clippy::too_many_arguments, reason = "one for each field")]
    fn new(
        py: Python<'_>,
        event_id: Arg<'_, '_>,
        event: Arg<'_, '_>,
        correlation_metadata: Arg<'_, '_>,
        bus_timestamp: Arg<'_, '_>,
        matched_pattern: Arg<'_, '_>,
        subscriber_id: Arg<'_, '_>,
        topic: Arg<'_, '_>,
        sequence: Arg<'_, '_>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let arguments = [
            event_id,
            event,
            correlation_metadata,
            bus_timestamp,
            matched_pattern,
            subscriber_id,
            topic,
            sequence,
        ];
        Ok(PyClassInitializer::from(Record).add_subclass(Self::build(py, &arguments, 0, Origin::Caller)?))
    }

    #[classattr]
    #[pyo3(name = "__match_args__")]
    const FIELDS: (&str, &str, &str, &str, &str, &str, &str, &str) = (
        "event_id",
        "event",
        "correlation_metadata",
        "bus_timestamp",
        "matched_pattern",
        "subscriber_id",
        "topic",
        "sequence",
    );

    /// UUID of the message.
    #[getter]
    fn event_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        self.envelope.id(py)
    }

    /// The correlation that the publisher passed.
    #[getter]
    fn correlation_metadata(&self, py: Python<'_>) -> PyResult<Py<CorrelationMetadata>> {
        self.envelope.correlation_metadata(py)
    }

    /// When it was published, by the publisher's clock.
    #[getter]
    fn bus_timestamp<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.envelope.time(py, "bus_timestamp")
    }

    /// Nanoseconds since 1970, also beyond year 9999.
    #[getter]
    fn bus_timestamp_ns(&self) -> u128 {
        timestamp::nanoseconds(self.envelope.time)
    }

    /// The topic on which it was published.
    #[getter]
    fn topic<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.envelope.topic(py)
    }

    /// Number of the message, counted by its publisher.
    #[getter]
    fn sequence(&self) -> u64 {
        self.envelope.sequence
    }

    /// The id in `correlation_metadata`, without building the rest of it.
    #[getter]
    fn correlation_id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.envelope.correlation_id(py)
    }

    /// How many matching events were lost right before this one.
    #[getter]
    fn dropped_before(&self) -> u64 {
        self.info.dropped_before
    }

    /// Who published, as reported by the kernel; only in the broker's own process.
    #[getter]
    fn sender(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        types::sender_to_py(py, self.info.sender.as_deref())
    }

    #[classmethod]
    fn __class_getitem__<'py>(class: &Bound<'py, PyType>, item: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        generic_alias(class, item)
    }
}
