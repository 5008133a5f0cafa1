//! `NetworkEvent`.
use daemoneye_eventbus_core::event::{CollectionEvent, Map, NetworkEvent as View, Walk};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::backing::{Backing, Payload, mismatch};
use super::record::Record;
use crate::args::{Arg, Field, Origin};
use crate::mapping::FrozenMap;
use crate::text::Text;

/// A network connection as a collector saw it.
#[pyclass(frozen, extends = Record, module = "daemoneye_eventbus")]
pub(crate) struct NetworkEvent {
    connection_id: Text,
    source_address: Text,
    destination_address: Text,
    protocol: Text,
    backing: Backing,
}

impl NetworkEvent {
    /// From the constructor's arguments in the order of the fields.
    pub(crate) fn build(arguments: &[Arg<'_, '_>; 5], origin: Origin) -> PyResult<Self> {
        let field = |name| Field("NetworkEvent", name);
        let &[connection_id, source_address, destination_address, protocol, metadata] = arguments;
        Ok(Self {
            connection_id: Text::required(field("connection_id"), connection_id)?,
            source_address: Text::required(field("source_address"), source_address)?,
            destination_address: Text::required(field("destination_address"), destination_address)?,
            protocol: Text::required(field("protocol"), protocol)?,
            backing: Backing::take("NetworkEvent", metadata, origin)?,
        })
    }

    /// A copy of a decoded event.
    pub(crate) fn of_view(py: Python<'_>, view: &View<&str, Map<'_>>) -> PyResult<Self> {
        Ok(Self {
            connection_id: Text::new(py, view.connection_id),
            source_address: Text::new(py, view.source_address),
            destination_address: Text::new(py, view.destination_address),
            protocol: Text::new(py, view.protocol),
            backing: Backing::of_map(py, &view.metadata)?,
        })
    }

    /// An event that stays in its frame; `view` borrows from it.
    pub(crate) fn of_wire<T: AsRef<[u8]>>(py: Python<'_>, view: &View<T, Walk>, payload: Payload) -> PyResult<Self> {
        let body = payload.body(py);
        Ok(Self {
            connection_id: Text::wire(body, view.connection_id.as_ref())?,
            source_address: Text::wire(body, view.source_address.as_ref())?,
            destination_address: Text::wire(body, view.destination_address.as_ref())?,
            protocol: Text::wire(body, view.protocol.as_ref())?,
            backing: Backing::Received(payload),
        })
    }

    /// What the encoder takes: borrowed from the objects and the frame.
    pub(crate) fn view<'a>(&'a self, py: Python<'a>) -> PyResult<CollectionEvent<'a>> {
        if let Some(payload) = self.backing.payload() {
            return match payload.decode(py)? {
                event @ CollectionEvent::Network(_) => Ok(event),
                _ => mismatch(),
            };
        }
        Ok(CollectionEvent::Network(View {
            connection_id: self.connection_id.as_str(py)?,
            source_address: self.source_address.as_str(py)?,
            destination_address: self.destination_address.as_str(py)?,
            protocol: self.protocol.as_str(py)?,
            metadata: self.backing.entries(py)?,
        }))
    }
}

#[pymethods]
impl NetworkEvent {
    #[new]
    #[pyo3(
        signature = (connection_id, source_address, destination_address, protocol, metadata = Arg::MISSING),
        text_signature = "(connection_id, source_address, destination_address, protocol, metadata={})"
    )]
    fn new(
        connection_id: Arg<'_, '_>,
        source_address: Arg<'_, '_>,
        destination_address: Arg<'_, '_>,
        protocol: Arg<'_, '_>,
        metadata: Arg<'_, '_>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let made = Self::build(
            &[connection_id, source_address, destination_address, protocol, metadata],
            Origin::Caller,
        )?;
        Ok(PyClassInitializer::from(Record).add_subclass(made))
    }

    #[classattr]
    #[pyo3(name = "__match_args__")]
    const FIELDS: (&str, &str, &str, &str, &str) = (
        "connection_id",
        "source_address",
        "destination_address",
        "protocol",
        "metadata",
    );

    /// The collector's id of the connection.
    #[getter]
    fn connection_id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.backing.text(py, &self.connection_id)
    }

    /// Source address and port, in the collector's notation.
    #[getter]
    fn source_address<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.backing.text(py, &self.source_address)
    }

    /// Destination address and port, in the same notation.
    #[getter]
    fn destination_address<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.backing.text(py, &self.destination_address)
    }

    /// Such as ``tcp``.
    #[getter]
    fn protocol<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.backing.text(py, &self.protocol)
    }

    /// Anything else that the collector reports, as text keys and values.
    #[getter]
    fn metadata(&self, py: Python<'_>) -> PyResult<Py<FrozenMap>> {
        self.backing.metadata(py)
    }
}
