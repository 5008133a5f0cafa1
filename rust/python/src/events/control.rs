//! `ControlMessage`: raw bytes on a control or health topic.
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::bus_event::DeliveryInfo;
use super::bytes::Bytes;
use super::correlation::CorrelationMetadata;
use super::envelope::{Correlation, Envelope, Id};
use super::record::Record;
use crate::args::{Arg, Field, Origin};
use crate::text::Text;
use crate::timestamp;
use crate::types;

/// Raw bytes on a control or health topic.
#[pyclass(frozen, extends = Record, module = "daemoneye_eventbus")]
pub(crate) struct ControlMessage {
    envelope: Envelope,
    payload: Bytes,
    info: DeliveryInfo,
}

const fn field(name: &'static str) -> Field {
    Field("ControlMessage", name)
}

impl ControlMessage {
    /// From the constructor's arguments in the order of the fields; `dropped_before` is no field.
    pub(crate) fn build(arguments: &[Arg<'_, '_>; 6], dropped_before: u64, origin: Origin) -> PyResult<Self> {
        let &[topic, payload, correlation, time, sequence, id] = arguments;
        let text = |name, arg: Arg<'_, '_>| field(name).text(arg.required(field(name))?);
        let correlation = correlation.required(field("correlation_metadata"))?;
        let correlation = correlation
            .cast::<CorrelationMetadata>()
            .map_err(|_| field("correlation_metadata").type_error("CorrelationMetadata", &correlation))?;
        let envelope = Envelope::new(
            Id::Text(text("message_id", id)?),
            Text::Owned(text("topic", topic)?),
            Correlation::Object(correlation.to_owned().unbind()),
            timestamp::take(field("timestamp"), time.required(field("timestamp"))?, origin)?,
            field("sequence").u64(sequence.required(field("sequence"))?)?,
        );
        let payload = Bytes::Owned(field("payload").bytes(payload.required(field("payload"))?)?);
        let info = DeliveryInfo {
            dropped_before,
            sender: None,
        };
        Ok(Self::of_envelope(envelope, payload, info))
    }

    pub(crate) fn of_envelope(envelope: Envelope, payload: Bytes, info: DeliveryInfo) -> Self {
        Self {
            envelope,
            payload,
            info,
        }
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

    pub(crate) fn bytes<'a>(&'a self, py: Python<'a>) -> PyResult<&'a [u8]> {
        self.payload.slice(py, self.body(py))
    }

    fn body<'a>(&'a self, py: Python<'a>) -> Option<&'a [u8]> {
        self.envelope.frame.as_ref().map(|frame| frame.bytes(py))
    }
}

#[pymethods]
impl ControlMessage {
    #[new]
    #[pyo3(signature = (topic, payload, correlation_metadata, timestamp, sequence, message_id))]
    fn new(
        topic: Arg<'_, '_>,
        payload: Arg<'_, '_>,
        correlation_metadata: Arg<'_, '_>,
        timestamp: Arg<'_, '_>,
        sequence: Arg<'_, '_>,
        message_id: Arg<'_, '_>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let arguments = [topic, payload, correlation_metadata, timestamp, sequence, message_id];
        Ok(PyClassInitializer::from(Record).add_subclass(Self::build(&arguments, 0, Origin::Caller)?))
    }

    #[classattr]
    #[pyo3(name = "__match_args__")]
    const FIELDS: (&str, &str, &str, &str, &str, &str) = (
        "topic",
        "payload",
        "correlation_metadata",
        "timestamp",
        "sequence",
        "message_id",
    );

    /// The topic on which it was published.
    #[getter]
    fn topic<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.envelope.topic(py)
    }

    /// The bytes as they were published.
    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.payload.get(py, self.body(py))
    }

    /// The correlation that the publisher passed.
    #[getter]
    fn correlation_metadata(&self, py: Python<'_>) -> PyResult<Py<CorrelationMetadata>> {
        self.envelope.correlation_metadata(py)
    }

    /// When it was published, by the publisher's clock.
    #[getter]
    fn timestamp<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.envelope.time(py, "timestamp")
    }

    /// Nanoseconds since 1970, also beyond year 9999.
    #[getter]
    fn timestamp_ns(&self) -> u128 {
        timestamp::nanoseconds(self.envelope.time)
    }

    /// Number of the message, counted by its publisher.
    #[getter]
    fn sequence(&self) -> u64 {
        self.envelope.sequence
    }

    /// UUID of the message.
    #[getter]
    fn message_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        self.envelope.id(py)
    }

    /// Who published, as reported by the kernel; only in the broker's own process.
    #[getter]
    fn sender(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        types::sender_to_py(py, self.info.sender.as_deref())
    }

    /// How many matching messages were lost right before this one.
    #[getter]
    fn dropped_before(&self) -> u64 {
        self.info.dropped_before
    }

    /// The id in `correlation_metadata`, without building the rest of it.
    #[getter]
    fn correlation_id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.envelope.correlation_id(py)
    }
}
