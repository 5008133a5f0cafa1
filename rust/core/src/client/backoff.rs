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

    /// The longest and the shortest of many first waits of `backoff`.
    fn range(backoff: &Backoff) -> (Duration, Duration) {
        let waits = || (0..200).map(|_| Backoff { ..*backoff }.next());
        (waits().min().unwrap(), waits().max().unwrap())
    }

    #[test]
    fn waits_lie_anywhere_below_a_ceiling_that_doubles_up_to_the_limit() {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        for ceiling in [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000].map(Duration::from_millis) {
            let (shortest, longest) = range(&backoff);
            assert!(shortest < ceiling / 10 && longest > ceiling * 9 / 10 && longest <= ceiling);
            backoff.next();
        }
        backoff.reset();
        assert!(range(&backoff).1 <= Duration::from_millis(50));
    }
}
