//! When a peer of the original may be sent something.
//!
//! Its health check sends `PING` and takes the very next frame as the answer, whatever it is. So one frame is in flight at a time, and none
//! from shortly before a check may be due until it has come. One may be due at every multiple of 30 s after the last: it leaves out those
//! that it begins a little early.

use std::time::{Duration, Instant};

use crate::broker::original_timing::OriginalTiming;

pub(super) struct Pace {
    timing: OriginalTiming,
    checked: Instant,
}

impl Pace {
    pub(super) const fn new(timing: OriginalTiming, connected: Instant) -> Self {
        Self {
            timing,
            checked: connected,
        }
    }

    pub(super) const fn note_check(&mut self, now: Instant) {
        self.checked = now;
    }

    /// Until when nothing may be sent, if that is so now.
    pub(super) fn quiet_until(&self, now: Instant) -> Option<Instant> {
        let OriginalTiming {
            interval, quiet_for, ..
        } = self.timing;
        let late = quiet_for / 2;
        let passed = now.saturating_duration_since(self.checked);
        // Since the end of the last quiet time.
        let since = (passed + interval).saturating_sub(late).as_nanos() % interval.as_nanos();
        let left = interval.saturating_sub(Duration::from_nanos(u64::try_from(since).unwrap_or_default()));
        (passed > late && left <= quiet_for).then(|| now + left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_quiet_around_a_check_and_at_no_other_time() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut pace = Pace::new(OriginalTiming::default(), start);
        assert_eq!(pace.quiet_until(start), None);
        assert_eq!(pace.quiet_until(at(29.49)), None);
        assert_eq!(pace.quiet_until(at(29.5)), Some(at(30.5)));
        assert_eq!(pace.quiet_until(at(30.49)), Some(at(30.5)));
        assert_eq!(pace.quiet_until(at(30.5)), None);
        // It has left one out.
        assert_eq!(pace.quiet_until(at(59.49)), None);
        assert_eq!(pace.quiet_until(at(60.0)), Some(at(60.5)));
        assert_eq!(pace.quiet_until(at(3600.49)), Some(at(3600.5)));
        assert_eq!(pace.quiet_until(at(3600.5)), None);
        pace.note_check(at(30.1));
        assert_eq!(pace.quiet_until(at(30.1)), None);
        assert_eq!(pace.quiet_until(at(59.7)), Some(at(60.6)));
    }
}
