//! What a bus event and a control message have in common: id, topic, correlation, time and sequence.
//!
//! A received one keeps its frame: its texts are made when they are read, its correlation metadata is decoded when it
//! is first read. One made in this process holds the objects it was published with.
use daemoneye_eventbus_core::event::{Map, Timestamp};
use daemoneye_eventbus_core::wire::{Dialect, Message, Outline};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyString};
use uuid::Uuid;

use super::correlation::CorrelationMetadata;
use crate::args::Field;
use crate::errors::decode_error;
use crate::text::{Frame, Span, Text, inconsistent};
use crate::timestamp;

/// An id: text that a caller gave, or a UUID that becomes text when it is read.
pub(crate) enum Id {
    Text(Py<PyString>),
    /// Its halves, which lie aligned where sixteen bytes behind a tag would not.
    Uuid(u64, u64),
}

impl Id {
    fn text<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        match self {
            Self::Text(text) => text.bind(py).clone(),
            Self::Uuid(high, low) => {
                let id = Uuid::from_u64_pair(*high, *low);
                PyString::new(py, id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
            }
        }
    }

    fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Text(text) => Self::Text(text.clone_ref(py)),
            Self::Uuid(high, low) => Self::Uuid(*high, *low),
        }
    }
}

impl From<Uuid> for Id {
    #[inline]
    fn from(id: Uuid) -> Self {
        let (high, low) = id.as_u64_pair();
        Self::Uuid(high, low)
    }
}

/// Where the correlation metadata comes from.
pub(crate) enum Correlation {
    Object(Py<CorrelationMetadata>),
    /// Nothing but an id was given: the metadata is fresh, made at the time of the envelope.
    Id(Id),
    Wire(Span),
}

pub(crate) struct Envelope {
    pub id: Id,
    pub topic: Text,
    pub correlation: Correlation,
    pub time: Timestamp,
    pub sequence: u64,
    pub frame: Option<Frame>,
    made: PyOnceLock<Py<CorrelationMetadata>>,
}

impl Correlation {
    /// What it holds of Python's objects.
    pub(crate) fn into_object(self) -> Option<Py<PyAny>> {
        match self {
            Self::Object(metadata) => Some(metadata.into_any()),
            Self::Id(Id::Text(text)) => Some(text.into_any()),
            Self::Id(Id::Uuid(..)) | Self::Wire(_) => None,
        }
    }

    /// A `str` or `CorrelationMetadata` that a publisher gave.
    pub(crate) fn given(ob: &Bound<'_, PyAny>, field: impl FnOnce() -> Field) -> PyResult<Self> {
        if let Ok(id) = ob.cast_exact::<PyString>() {
            return Ok(Self::Id(Id::Text(id.clone().unbind())));
        }
        if let Ok(object) = ob.cast::<CorrelationMetadata>() {
            return Ok(Self::Object(object.clone().unbind()));
        }
        // A subclass may override anything, so only its text is kept.
        Ok(Self::Id(Id::Text(field().text(ob.as_borrowed())?)))
    }

    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Object(object) => Self::Object(object.clone_ref(py)),
            Self::Id(id) => Self::Id(id.clone_ref(py)),
            Self::Wire(span) => Self::Wire(*span),
        }
    }
}

impl Envelope {
    pub(crate) fn new(id: Id, topic: Text, correlation: Correlation, time: Timestamp, sequence: u64) -> Self {
        Self {
            id,
            topic,
            correlation,
            time,
            sequence,
            frame: None,
            made: PyOnceLock::new(),
        }
    }

    /// The envelope of a received body, of which `outline` is the outline; the caller puts `frame` in when nothing borrows from it.
    pub(crate) fn of_wire(body: &[u8], outline: &Outline<'_>) -> PyResult<Self> {
        Ok(Self {
            id: outline.id.into(),
            topic: Text::wire(body, outline.topic.as_ref())?,
            correlation: Correlation::Wire(Span::of(body, outline.correlation_id)?),
            time: outline.timestamp,
            sequence: outline.sequence,
            frame: None,
            made: PyOnceLock::new(),
        })
    }

    pub(crate) fn id<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        self.id.text(py)
    }

    pub(crate) fn topic<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.topic.get(py, self.frame.as_ref())
    }

    pub(crate) fn correlation_id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        match (&self.correlation, &self.frame) {
            (Correlation::Object(object), _) => Ok(object.get().id().bind(py).clone()),
            (Correlation::Id(id), _) => Ok(id.text(py)),
            (Correlation::Wire(span), Some(frame)) => span.text(py, frame.bytes(py)),
            (Correlation::Wire(_), None) => Err(inconsistent()),
        }
    }

    pub(crate) fn correlation_metadata(&self, py: Python<'_>) -> PyResult<Py<CorrelationMetadata>> {
        let made = self
            .made
            .get_or_try_init(py, || match (&self.correlation, &self.frame) {
                (Correlation::Object(object), _) => Ok(object.clone_ref(py)),
                (Correlation::Id(id), _) => {
                    CorrelationMetadata::fresh(py, id.text(py).unbind(), self.time).into_object(py)
                }
                (Correlation::Wire(_), Some(frame)) => {
                    let message: Message<'_, Map<'_>> = frame
                        .dialect
                        .decode(frame.bytes(py))
                        .map_err(|error| decode_error(py, error))?;
                    CorrelationMetadata::of_view(py, &message.correlation_metadata)?.into_object(py)
                }
                (Correlation::Wire(_), None) => Err(inconsistent()),
            });
        Ok(made?.clone_ref(py))
    }

    pub(crate) fn time<'py>(&self, py: Python<'py>, field: &str) -> PyResult<Bound<'py, PyAny>> {
        timestamp::to_py(py, self.time, field)
    }
}

/// A body's own copy.
pub(crate) fn frame(py: Python<'_>, body: &[u8], dialect: Dialect) -> Frame {
    Frame {
        body: PyBytes::new(py, body).unbind(),
        dialect,
    }
}
