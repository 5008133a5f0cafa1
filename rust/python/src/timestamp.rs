//! Times: `datetime` in, `Timestamp` (a `datetime` with nanoseconds, written in Python) out.
//!
//! Inside, a time is what the wire has: seconds and nanoseconds since 1970. A wire time may lie beyond year 9999, which
//! no `datetime` can; the field then raises `OverflowError` and its `..._ns` twin still tells.
#![expect(unsafe_code, reason = "a datetime with a time zone is made by the C API alone")]
use daemoneye_eventbus_core::event::Timestamp;
use pyo3::exceptions::{PyOverflowError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyDateAccess, PyDateTime, PyDelta, PyDeltaAccess, PyInt, PyTimeAccess, PyType, PyTzInfo, PyTzInfoAccess,
};
use pyo3::{ffi, intern};

use crate::args::{Field, Origin};
use crate::calls;

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
    let days = days_from_civil(time.get_year().into(), time.get_month().into(), time.get_day().into());
    let seconds = i64::from(time.get_hour()) * 3600 + i64::from(time.get_minute()) * 60 + i64::from(time.get_second());
    let mut micros = (days * DAY + seconds) * 1_000_000 + i64::from(time.get_microsecond());
    if !time
        .get_tzinfo()
        .is_some_and(|zone| utc(py).is_ok_and(|utc| zone.is(utc)))
    {
        let offset = calls::method(intern!(py, "utcoffset"), [&ob], None)?;
        let offset = offset
            .cast::<PyDelta>()
            .map_err(|_| field.value_error("a naive datetime does not say which moment it means; give it a tzinfo"))?;
        micros -= (i64::from(offset.get_days()) * DAY + i64::from(offset.get_seconds())) * 1_000_000
            + i64::from(offset.get_microseconds());
    }
    let kind = ob.get_type();
    let beyond: u32 = if kind.is(class(py)?) || kind.is_subclass(class(py)?)? {
        ob.getattr(intern!(py, "_nanosecond"))?.extract()?
    } else {
        0
    };
    let secs = u64::try_from(micros.div_euclid(1_000_000))
        .map_err(|_| field.value_error("times before 1970 cannot be written; give a later one or None"))?;
    if secs > MAX_SECONDS {
        return Err(field.value_error("times beyond the year 9999 in UTC cannot be read; give an earlier one or None"));
    }
    let nanos = u32::try_from(micros.rem_euclid(1_000_000))? * 1000 + beyond;
    Ok(Timestamp { secs, nanos })
}

/// A field's time as `daemoneye_eventbus.Timestamp`.
pub(crate) fn to_py<'py>(py: Python<'py>, time: Timestamp, field: &str) -> PyResult<Bound<'py, PyAny>> {
    if time.secs > MAX_SECONDS {
        return Err(PyOverflowError::new_err(format!(
            "{field} lies beyond year 9999, which no datetime can hold; read {field}_ns"
        )));
    }
    let seconds = i64::try_from(time.secs)?;
    let (year, month, day) = civil_from_days(seconds / DAY);
    let second = seconds % DAY;
    let (hour, minute, second) = (second / 3600, second % 3600 / 60, second % 60);
    let made = new(
        py,
        [year, month, day, hour, minute, second, i64::from(time.nanos / 1000)],
    )?;
    made.setattr(intern!(py, "_nanosecond"), time.nanos % 1000)?;
    Ok(made)
}

/// An instance of the subclass without its Python-level constructor, which would cost ten times as much.
fn new<'py>(py: Python<'py>, parts: [i64; 7]) -> PyResult<Bound<'py, PyAny>> {
    let class = class(py)?;
    let zone = utc(py)?;
    let mut given = [0; 7];
    for (slot, part) in given.iter_mut().zip(parts) {
        *slot = std::ffi::c_int::try_from(part)?;
    }
    let [year, month, day, hour, minute, second, micro] = given;
    // SAFETY: `utc` has imported the datetime C API (checked for null all the same); the class is a subclass of
    // datetime.datetime that adds slots only, the constructor checks the ranges and returns a new reference or null.
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
