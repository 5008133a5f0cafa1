//! Rate limiting of log lines: one per second and reason, with the number of suppressed ones in the next.
//!
//! What is suppressed is not formatted either, so that being refused ten thousand times costs ten thousand counts.

use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::lock::Mutex;

const INTERVAL: Duration = Duration::from_secs(1);

/// Reasons are words of this program, so there are few.
#[derive(Debug, Default)]
pub(crate) struct Limiter(Mutex<HashMap<&'static str, Reason>>);

#[derive(Debug)]
struct Reason {
    last: Instant,
    suppressed: u64,
}

impl Limiter {
    /// Whether a line about `reason` is due: then how many were suppressed since the last.
    pub(crate) fn due(&self, reason: &'static str) -> Option<u64> {
        self.due_at(reason, Instant::now())
    }

    fn due_at(&self, reason: &'static str, now: Instant) -> Option<u64> {
        let mut reasons = self.0.lock();
        let Some(known) = reasons.get_mut(reason) else {
            let first = Reason {
                last: now,
                suppressed: 0,
            };
            reasons.insert(reason, first);
            return Some(0);
        };
        if now.duration_since(known.last) < INTERVAL {
            known.suppressed += 1;
            return None;
        }
        known.last = now;
        Some(std::mem::take(&mut known.suppressed))
    }

    /// Reasons with suppressed lines and none written for a second: their counts, which no later line may ever report.
    pub(crate) fn take_overdue(&self) -> Vec<(&'static str, u64)> {
        self.take_overdue_at(Instant::now())
    }

    fn take_overdue_at(&self, now: Instant) -> Vec<(&'static str, u64)> {
        self.take(|reason| {
            let due = now.duration_since(reason.last) >= INTERVAL;
            if due {
                reason.last = now;
            }
            due
        })
    }

    /// All counts of suppressed lines, at the end. Asks no clock: a failed one may have caused the end.
    pub(crate) fn take_rest(&self) -> Vec<(&'static str, u64)> {
        self.take(|_| true)
    }

    /// When something will be overdue.
    pub(crate) fn next_overdue(&self) -> Option<Instant> {
        let reasons = self.0.lock();
        let left_out = reasons.values().filter(|reason| reason.suppressed > 0);
        left_out.map(|reason| reason.last + INTERVAL).min()
    }

    fn take(&self, mut is_due: impl FnMut(&mut Reason) -> bool) -> Vec<(&'static str, u64)> {
        let mut reasons = self.0.lock();
        let left_out = reasons.iter_mut().filter(|(_, reason)| reason.suppressed > 0);
        left_out
            .filter_map(|(name, reason)| is_due(reason).then(|| (*name, std::mem::take(&mut reason.suppressed))))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_written_or_counted() {
        let limiter = Limiter::default();
        let start = Instant::now();
        assert_eq!(limiter.due_at("other", start), Some(0));
        let (mut written, mut told) = (Vec::new(), 0);
        for millis in 0..2500 {
            if let Some(suppressed) = limiter.due_at("flood", start + Duration::from_millis(millis)) {
                written.push(millis);
                told += suppressed;
            }
        }
        assert_eq!((written, told), (vec![0, 1000, 2000], 2 * 999));
        // The last was written at 2 s.
        assert_eq!(limiter.next_overdue(), Some(start + 3 * INTERVAL));
        assert_eq!(
            limiter.take_overdue_at(start + 3 * INTERVAL - Duration::from_nanos(1)),
            []
        );
        assert_eq!(limiter.take_overdue_at(start + 3 * INTERVAL), [("flood", 499)]);
        assert_eq!(limiter.take_overdue_at(start + 4 * INTERVAL), []);
        // What was told late counts as a line.
        assert_eq!(
            limiter.due_at("flood", start + 4 * INTERVAL - Duration::from_nanos(1)),
            None
        );
        assert_eq!(limiter.due_at("flood", start + 4 * INTERVAL), Some(1));
    }

    #[test]
    fn the_end_waits_for_nothing() {
        let limiter = Limiter::default();
        let now = Instant::now();
        assert_eq!((limiter.due_at("flood", now), limiter.next_overdue()), (Some(0), None));
        assert_eq!(
            (limiter.due_at("flood", now), limiter.due_at("flood", now)),
            (None, None)
        );
        assert_eq!(limiter.next_overdue(), Some(now + INTERVAL));
        assert_eq!(
            (limiter.take_overdue_at(now), limiter.take_rest()),
            (vec![], vec![("flood", 2)])
        );
        assert_eq!((limiter.take_rest(), limiter.next_overdue()), (vec![], None));
    }
}
