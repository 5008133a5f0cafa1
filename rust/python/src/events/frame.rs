//! Where a received event keeps its values: a copy of the frame, and the place of the payload in it.
use daemoneye_eventbus_core::error::DecodeError;
use daemoneye_eventbus_core::event::{CollectionEvent, Map};
use daemoneye_eventbus_core::wire;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::args::{Arg, Field, Origin};
use crate::errors::decode_error;
use crate::mapping::{self, Entries, FrozenMap, Limits};
use crate::text::{Frame, Span, inconsistent};

/// The encoded `CollectionEvent` of an event that came over the wire.
pub(crate) struct Payload {
    pub frame: Frame,
    pub span: Span,
}

impl Payload {
    /// The whole event, its map included, as its fields show it: what is written of it has each key once.
    pub(crate) fn decode<'a>(&'a self, py: Python<'a>) -> PyResult<CollectionEvent<'a>> {
        let bytes = self.span.slice(self.frame.bytes(py))?;
        let decoded = self.frame.dialect.decode(bytes);
        let mut event: CollectionEvent<'_> = decoded.map_err(|error: DecodeError| decode_error(py, error))?;
        event.metadata_mut().drop_repeats();
        Ok(event)
    }

    /// The map alone, as it stands there.
    fn entries<'a>(&'a self, py: Python<'a>) -> PyResult<wire::Entries<'a>> {
        let bytes = self.span.slice(self.frame.bytes(py))?;
        let entries = self.frame.dialect.known_metadata(bytes);
        entries.map_err(|error| decode_error(py, error))
    }
}

/// An event's metadata: checked entries as given, or still in the frame; the mapping is made when first read.
pub(crate) struct Metadata {
    given: Entries,
    map: PyOnceLock<Py<FrozenMap>>,
}

impl Metadata {
    pub(crate) fn empty() -> Self {
        Self::of_entries(Entries::new())
    }

    pub(crate) fn take(class: &'static str, arg: Arg<'_, '_>, origin: Origin) -> PyResult<Self> {
        Self::take_limited(Field(class, "metadata"), arg, Limits::METADATA, origin)
    }

    pub(crate) fn take_limited(field: Field, arg: Arg<'_, '_>, limits: Limits, origin: Origin) -> PyResult<Self> {
        mapping::take(field, arg, limits, origin).map(Self::of_entries)
    }

    /// Entries that were checked before.
    pub(crate) fn of_entries(given: Entries) -> Self {
        Self {
            given,
            map: PyOnceLock::new(),
        }
    }

    /// Copies a decoded map; of a repeated key the last wins.
    pub(crate) fn of_map(py: Python<'_>, map: &Map<'_>) -> PyResult<Self> {
        if map.0.is_empty() {
            return Ok(Self::empty());
        }
        let map = FrozenMap::of_map(py, map)?;
        let given = mapping::take(
            Field("FrozenMap", "mapping"),
            Arg::given(map.bind(py)),
            Limits::METADATA,
            Origin::Pickle,
        )?;
        let made = Self::of_entries(given);
        made.map.get_or_init(py, || map);
        Ok(made)
    }

    /// The entries of an event that a caller made.
    pub(crate) fn entries<'a>(&'a self, py: Python<'a>) -> PyResult<Map<'a>> {
        mapping::view(&self.given, py)
    }

    pub(crate) fn get(&self, py: Python<'_>, payload: Option<&Payload>) -> PyResult<Py<FrozenMap>> {
        let map = self.map.get_or_try_init(py, || match payload {
            None => FrozenMap::of_entries(py, &self.given),
            Some(payload) => FrozenMap::of_wire(py, &payload.entries(py)?),
        });
        Ok(map?.clone_ref(py))
    }

    pub(crate) fn given(&self) -> &Entries {
        &self.given
    }
}

/// `view` of a class found another class's event in its frame.
pub(crate) fn mismatch<T>() -> PyResult<T> {
    Err(inconsistent())
}
