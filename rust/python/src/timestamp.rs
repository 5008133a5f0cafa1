//! Times: `datetime` in, `Timestamp` (a `datetime` with nanoseconds, written in Python on a native base) out.
//!
//! Inside, a time is what the wire has: seconds and nanoseconds since 1970. A wire time may lie beyond year 9999, which
//! no `datetime` can; the field then raises `OverflowError` and its `..._ns` twin still tells.
#![expect(unsafe_code, reason = "a datetime with a time zone is made by the C API alone")]
use daemoneye_eventbus_core::event::Timestamp;
use pyo3::PyTypeInfo;
use pyo3::exceptions::{PyOverflowError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyDateAccess, PyDateTime, PyDelta, PyDeltaAccess, PyDict, PyInt, PyTimeAccess, PyType, PyTzInfo, PyTzInfoAccess,
};
use pyo3::{ffi, intern};

use crate::args::{Field, Origin};
use crate::calls;
use crate::timestamp_core::TimestampCore;

/// In microseconds.
const SECOND: i64 = 1_000_000;
/// In seconds.
const DAY: i64 = 86_400;
/// The last second of year 9999.
const MAX_SECONDS: u64 = 253_402_300_799;

static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static UTC: PyOnceLock<Py<PyTzInfo>> = PyOnceLock::new();

fn class<'a>(py: Python<'a>) -> PyResult<&'a Bound<'a, PyType>> {
    CLASS.import(py, "daemoneye_eventbus._timestamp", "Timestamp")
}

fn utc<'a>(py: Python<'a>) -> PyResult<&'a Bound<'a, PyTzInfo>> {
    Ok(UTC
        .get_or_try_init(py, || PyTzInfo::utc(py).map(|utc| utc.to_owned().unbind()))?
        .bind(py))
}

pub(crate) fn nanoseconds(time: Timestamp) -> u128 {
    u128::from(time.secs) * 1_000_000_000 + u128::from(time.nanos)
}

/// A constructor's time: any aware `datetime` from 1970 to 9999 in UTC, so that it can be read again. A pickle may hold nanoseconds
/// instead.
pub(crate) fn take(field: Field, ob: Borrowed<'_, '_, PyAny>, origin: Origin) -> PyResult<Timestamp> {
    let py = ob.py();
    if origin == Origin::Pickle && ob.is_exact_instance_of::<PyInt>() {
        let total: u128 = ob.extract()?;
        return Ok(Timestamp {
            secs: u64::try_from(total / 1_000_000_000)?,
            nanos: u32::try_from(total % 1_000_000_000)?,
        });
    }
    let time = ob.cast::<PyDateTime>().map_err(|_| field.type_error("datetime", &ob))?;
    let mut micros = micros(&time);
    if !is_utc(&time) {
        let offset = calls::method(intern!(py, "utcoffset"), [&ob], None)?;
        let offset = offset
            .cast::<PyDelta>()
            .map_err(|_| field.value_error("a naive datetime does not say which moment it means; give it a tzinfo"))?;
        micros -= i64::try_from(delta_micros(offset))?;
    }
    let beyond = nanosecond(&ob)?;
    let secs = u64::try_from(micros.div_euclid(SECOND))
        .map_err(|_| field.value_error("times before 1970 cannot be written; give a later one or None"))?;
    if secs > MAX_SECONDS {
        return Err(field.value_error("times beyond the year 9999 in UTC cannot be read; give an earlier one or None"));
    }
    let nanos = u32::try_from(micros.rem_euclid(SECOND))? * 1000 + beyond;
    Ok(Timestamp { secs, nanos })
}

/// A field's time as `daemoneye_eventbus.Timestamp`.
pub(crate) fn to_py<'py>(py: Python<'py>, time: Timestamp, field: &str) -> PyResult<Bound<'py, PyAny>> {
    if time.secs > MAX_SECONDS {
        return Err(PyOverflowError::new_err(format!(
            "{field} lies beyond year 9999, which no datetime can hold; read {field}_ns"
        )));
    }
    make_own(
        py,
        i64::try_from(time.secs)? * SECOND + i64::from(time.nanos / 1000),
        time.nanos % 1000,
    )
}

/// The `Timestamp` at `micros`, which lie in the years 1 to 9999, and `nanosecond`.
fn make_own(py: Python<'_>, micros: i64, nanosecond: u32) -> PyResult<Bound<'_, PyAny>> {
    let made = new(py, class(py)?, parts(micros))?;
    made.setattr(intern!(py, "_nanosecond"), nanosecond)?;
    Ok(made)
}

/// The same of `class`, which is `Timestamp` or derives from it.
pub(crate) fn make<'py>(class: &Bound<'py, PyType>, micros: i64, nanosecond: u32) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    if class.is(self::class(py)?) {
        return make_own(py, micros, nanosecond);
    }
    let [year, month, day, hour, minute, second, micro] = parts(micros).map(|part| PyInt::new(py, part).into_any());
    let named = PyDict::new(py);
    named.set_item(intern!(py, "nanosecond"), nanosecond)?;
    calls::call(
        class,
        [&year, &month, &day, &hour, &minute, &second, &micro],
        Some(&named),
    )
}

/// The plain `datetime` at `micros`, in UTC.
pub(crate) fn make_plain(py: Python<'_>, micros: i64) -> PyResult<Bound<'_, PyAny>> {
    new(py, &PyDateTime::type_object(py), parts(micros))
}

/// The nanoseconds beyond the microsecond; of a `datetime` that is no `Timestamp` none.
pub(crate) fn nanosecond(ob: &Bound<'_, PyAny>) -> PyResult<u32> {
    if ob.is_instance_of::<TimestampCore>() {
        ob.getattr(intern!(ob.py(), "_nanosecond"))?.extract()
    } else {
        Ok(0)
    }
}

/// Whether its zone is the object `datetime.UTC`, as that of each `Timestamp` is.
pub(crate) fn is_utc(time: &Bound<'_, PyDateTime>) -> bool {
    time.get_tzinfo()
        .is_some_and(|zone| utc(time.py()).is_ok_and(|utc| zone.is(utc)))
}

/// What its clock shows, in microseconds since 1970.
pub(crate) fn micros(time: &Bound<'_, PyDateTime>) -> i64 {
    let days = days_from_civil(time.get_year().into(), time.get_month().into(), time.get_day().into());
    let seconds = i64::from(time.get_hour()) * 3600 + i64::from(time.get_minute()) * 60 + i64::from(time.get_second());
    (days * DAY + seconds) * SECOND + i64::from(time.get_microsecond())
}

/// All of it; an `i64` holds the difference of two moments, but not any `timedelta`.
pub(crate) fn delta_micros(delta: &Bound<'_, PyDelta>) -> i128 {
    let seconds = i64::from(delta.get_days()) * DAY + i64::from(delta.get_seconds());
    i128::from(seconds) * i128::from(SECOND) + i128::from(delta.get_microseconds())
}

/// Date and time of day, as a constructor takes them.
fn parts(micros: i64) -> [i64; 7] {
    let seconds = micros.div_euclid(SECOND);
    let (year, month, day) = civil_from_days(seconds.div_euclid(DAY));
    let second = seconds.rem_euclid(DAY);
    [
        year,
        month,
        day,
        second / 3600,
        second % 3600 / 60,
        second % 60,
        micros.rem_euclid(SECOND),
    ]
}

/// An instance of `datetime` or of `Timestamp`, without its Python-level constructor, which would cost ten times as much.
fn new<'py>(py: Python<'py>, class: &Bound<'py, PyType>, parts: [i64; 7]) -> PyResult<Bound<'py, PyAny>> {
    let zone = utc(py)?;
    let mut given = [0; 7];
    for (slot, part) in given.iter_mut().zip(parts) {
        *slot = std::ffi::c_int::try_from(part)?;
    }
    let [year, month, day, hour, minute, second, micro] = given;
    // SAFETY: `utc` has imported the datetime C API (checked for null all the same); the class is
    // datetime.datetime or a subclass that adds slots only, the constructor checks the ranges and returns a new reference or null.
    unsafe {
        let api = ffi::PyDateTimeAPI()
            .as_ref()
            .ok_or_else(|| PyRuntimeError::new_err("datetime is not available"))?;
        let made = (api.DateTime_FromDateAndTimeAndFold)(
            year,
            month,
            day,
            hour,
            minute,
            second,
            micro,
            zone.as_ptr(),
            0,
            class.as_type_ptr(),
        );
        Bound::from_owned_ptr_or_err(py, made)
    }
}

/// Days since 1970 of a date of the proleptic Gregorian calendar (Howard Hinnant's algorithm).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}
