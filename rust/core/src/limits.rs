//! Settings within bounds: a refusal names the field, what it was given, and the bounds.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::{Error, Result};

/// A longer wait is a mistake, and adding this to a clock does not overflow.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(7 * 24 * 3600);

/// No broker sends more. Words of other protocols, read as a length, are above it.
pub(crate) const LARGEST_FRAME: usize = 64 * 1024 * 1024;

/// Bytes that `max_frame` may be, at either end.
pub(crate) const MAX_FRAME_RANGE: RangeInclusive<usize> = 1024..=LARGEST_FRAME;

pub(crate) fn check_range(field: &'static str, value: usize, bounds: RangeInclusive<usize>) -> Result<()> {
    if bounds.contains(&value) {
        return Ok(());
    }
    let (least, most) = bounds.into_inner();
    Err(Error::invalid(
        field,
        format!("{value} is not within {least} to {most}; choose a value in between"),
    ))
}

/// A time above zero, and at most [`MAX_DURATION`].
pub(crate) fn check_positive_time(field: &'static str, value: Duration) -> Result<()> {
    if value.is_zero() {
        return Err(Error::invalid(
            field,
            "0 s is not above 0 and at most 7 days; choose a time in between",
        ));
    }
    check_time(field, value)
}

/// A time of at most [`MAX_DURATION`]; zero is "at once".
pub(crate) fn check_time(field: &'static str, value: Duration) -> Result<()> {
    if value > MAX_DURATION {
        let seconds = value.as_secs_f64();
        return Err(Error::invalid(
            field,
            format!("{seconds} s is above 7 days; choose a shorter time"),
        ));
    }
    Ok(())
}
