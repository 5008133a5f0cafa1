//! `FilesystemEvent`.
use daemoneye_eventbus_core::event::{CollectionEvent, FilesystemEvent as View, Map, Walk};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::backing::{Backing, Payload, mismatch};
use super::record::Record;
use crate::args::{Arg, Field, Origin};
use crate::mapping::FrozenMap;
use crate::text::Text;

/// A change of a file as a collector saw it.
#[pyclass(frozen, extends = Record, module = "daemoneye_eventbus")]
pub(crate) struct FilesystemEvent {
    path: Text,
    event_type: Text,
    size: Option<u64>,
    backing: Backing,
}

impl FilesystemEvent {
    /// From the constructor's arguments in the order of the fields.
    pub(crate) fn build(arguments: &[Arg<'_, '_>; 4], origin: Origin) -> PyResult<Self> {
        let field = |name| Field("FilesystemEvent", name);
        let &[path, event_type, size, metadata] = arguments;
        Ok(Self {
            path: Text::required(field("path"), path)?,
            event_type: Text::required(field("event_type"), event_type)?,
            size: size.optional().map(|ob| field("size").u64(ob)).transpose()?,
            backing: Backing::take("FilesystemEvent", metadata, origin)?,
        })
    }

    /// A copy of a decoded event.
    pub(crate) fn of_view(py: Python<'_>, view: &View<&str, Map<'_>>) -> PyResult<Self> {
        Ok(Self {
            path: Text::new(py, view.path),
            event_type: Text::new(py, view.event_type),
            size: view.size,
            backing: Backing::of_map(py, &view.metadata)?,
        })
    }

    /// An event that stays in its frame; `view` borrows from it.
    pub(crate) fn of_wire<T: AsRef<[u8]>>(py: Python<'_>, view: &View<T, Walk>, payload: Payload) -> PyResult<Self> {
        let body = payload.body(py);
        Ok(Self {
            path: Text::wire(body, view.path.as_ref())?,
            event_type: Text::wire(body, view.event_type.as_ref())?,
            size: view.size,
            backing: Backing::Received(payload),
        })
    }

    /// What the encoder takes: borrowed from the objects and the frame.
    pub(crate) fn view<'a>(&'a self, py: Python<'a>) -> PyResult<CollectionEvent<'a>> {
        if let Some(payload) = self.backing.payload() {
            return match payload.decode(py)? {
                event @ CollectionEvent::Filesystem(_) => Ok(event),
                _ => mismatch(),
            };
        }
        Ok(CollectionEvent::Filesystem(View {
            path: self.path.as_str(py)?,
            event_type: self.event_type.as_str(py)?,
            size: self.size,
            metadata: self.backing.entries(py)?,
        }))
    }
}

#[pymethods]
impl FilesystemEvent {
    #[new]
    #[pyo3(
        signature = (path, event_type, size = Arg::MISSING, metadata = Arg::MISSING),
        text_signature = "(path, event_type, size=None, metadata={})"
    )]
    fn new(
        path: Arg<'_, '_>,
        event_type: Arg<'_, '_>,
        size: Arg<'_, '_>,
        metadata: Arg<'_, '_>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let made = Self::build(&[path, event_type, size, metadata], Origin::Caller)?;
        Ok(PyClassInitializer::from(Record).add_subclass(made))
    }

    #[classattr]
    #[pyo3(name = "__match_args__")]
    const FIELDS: (&str, &str, &str, &str) = ("path", "event_type", "size", "metadata");

    /// Path of the file; use `os_text` to make it Unicode.
    #[getter]
    fn path<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.backing.text(py, &self.path)
    }

    /// What happened, such as ``write``.
    #[getter]
    fn event_type<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.backing.text(py, &self.event_type)
    }

    /// Size of the file in bytes, 0 to 2**64 - 1; ``None`` if unknown.
    #[getter]
    fn size(&self) -> Option<u64> {
        self.size
    }

    /// Anything else that the collector reports, as text keys and values.
    #[getter]
    fn metadata(&self, py: Python<'_>) -> PyResult<Py<FrozenMap>> {
        self.backing.metadata(py)
    }
}
