//! Full jitter: each wait is uniform between zero and a ceiling that doubles, so that clients of a restarted broker do not come at once.

use std::time::Duration;

#[derive(Debug)]
pub(super) struct Backoff {
    ceiling: Duration,
    initial: Duration,
    max: Duration,
}

impl Backoff {
    pub(super) const fn new(initial: Duration, max: Duration) -> Self {
        Self {
            ceiling: initial,
            initial,
            max,
        }
    }

    pub(super) fn next(&mut self) -> Duration {
        let wait = self.ceiling.mul_f64(fastrand::f64());
        self.ceiling = (self.ceiling * 2).min(self.max);
        wait
    }

    pub(super) const fn reset(&mut self) {
        self.ceiling = self.initial;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_below_a_ceiling_that_doubles_up_to_the_limit() {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        let mut ceiling = Duration::from_millis(50);
        for _ in 0..20 {
            assert!(backoff.next() <= ceiling);
            ceiling = (ceiling * 2).min(Duration::from_secs(5));
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(50));
    }
}
