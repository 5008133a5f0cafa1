//! The native base class of `Timestamp`: its operators, which a `datetime` has in C too, and how one is made.
//!
//! Model: two moments in UTC are numbers. Anything else that can be compared or subtracted (another zone, a date, a class that derives
//! from `datetime`) goes to the Python half, where `datetime` answers: that may run Python code, which has no place under a native frame.
//! What is neither gets `NotImplemented`, so that the other side is asked.
//!
//! It holds nothing and stands beside `datetime` among the bases. A class that PyO3 derives from `datetime` would be without its
//! constructor, and with an allocator that knows of `datetime`'s size only.
use std::cmp::Ordering;

use pyo3::basic::CompareOp;
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDate, PyDateTime, PyDelta, PyType};

use crate::args;
use crate::calls;
use crate::timestamp;

/// The first microsecond of the year 1 and the last of the year 9999.
const MICROS: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;
const DAY: i64 = 86_400_000_000;

#[pyclass(subclass, frozen, module = "daemoneye_eventbus._native")]
pub(crate) struct TimestampCore;

/// The microseconds of what can be compared as numbers: a `Timestamp`, or a `datetime` in UTC of no derived class.
fn comparable(ob: &Bound<'_, PyAny>) -> Option<i64> {
    let time = ob.cast::<PyDateTime>().ok()?;
    let is_moment =
        ob.is_instance_of::<TimestampCore>() || (ob.is_exact_instance_of::<PyDateTime>() && timestamp::is_utc(time));
    is_moment.then(|| timestamp::micros(time))
}

fn micros(slf: &Bound<'_, TimestampCore>) -> PyResult<i64> {
    Ok(timestamp::micros(slf.as_any().cast::<PyDateTime>()?))
}

/// The moment so many microseconds later, of the same class.
fn moved<'py>(slf: &Bound<'py, TimestampCore>, micros: i128) -> PyResult<Bound<'py, PyAny>> {
    let moved = i64::try_from(i128::from(self::micros(slf)?) + micros).ok();
    let moved = moved.filter(|micros| MICROS.contains(micros));
    let moved = moved.ok_or_else(|| PyOverflowError::new_err("date value out of range"))?;
    timestamp::make(&slf.get_type(), moved, timestamp::nanosecond(slf)?)
}

#[pymethods]
impl TimestampCore {
    /// Make the moment ``ns`` nanoseconds after 1970; ``OverflowError`` beyond the years 1 to 9999.
    #[classmethod]
    fn from_ns<'py>(class: &Bound<'py, PyType>, ns: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if !args::is_int(ns) {
            return Err(PyTypeError::new_err(format!(
                "ns: expected int, got {}",
                args::type_name(ns)
            )));
        }
        let beyond =
            || PyOverflowError::new_err("ns: lies beyond the years 1 to 9999, which is all that a datetime holds");
        let total: i128 = ns.extract().map_err(|_| beyond())?;
        let micros = i64::try_from(total.div_euclid(1000)).ok();
        let micros = micros.filter(|micros| MICROS.contains(micros)).ok_or_else(beyond)?;
        timestamp::make(class, micros, u32::try_from(total.rem_euclid(1000))?)
    }

    /// That of ``value``, in UTC, with ``nanosecond``.
    #[classmethod]
    fn _of<'py>(
        class: &Bound<'py, PyType>,
        value: &Bound<'py, PyDateTime>,
        nanosecond: u32,
    ) -> PyResult<Bound<'py, PyAny>> {
        timestamp::make(class, timestamp::micros(value), nanosecond)
    }

    /// The plain ``datetime``, without the nanoseconds.
    fn _plain<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        timestamp::make_plain(slf.py(), micros(slf)?)
    }

    /// Nanoseconds since 1970.
    #[getter]
    fn ns(slf: &Bound<'_, Self>) -> PyResult<i128> {
        Ok(i128::from(micros(slf)?) * 1000 + i128::from(timestamp::nanosecond(slf)?))
    }

    fn __richcmp__<'py>(
        slf: &Bound<'py, Self>,
        other: &Bound<'py, PyAny>,
        op: CompareOp,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let Some(theirs) = comparable(other) else {
            if !other.is_instance_of::<PyDate>() {
                return Ok(py.NotImplemented().into_bound(py));
            }
            let name = match op {
                CompareOp::Lt => intern!(py, "__lt__"),
                CompareOp::Le => intern!(py, "__le__"),
                CompareOp::Eq => intern!(py, "__eq__"),
                CompareOp::Ne => intern!(py, "__ne__"),
                CompareOp::Gt => intern!(py, "__gt__"),
                CompareOp::Ge => intern!(py, "__ge__"),
            };
            return calls::method(intern!(py, "_compare"), [slf.as_any(), other, name.as_any()], None);
        };
        let order = match micros(slf)?.cmp(&theirs) {
            Ordering::Equal => timestamp::nanosecond(slf)?.cmp(&timestamp::nanosecond(other)?),
            decided => decided,
        };
        Ok(op.matches(order).into_pyobject(py)?.to_owned().into_any())
    }

    /// Of whole microseconds that of the ``datetime``, which is equal.
    fn __hash__(slf: &Bound<'_, Self>) -> PyResult<i64> {
        let micros = micros(slf)?;
        match timestamp::nanosecond(slf)? {
            0 => Ok(i64::try_from(timestamp::make_plain(slf.py(), micros)?.hash()?)?),
            nanosecond => Ok(micros.wrapping_mul(1000).wrapping_add(i64::from(nanosecond))),
        }
    }

    fn __add__<'py>(slf: &Bound<'py, Self>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        match other.cast::<PyDelta>() {
            Ok(delta) => moved(slf, timestamp::delta_micros(delta)),
            Err(_) => Ok(slf.py().NotImplemented().into_bound(slf.py())),
        }
    }

    fn __radd__<'py>(slf: &Bound<'py, Self>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        Self::__add__(slf, other)
    }

    fn __sub__<'py>(slf: &Bound<'py, Self>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if let Some(theirs) = comparable(other) {
            let apart = micros(slf)? - theirs;
            let (days, rest) = (i32::try_from(apart.div_euclid(DAY))?, apart.rem_euclid(DAY));
            let (seconds, micros) = (i32::try_from(rest / 1_000_000)?, i32::try_from(rest % 1_000_000)?);
            Ok(PyDelta::new(py, days, seconds, micros, false)?.into_any())
        } else if let Ok(delta) = other.cast::<PyDelta>() {
            moved(slf, -timestamp::delta_micros(delta))
        } else if other.is_instance_of::<PyDateTime>() {
            calls::method(intern!(py, "_subtract"), [slf.as_any(), other], None)
        } else {
            Ok(py.NotImplemented().into_bound(py))
        }
    }
}
