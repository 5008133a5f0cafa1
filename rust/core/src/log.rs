//! Lines in the log that a flood must not multiply: one per second and reason, with the number of those left out in the next one.
//!
//! What is suppressed is not formatted either, so that being refused ten thousand times costs ten thousand counts.

use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::lock::Mutex;

const EVERY: Duration = Duration::from_secs(1);

/// Reasons are words of this program, so there are few.
#[derive(Debug, Default)]
pub(crate) struct Limiter(Mutex<HashMap<&'static str, Reason>>);

#[derive(Debug)]
struct Reason {
    last: Instant,
    suppressed: u64,
}

impl Limiter {
    /// Whether a line about `reason` is due: then how many were left out since the last.
    pub(crate) fn due(&self, reason: &'static str) -> Option<u64> {
        let now = Instant::now();
        let mut reasons = self.0.lock();
        let Some(known) = reasons.get_mut(reason) else {
            let first = Reason {
                last: now,
                suppressed: 0,
            };
            reasons.insert(reason, first);
            return Some(0);
        };
        if now.duration_since(known.last) < EVERY {
            known.suppressed += 1;
            return None;
        }
        known.last = now;
        Some(std::mem::take(&mut known.suppressed))
    }

    /// Reasons with lines left out and none written for a second: their counts, which no later line may ever tell.
    pub(crate) fn overdue(&self) -> Vec<(&'static str, u64)> {
        let now = Instant::now();
        self.take(|reason| {
            let due = now.duration_since(reason.last) >= EVERY;
            if due {
                reason.last = now;
            }
            due
        })
    }

    /// The same at the end, when nothing is waited for any more; whatever the end came from, even a clock that failed.
    pub(crate) fn rest(&self) -> Vec<(&'static str, u64)> {
        self.take(|_| true)
    }

    /// When something will be overdue.
    pub(crate) fn next(&self) -> Option<Instant> {
        let reasons = self.0.lock();
        let left_out = reasons.values().filter(|reason| reason.suppressed > 0);
        left_out.map(|reason| reason.last + EVERY).min()
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
        assert_eq!(limiter.due("other"), Some(0));
        let start = Instant::now();
        let (mut written, mut told, mut asked) = (0_u64, 0_u64, 0_u64);
        while start.elapsed() < EVERY * 5 / 2 {
            asked += 1;
            if let Some(suppressed) = limiter.due("flood") {
                written += 1;
                told += suppressed;
            }
        }
        assert!((2..=3).contains(&written), "{written} lines in 2.5 s");
        std::thread::sleep(EVERY);
        let overdue = limiter.overdue();
        assert!(limiter.overdue().is_empty());
        told += overdue.iter().map(|(_, suppressed)| suppressed).sum::<u64>();
        assert_eq!(overdue.first().map(|(reason, _)| *reason), Some("flood"));
        assert_eq!(written + told, asked);
    }

    #[test]
    fn the_end_waits_for_nothing() {
        let limiter = Limiter::default();
        assert_eq!((limiter.due("flood"), limiter.next()), (Some(0), None));
        assert_eq!((limiter.due("flood"), limiter.due("flood")), (None, None));
        assert!(limiter.next().is_some_and(|at| at <= Instant::now() + EVERY));
        assert_eq!((limiter.overdue(), limiter.rest()), (vec![], vec![("flood", 2)]));
        assert_eq!((limiter.rest(), limiter.next()), (vec![], None));
    }
}
