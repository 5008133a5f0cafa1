//! `TriggerRequest`.
use daemoneye_eventbus_core::event::{CollectionEvent, TriggerRequest as View, Walk};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyString};

use super::backing::{Backing, Payload, mismatch};
use super::record::Record;
use crate::args::{Arg, Field, Origin};
use crate::mapping::FrozenMap;
use crate::objects;
use crate::text::{Span, Text};

/// The request itself: the caller's bytes, or a range of the frame, which is copied when it is first read.
enum Request {
    Owned(Py<PyBytes>),
    Wire(Span, PyOnceLock<Py<PyBytes>>),
}

/// A request to a collector to examine something.
#[pyclass(frozen, extends = Record, module = "daemoneye_eventbus")]
pub(crate) struct TriggerRequest {
    request_id: Text,
    collector_type: Text,
    priority: u8,
    payload: Request,
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
            payload: Request::Owned(
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
            payload: Request::Owned(PyBytes::new(py, view.payload).unbind()),
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
            payload: Request::Wire(Span::of(body, view.payload)?, PyOnceLock::new()),
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
        let payload = self.bytes(py)?;
        Ok(CollectionEvent::TriggerRequest(View {
            request_id: self.request_id.as_str(py, None)?,
            collector_type: self.collector_type.as_str(py, None)?,
            priority: self.priority,
            payload,
            metadata: self.backing.entries(py)?,
        }))
    }

    fn bytes<'a>(&'a self, py: Python<'a>) -> PyResult<&'a [u8]> {
        match (&self.payload, self.backing.payload()) {
            (Request::Owned(bytes), _) => Ok(bytes.bind(py).as_bytes()),
            (Request::Wire(span, _), Some(source)) => span.slice(source.body(py)),
            (Request::Wire(..), None) => mismatch(),
        }
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
        match &self.payload {
            Request::Owned(bytes) => Ok(bytes.bind(py).clone()),
            Request::Wire(_, read) => {
                let read = read.get_or_try_init(py, || objects::copied(py, self.bytes(py)?));
                Ok(read?.bind(py).clone())
            }
        }
    }

    /// Anything else that the requester states, as text keys and values.
    #[getter]
    fn metadata(&self, py: Python<'_>) -> PyResult<Py<FrozenMap>> {
        self.backing.metadata(py)
    }
}
