//! When a peer of the original may be sent something.
//!
//! Its health check sends `PING` every 30 s and takes the very next frame as the answer, whatever it is. So one frame is in flight at a
//! time, and none from shortly before a check is due until it has come.

use std::time::Instant;

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
        let from = self.checked + self.timing.quiet_after;
        let until = from + self.timing.quiet_for;
        (from <= now && now < until).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        pace.note_check(at(30.1));
        assert_eq!(pace.quiet_until(at(30.1)), None);
        assert_eq!(pace.quiet_until(at(59.7)), Some(at(60.6)));
    }
}
