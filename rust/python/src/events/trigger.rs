//! `TriggerRequest`.
use daemoneye_eventbus_core::event::{CollectionEvent, TriggerRequest as View, Walk};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::backing::{Backing, Payload, mismatch};
use super::bytes::Bytes;
use super::record::Record;
use crate::args::{Arg, Field, Origin};
use crate::mapping::FrozenMap;
use crate::text::Text;

/// A request to a collector to examine something.
#[pyclass(frozen, extends = Record, module = "daemoneye_eventbus")]
pub(crate) struct TriggerRequest {
    request_id: Text,
    collector_type: Text,
    priority: u8,
    payload: Bytes,
    backing: Backing,
}

impl TriggerRequest {
    /// From the constructor's arguments in the order of the fields.
    pub(crate) fn build(py: Python<'_>, arguments: &[Arg<'_, '_>; 5], origin: Origin) -> PyResult<Self> {
        let field = |name| Field("TriggerRequest", name);
        let &[request_id, collector_type, priority, payload, metadata] = arguments;
        Ok(Self {
            request_id: Text::required(field("request_id"), request_id)?,
            collector_type: Text::required(field("collector_type"), collector_type)?,
            priority: priority.present().map_or(Ok(0), |ob| field("priority").u8(ob))?,
            payload: Bytes::Owned(
                payload
                    .present()
                    .map_or_else(|| Ok(PyBytes::new(py, b"").unbind()), |ob| field("payload").bytes(ob))?,
            ),
            backing: Backing::take("TriggerRequest", metadata, origin)?,
        })
    }

    /// A copy of a decoded event.
    pub(crate) fn of_view(py: Python<'_>, view: &View<'_>) -> PyResult<Self> {
        Ok(Self {
            request_id: Text::new(py, view.request_id),
            collector_type: Text::new(py, view.collector_type),
            priority: view.priority,
            payload: Bytes::Owned(PyBytes::new(py, view.payload).unbind()),
            backing: Backing::of_map(py, &view.metadata)?,
        })
    }

    /// An event that stays in its frame; `view` borrows from it.
    pub(crate) fn of_wire<T: AsRef<[u8]>>(
        py: Python<'_>,
        view: &View<'_, T, Walk>,
        payload: Payload,
    ) -> PyResult<Self> {
        let body = payload.body(py);
        Ok(Self {
            request_id: Text::wire(body, view.request_id.as_ref())?,
            collector_type: Text::wire(body, view.collector_type.as_ref())?,
            priority: view.priority,
            payload: Bytes::wire(body, view.payload)?,
            backing: Backing::Received(payload),
        })
    }

    /// What the encoder takes: borrowed from the objects and the frame.
    pub(crate) fn view<'a>(&'a self, py: Python<'a>) -> PyResult<CollectionEvent<'a>> {
        if let Some(payload) = self.backing.payload() {
            return match payload.decode(py)? {
                event @ CollectionEvent::TriggerRequest(_) => Ok(event),
                _ => mismatch(),
            };
        }
        Ok(CollectionEvent::TriggerRequest(View {
            request_id: self.request_id.as_str(py)?,
            collector_type: self.collector_type.as_str(py)?,
            priority: self.priority,
            payload: self.payload.slice(py, None)?,
            metadata: self.backing.entries(py)?,
        }))
    }
}

#[pymethods]
impl TriggerRequest {
    #[new]
    #[pyo3(
        signature = (request_id, collector_type, priority = Arg::MISSING, payload = Arg::MISSING, metadata = Arg::MISSING),
        text_signature = "(request_id, collector_type, priority=0, payload=b'', metadata={})"
    )]
    fn new(
        py: Python<'_>,
        request_id: Arg<'_, '_>,
        collector_type: Arg<'_, '_>,
        priority: Arg<'_, '_>,
        payload: Arg<'_, '_>,
        metadata: Arg<'_, '_>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let made = Self::build(
            py,
            &[request_id, collector_type, priority, payload, metadata],
            Origin::Caller,
        )?;
        Ok(PyClassInitializer::from(Record).add_subclass(made))
    }

    #[classattr]
    #[pyo3(name = "__match_args__")]
    const FIELDS: (&str, &str, &str, &str, &str) = ("request_id", "collector_type", "priority", "payload", "metadata");

    /// The requester's id of the request.
    #[getter]
    fn request_id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.backing.text(py, &self.request_id)
    }

    /// Which kind of collector should act.
    #[getter]
    fn collector_type<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.backing.text(py, &self.collector_type)
    }

    /// 0 to 255; higher is more urgent.
    #[getter]
    fn priority(&self) -> u8 {
        self.priority
    }

    /// Bytes whose meaning requester and collector agree on.
    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let body = self.backing.payload().map(|payload| payload.body(py));
        self.payload.get(py, body)
    }

    /// Anything else that the requester states, as text keys and values.
    #[getter]
    fn metadata(&self, py: Python<'_>) -> PyResult<Py<FrozenMap>> {
        self.backing.metadata(py)
    }
}
