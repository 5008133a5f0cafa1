//! `wire.Message`: the envelope as it is written, for tests, tools and forensics.
use daemoneye_eventbus_core::event::Map;
use daemoneye_eventbus_core::wire::{Message as View, MessageType};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use uuid::Uuid;

use super::correlation::CorrelationMetadata;
use super::record::Record;
use crate::args::{Arg, Field, Origin};
use crate::timestamp;

/// The envelope as it is encoded.
#[pyclass(frozen, extends = Record, module = "daemoneye_eventbus.wire")]
pub(crate) struct Message {
    id: Uuid,
    /// The topic on which it is published.
    #[pyo3(get)]
    topic: Py<PyString>,
    /// Correlation.
    #[pyo3(get)]
    correlation_metadata: Py<CorrelationMetadata>,
    /// The event, encoded as ``CollectionEvent`` in the same dialect; or bytes, for Control.
    #[pyo3(get)]
    payload: Py<PyBytes>,
    sequence: u64,
    timestamp: daemoneye_eventbus_core::event::Timestamp,
    message_type: MessageType,
}

const TYPES: [(MessageType, &str); 4] = [
    (MessageType::Event, "Event"),
    (MessageType::Control, "Control"),
    (MessageType::Heartbeat, "Heartbeat"),
    (MessageType::Shutdown, "Shutdown"),
];

const fn field(name: &'static str) -> Field {
    Field("Message", name)
}

impl Message {
    /// From the constructor's arguments in the order of the fields.
    pub(crate) fn build(py: Python<'_>, arguments: &[Arg<'_, '_>; 7], origin: Origin) -> PyResult<Self> {
        let &[id, topic, correlation, payload, sequence, time, kind] = arguments;
        let id = field("id").text(id.required(field("id"))?)?;
        let id = Uuid::try_parse(id.bind(py).to_str()?)
            .map_err(|error| field("id").value_error(format_args!("{error}; give a UUID as text")))?;
        let correlation = correlation.required(field("correlation_metadata"))?;
        let correlation = correlation
            .cast::<CorrelationMetadata>()
            .map_err(|_| field("correlation_metadata").type_error("CorrelationMetadata", &correlation))?;
        let kind = field("message_type").text(kind.required(field("message_type"))?)?;
        let kind = kind.bind(py).to_str()?;
        let message_type = TYPES.iter().find(|(_, name)| *name == kind).map(|(value, _)| *value);
        Ok(Self {
            id,
            topic: field("topic").text(topic.required(field("topic"))?)?,
            correlation_metadata: correlation.to_owned().unbind(),
            payload: field("payload").bytes(payload.required(field("payload"))?)?,
            sequence: field("sequence").u64(sequence.required(field("sequence"))?)?,
            timestamp: timestamp::take(field("timestamp"), time.required(field("timestamp"))?, origin)?,
            message_type: message_type.ok_or_else(|| {
                field("message_type").value_error("must be one of Event, Control, Heartbeat, Shutdown")
            })?,
        })
    }

    /// A copy of a decoded message.
    pub(crate) fn of_view(py: Python<'_>, view: &View<'_>) -> PyResult<Self> {
        Ok(Self {
            id: view.id,
            topic: PyString::new(py, view.topic).unbind(),
            correlation_metadata: CorrelationMetadata::of_view(py, &view.correlation_metadata)?.into_object(py)?,
            payload: PyBytes::new(py, view.payload).unbind(),
            sequence: view.sequence,
            timestamp: view.timestamp,
            message_type: view.message_type,
        })
    }

    /// What the encoder takes, borrowed.
    pub(crate) fn view<'a>(&'a self, py: Python<'a>) -> PyResult<View<'a, Map<'a>>> {
        Ok(View {
            id: self.id,
            topic: self.topic.bind(py).to_str()?,
            correlation_metadata: self.correlation_metadata.get().view(py)?,
            payload: self.payload.bind(py).as_bytes(),
            sequence: self.sequence,
            timestamp: self.timestamp,
            message_type: self.message_type,
        })
    }
}

#[pymethods]
impl Message {
    #[new]
    #[pyo3(signature = (id, topic, correlation_metadata, payload, sequence, timestamp, message_type))]
    #[expect(clippy::too_many_arguments, reason = "one for each field")]
    fn new(
        py: Python<'_>,
        id: Arg<'_, '_>,
        topic: Arg<'_, '_>,
        correlation_metadata: Arg<'_, '_>,
        payload: Arg<'_, '_>,
        sequence: Arg<'_, '_>,
        timestamp: Arg<'_, '_>,
        message_type: Arg<'_, '_>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let arguments = [
            id,
            topic,
            correlation_metadata,
            payload,
            sequence,
            timestamp,
            message_type,
        ];
        Ok(PyClassInitializer::from(Record).add_subclass(Self::build(py, &arguments, Origin::Caller)?))
    }

    #[classattr]
    #[pyo3(name = "__match_args__")]
    const FIELDS: (&str, &str, &str, &str, &str, &str, &str) = (
        "id",
        "topic",
        "correlation_metadata",
        "payload",
        "sequence",
        "timestamp",
        "message_type",
    );

    /// UUID of the message.
    #[getter]
    fn id<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::new(py, self.id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }

    /// Number of the message, counted by its publisher.
    #[getter]
    fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When it was published.
    #[getter]
    fn timestamp<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        timestamp::to_py(py, self.timestamp, "timestamp")
    }

    /// Nanoseconds since 1970, also beyond year 9999.
    #[getter]
    fn timestamp_ns(&self) -> u128 {
        timestamp::nanoseconds(self.timestamp)
    }

    /// What `payload` is: Event or Control; clients send no others.
    #[getter]
    fn message_type(&self) -> &'static str {
        TYPES
            .iter()
            .find(|(value, _)| *value == self.message_type)
            .map_or("", |(_, name)| name)
    }
}
