//! Text in two forms: a Python string as given, or a range of a frame that becomes a string when it is read.
use daemoneye_eventbus_core::wire::Dialect;
use pyo3::exceptions::PySystemError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::args::{Arg, Field};

/// A frame's body, an exact copy of its own, so that an event that is kept pins nothing else. In Python's memory, whose counts cost less
/// than atomic ones.
pub(crate) struct Frame {
    pub body: Py<PyBytes>,
    pub dialect: Dialect,
}

impl Frame {
    pub(crate) fn bytes<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        self.body.as_bytes(py)
    }

    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        Self {
            body: self.body.clone_ref(py),
            dialect: self.dialect,
        }
    }
}

/// A range of a frame's body.
#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

pub(crate) enum Text {
    Owned(Py<PyString>),
    Wire(Span),
}

impl Span {
    /// Where `part`, a slice of `body`, lies in it.
    pub(crate) fn of(body: &[u8], part: &[u8]) -> PyResult<Self> {
        if part.is_empty() {
            return Ok(Self::default());
        }
        let start = part.as_ptr().addr().checked_sub(body.as_ptr().addr());
        let end = start
            .and_then(|start| start.checked_add(part.len()))
            .filter(|end| *end <= body.len());
        match (start.map(u32::try_from), end.map(u32::try_from)) {
            (Some(Ok(start)), Some(Ok(end))) => Ok(Self { start, end }),
            _ => Err(inconsistent()),
        }
    }

    pub(crate) fn slice(self, body: &[u8]) -> PyResult<&[u8]> {
        let range = usize::try_from(self.start)?..usize::try_from(self.end)?;
        body.get(range).ok_or_else(inconsistent)
    }

    pub(crate) fn len(self) -> u32 {
        self.end.saturating_sub(self.start)
    }

    /// As Python's own; its decoder looks at the UTF-8 itself.
    #[inline]
    pub(crate) fn text<'py>(self, py: Python<'py>, body: &[u8]) -> PyResult<Bound<'py, PyString>> {
        PyString::from_bytes(py, self.slice(body)?)
    }
}

impl Text {
    pub(crate) fn wire(body: &[u8], part: &[u8]) -> PyResult<Self> {
        Span::of(body, part).map(Self::Wire)
    }

    pub(crate) fn wire_optional(body: &[u8], part: Option<&impl AsRef<[u8]>>) -> PyResult<Option<Self>> {
        part.map(|part| Self::wire(body, part.as_ref())).transpose()
    }

    /// What a constructor must be given.
    #[inline]
    pub(crate) fn required(field: Field, arg: Arg<'_, '_>) -> PyResult<Self> {
        field.text(arg.required(field)?).map(Self::Owned)
    }

    /// What it may be given.
    #[inline]
    pub(crate) fn optional(field: Field, arg: Arg<'_, '_>) -> PyResult<Option<Self>> {
        arg.optional().map(|ob| field.text(ob).map(Self::Owned)).transpose()
    }

    pub(crate) fn new(py: Python<'_>, text: &str) -> Self {
        Self::Owned(PyString::new(py, text).unbind())
    }

    /// Of a text as given.
    pub(crate) fn as_str<'a>(&'a self, py: Python<'a>) -> PyResult<&'a str> {
        match self {
            Self::Owned(text) => text.bind(py).to_str(),
            Self::Wire(_) => Err(inconsistent()),
        }
    }

    #[inline]
    pub(crate) fn get<'py>(&self, py: Python<'py>, frame: Option<&Frame>) -> PyResult<Bound<'py, PyString>> {
        match self {
            Self::Owned(text) => Ok(text.bind(py).clone()),
            Self::Wire(span) => span.text(py, frame.ok_or_else(inconsistent)?.bytes(py)),
        }
    }
}

/// The same for a field that may be absent.
pub(crate) fn as_optional_str<'a>(text: Option<&'a Text>, py: Python<'a>) -> PyResult<Option<&'a str>> {
    text.map(|text| text.as_str(py)).transpose()
}

/// A frame was read whole when its object was built, so this cannot be reached by any input.
#[cold]
pub(crate) fn inconsistent() -> PyErr {
    PySystemError::new_err("the event's frame and its fields disagree; please report this as a bug")
}
