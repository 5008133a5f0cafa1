//! Arguments as callers give them, and the checks every constructor shares.
//!
//! A refusal names class, field, limit and what to do; nothing is coerced except subclasses of `str` and `int`.
use std::convert::Infallible;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyString};

/// One argument of a constructor: what was given (`None` included), or nothing.
#[derive(Clone, Copy)]
pub(crate) struct Arg<'a, 'py>(Option<Borrowed<'a, 'py, PyAny>>);

impl<'a, 'py> FromPyObject<'a, 'py> for Arg<'a, 'py> {
    type Error = Infallible;

    #[inline]
    fn extract(ob: Borrowed<'a, 'py, PyAny>) -> Result<Self, Infallible> {
        Ok(Self(Some(ob)))
    }
}

impl<'a, 'py> Arg<'a, 'py> {
    pub(crate) const MISSING: Self = Self(None);

    pub(crate) fn given(ob: &'a Bound<'py, PyAny>) -> Self {
        Self(Some(ob.as_borrowed()))
    }

    #[inline]
    pub(crate) const fn borrowed(ob: Borrowed<'a, 'py, PyAny>) -> Self {
        Self(Some(ob))
    }

    /// What was given, `None` included.
    #[inline]
    pub(crate) fn present(self) -> Option<Borrowed<'a, 'py, PyAny>> {
        self.0
    }

    /// What was given, where `None` means the same as nothing.
    #[inline]
    pub(crate) fn optional(self) -> Option<Borrowed<'a, 'py, PyAny>> {
        self.0.filter(|ob| !ob.is_none())
    }

    #[inline]
    pub(crate) fn required(self, field: Field) -> PyResult<Borrowed<'a, 'py, PyAny>> {
        self.0.ok_or_else(|| field.missing())
    }
}

/// Who gave the values: a caller is held to this bus's limits, a pickle restores what was once read from the wire.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Caller,
    Pickle,
}

/// Whether it is an integer; `bool` is none, since `True` as a number is a mistake more often than not.
pub(crate) fn is_int(ob: &Bound<'_, PyAny>) -> bool {
    ob.is_exact_instance_of::<PyInt>() || (ob.is_instance_of::<PyInt>() && !ob.is_instance_of::<PyBool>())
}

/// What an object is, for refusals.
pub(crate) fn type_name(object: &Bound<'_, PyAny>) -> String {
    let name = object.get_type().name();
    name.map_or_else(|_| "object".to_owned(), |name| name.to_string())
}

/// `Class.field`, for refusals.
#[derive(Clone, Copy)]
pub(crate) struct Field(pub &'static str, pub &'static str);

impl Field {
    #[cold]
    pub(crate) fn type_error(self, expected: &str, got: &Bound<'_, PyAny>) -> PyErr {
        let got = type_name(got);
        PyTypeError::new_err(format!("{}.{}: expected {expected}, got {got}", self.0, self.1))
    }

    #[cold]
    pub(crate) fn value_error(self, reason: impl std::fmt::Display) -> PyErr {
        PyValueError::new_err(format!("{}.{}: {reason}", self.0, self.1))
    }

    #[cold]
    fn missing(self) -> PyErr {
        PyTypeError::new_err(format!("{}() is missing the required argument {:?}", self.0, self.1))
    }

    /// An integer of 0..=max.
    fn uint(self, ob: Borrowed<'_, '_, PyAny>, max: u64) -> PyResult<u64> {
        if !is_int(&ob) {
            return Err(self.type_error("int", &ob));
        }
        match ob.extract::<u64>() {
            Ok(value) if value <= max => Ok(value),
            _ => Err(self.value_error(match ob.extract::<i128>() {
                Ok(value) => format!("must be between 0 and {max}, got {value}"),
                Err(_) => format!("must be between 0 and {max}"),
            })),
        }
    }

    pub(crate) fn u8(self, ob: Borrowed<'_, '_, PyAny>) -> PyResult<u8> {
        let value = self.uint(ob, u8::MAX.into())?;
        u8::try_from(value).map_err(|error| self.value_error(error))
    }

    pub(crate) fn u32(self, ob: Borrowed<'_, '_, PyAny>) -> PyResult<u32> {
        let value = self.uint(ob, u32::MAX.into())?;
        u32::try_from(value).map_err(|error| self.value_error(error))
    }

    pub(crate) fn u64(self, ob: Borrowed<'_, '_, PyAny>) -> PyResult<u64> {
        self.uint(ob, u64::MAX)
    }

    pub(crate) fn float(self, ob: Borrowed<'_, '_, PyAny>) -> PyResult<f64> {
        if let Ok(value) = ob.cast::<PyFloat>() {
            return Ok(value.value());
        }
        if !is_int(&ob) {
            return Err(self.type_error("float", &ob));
        }
        ob.extract()
            .map_err(|_| self.value_error("this integer is too large for a float"))
    }

    pub(crate) fn bytes(self, ob: Borrowed<'_, '_, PyAny>) -> PyResult<Py<PyBytes>> {
        if ob.is_exact_instance_of::<PyBytes>() {
            return Ok(ob.to_owned().cast_into::<PyBytes>()?.unbind());
        }
        match ob.cast::<PyBytes>() {
            // A subclass may override anything, so only its bytes are kept.
            Ok(subclass) => Ok(PyBytes::new(ob.py(), subclass.as_bytes()).unbind()),
            Err(_) => Err(self.type_error("bytes", &ob)),
        }
    }

    /// Text that is Unicode throughout, as an exact `str`; its UTF-8 form is cached by this check for the encoder.
    #[inline]
    pub(crate) fn text(self, ob: Borrowed<'_, '_, PyAny>) -> PyResult<Py<PyString>> {
        let text = match ob.cast_exact::<PyString>() {
            Ok(text) => text,
            Err(_) => return self.text_subclass(&ob),
        };
        text.to_str().map_err(|_| self.not_unicode())?;
        Ok(text.to_owned().unbind())
    }

    /// The same, of at most `limit` bytes of UTF-8.
    pub(crate) fn short_text(self, ob: Borrowed<'_, '_, PyAny>, limit: usize) -> PyResult<Py<PyString>> {
        let text = self.text(ob)?;
        self.short_str(text.bind(ob.py()), limit)?;
        Ok(text)
    }

    /// The UTF-8 form of `text`, of at most `limit` bytes.
    pub(crate) fn short_str<'a>(self, text: &'a Bound<'_, PyString>, limit: usize) -> PyResult<&'a str> {
        let text = text.to_str().map_err(|_| self.not_unicode())?;
        if text.len() > limit {
            let len = text.len();
            return Err(self.value_error(format_args!(
                "{len} bytes of UTF-8 are above the limit of {limit}; shorten it"
            )));
        }
        Ok(text)
    }

    fn text_subclass(self, ob: &Bound<'_, PyAny>) -> PyResult<Py<PyString>> {
        let text = ob.cast::<PyString>().map_err(|_| self.type_error("str", ob))?;
        Ok(PyString::new(ob.py(), text.to_str().map_err(|_| self.not_unicode())?).unbind())
    }

    /// An exact `str` or `int`.
    pub(crate) fn text_or_int<'py>(self, ob: Borrowed<'_, 'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = ob.py();
        if is_int(&ob) {
            // Of `int` itself, since a subclass may override it.
            return py.get_type::<PyInt>().call_method1(intern!(py, "__index__"), (ob,));
        }
        if !ob.is_instance_of::<PyString>() {
            return Err(self.type_error("str or int", &ob));
        }
        Ok(self.text(ob)?.into_bound(py).into_any())
    }

    #[cold]
    fn not_unicode(self) -> PyErr {
        self.value_error("holds surrogates, which are not Unicode; escape it with os_text()")
    }
}
