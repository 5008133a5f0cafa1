//! When a coroutine that never has to wait lets others run all the same.
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longer than this nobody keeps the loop to himself.
const SLICE: Duration = Duration::from_millis(1);

/// Counts steps taken without giving the loop a turn; used on the loop's thread only.
pub(crate) struct Pace {
    start: Instant,
    /// Nanoseconds from `start` to the last turn.
    turned: AtomicU64,
    steps: AtomicU32,
    every: AtomicU32,
}

impl Pace {
    pub(crate) fn new(every: u32) -> Self {
        Self {
            start: Instant::now(),
            turned: AtomicU64::new(0),
            steps: AtomicU32::new(0),
            every: AtomicU32::new(every),
        }
    }

    /// Never takes more than `every` steps at once from now on.
    pub(crate) fn limit(&self, every: u32) {
        self.every.fetch_min(every.max(1), Ordering::Relaxed);
    }

    /// Counts one step. True if the loop should have a turn first; then the count starts anew.
    pub(crate) fn turn_is_due(&self) -> bool {
        let steps = self.steps.load(Ordering::Relaxed);
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let slice = u64::try_from(SLICE.as_nanos()).unwrap_or(u64::MAX);
        if steps < self.every.load(Ordering::Relaxed) && now.saturating_sub(self.turned.load(Ordering::Relaxed)) < slice
        {
            self.steps.store(steps + 1, Ordering::Relaxed);
            return false;
        }
        self.turned.store(now, Ordering::Relaxed);
        self.steps.store(0, Ordering::Relaxed);
        // Only a loop that was kept busy needs the turn; after a pause the first step goes on.
        steps > 0
    }
}
