//! Bytes in two forms: an object as given, or a range of a frame's body, which is copied when it is first read.
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;

use crate::objects;
use crate::text::{Span, inconsistent};

pub(crate) enum Bytes {
    Owned(Py<PyBytes>),
    Wire(Span, PyOnceLock<Py<PyBytes>>),
}

impl Bytes {
    pub(crate) fn wire(body: &[u8], part: &[u8]) -> PyResult<Self> {
        Ok(Self::Wire(Span::of(body, part)?, PyOnceLock::new()))
    }

    /// Borrowed from the object, or from `body`.
    pub(crate) fn slice<'a>(&'a self, py: Python<'a>, body: Option<&'a [u8]>) -> PyResult<&'a [u8]> {
        match self {
            Self::Owned(bytes) => Ok(bytes.bind(py).as_bytes()),
            Self::Wire(span, _) => span.slice(body.ok_or_else(inconsistent)?),
        }
    }

    /// The object, or that made of `body`; `MemoryError` where there is no memory for it.
    pub(crate) fn get<'py>(&self, py: Python<'py>, body: Option<&[u8]>) -> PyResult<Bound<'py, PyBytes>> {
        let object = match self {
            Self::Owned(bytes) => bytes,
            Self::Wire(span, read) => read.get_or_try_init(py, || {
                let bytes = span.slice(body.ok_or_else(inconsistent)?)?;
                objects::copied(py, bytes)
            })?,
        };
        Ok(object.bind(py).clone())
    }
}
