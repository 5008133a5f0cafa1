//! What stands behind the fields of an event: the metadata that it was made with, or a copy of the frame in which it came.
use daemoneye_eventbus_core::error::DecodeError;
use daemoneye_eventbus_core::event::{CollectionEvent, Map};
use daemoneye_eventbus_core::wire;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use crate::args::{Arg, Field, Origin};
use crate::errors::decode_error;
use crate::mapping::{self, Entries, FrozenMap, Limits};
use crate::text::{Frame, Span, Text, inconsistent};

/// Bytes of a text from which on it is kept once read; a shorter one costs less to decode anew.
const LONG: u32 = 64;

/// The encoded `CollectionEvent` of an event that came over the wire.
pub(crate) struct Payload {
    frame: Frame,
    span: Span,
    read: Read,
    map: PyOnceLock<Py<FrozenMap>>,
}

/// The long texts of an event that were read: a list that grows at its end, by no more than the event has fields.
struct Read(PyOnceLock<Box<(Span, Py<PyString>, Read)>>);

impl Read {
    const fn new() -> Self {
        Self(PyOnceLock::new())
    }

    fn text<'py>(&self, py: Python<'py>, span: Span, body: &[u8]) -> PyResult<Bound<'py, PyString>> {
        let mut place = self;
        loop {
            let made = place.0.get_or_try_init(py, || {
                span.text(py, body)
                    .map(|text| Box::new((span, text.unbind(), Self::new())))
            });
            let (of, text, next) = made?.as_ref();
            if *of == span {
                return Ok(text.bind(py).clone());
            }
            place = next;
        }
    }
}

impl Payload {
    pub(crate) fn new(frame: Frame, span: Span) -> Self {
        Self {
            frame,
            span,
            read: Read::new(),
            map: PyOnceLock::new(),
        }
    }

    /// The frame's body, in which the event's spans lie.
    pub(crate) fn body<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        self.frame.bytes(py)
    }

    /// The whole event, its map included, as its fields show it: what is written of it has each key once.
    pub(crate) fn decode<'a>(&'a self, py: Python<'a>) -> PyResult<CollectionEvent<'a>> {
        let bytes = self.span.slice(self.frame.bytes(py))?;
        let decoded = self.frame.dialect.decode(bytes);
        let mut event: CollectionEvent<'_> = decoded.map_err(|error: DecodeError| decode_error(py, error))?;
        event.metadata_mut().drop_repeats();
        Ok(event)
    }

    /// A text field.
    #[inline]
    fn text<'py>(&self, py: Python<'py>, text: &Text) -> PyResult<Bound<'py, PyString>> {
        match text {
            Text::Wire(span) if span.len() >= LONG => self.read.text(py, *span, self.body(py)),
            _ => text.get(py, Some(&self.frame)),
        }
    }

    fn metadata(&self, py: Python<'_>) -> PyResult<&Py<FrozenMap>> {
        self.map
            .get_or_try_init(py, || FrozenMap::of_wire(py, &self.entries(py)?))
    }

    /// The map alone, as it stands there.
    fn entries<'a>(&'a self, py: Python<'a>) -> PyResult<wire::Entries<'a>> {
        let bytes = self.span.slice(self.frame.bytes(py))?;
        let entries = self.frame.dialect.known_metadata(bytes);
        entries.map_err(|error| decode_error(py, error))
    }
}

/// Checked entries as given; the mapping is made when first read.
pub(crate) struct Metadata {
    given: Entries,
    map: PyOnceLock<Py<FrozenMap>>,
}

impl Metadata {
    pub(crate) fn empty() -> Self {
        Self::of_entries(Entries::new())
    }

    pub(crate) fn take(field: Field, arg: Arg<'_, '_>, limits: Limits, origin: Origin) -> PyResult<Self> {
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

    /// As the encoder takes them.
    pub(crate) fn entries<'a>(&'a self, py: Python<'a>) -> PyResult<Map<'a>> {
        mapping::view(&self.given, py)
    }

    pub(crate) fn get(&self, py: Python<'_>) -> PyResult<&Py<FrozenMap>> {
        self.map.get_or_try_init(py, || FrozenMap::of_entries(py, &self.given))
    }

    pub(crate) fn given(&self) -> &Entries {
        &self.given
    }
}

/// What an event has besides its own fields.
pub(crate) enum Backing {
    Made(Metadata),
    Received(Payload),
}

impl Backing {
    /// Of the metadata that a constructor was given.
    pub(crate) fn take(class: &'static str, arg: Arg<'_, '_>, origin: Origin) -> PyResult<Self> {
        Metadata::take(Field(class, "metadata"), arg, Limits::METADATA, origin).map(Self::Made)
    }

    /// Of a decoded event.
    pub(crate) fn of_map(py: Python<'_>, map: &Map<'_>) -> PyResult<Self> {
        Metadata::of_map(py, map).map(Self::Made)
    }

    pub(crate) const fn payload(&self) -> Option<&Payload> {
        match self {
            Self::Made(_) => None,
            Self::Received(payload) => Some(payload),
        }
    }

    /// The entries of an event that a caller made.
    pub(crate) fn entries<'a>(&'a self, py: Python<'a>) -> PyResult<Map<'a>> {
        match self {
            Self::Made(metadata) => metadata.entries(py),
            Self::Received(_) => Err(inconsistent()),
        }
    }

    pub(crate) fn metadata(&self, py: Python<'_>) -> PyResult<Py<FrozenMap>> {
        let map = match self {
            Self::Made(metadata) => metadata.get(py),
            Self::Received(payload) => payload.metadata(py),
        };
        Ok(map?.clone_ref(py))
    }

    #[inline]
    pub(crate) fn text<'py>(&self, py: Python<'py>, text: &Text) -> PyResult<Bound<'py, PyString>> {
        match self {
            Self::Made(_) => text.get(py, None),
            Self::Received(payload) => payload.text(py, text),
        }
    }

    /// Of a field that may be absent.
    #[inline]
    pub(crate) fn optional_text<'py>(
        &self,
        py: Python<'py>,
        text: Option<&Text>,
    ) -> PyResult<Option<Bound<'py, PyString>>> {
        text.map(|text| self.text(py, text)).transpose()
    }
}

/// `view` of a class found another class's event in its frame.
pub(crate) fn mismatch<T>() -> PyResult<T> {
    Err(inconsistent())
}
