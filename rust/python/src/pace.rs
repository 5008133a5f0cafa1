//! When a coroutine that never has to wait lets others run all the same.
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longer than this nobody keeps the loop to himself.
const SLICE: Duration = Duration::from_millis(1);
/// The clock costs a tenth of a step: while steps are short, only so many are taken between two looks.
const STRIDE: u32 = 4;
/// Steps are short if a stride of them takes a small part of the slice.
const SHORT: Duration = Duration::from_micros(100);

/// Whether the loop will flush at the end of its turn.
#[derive(Default)]
pub(crate) struct Scheduled(AtomicBool);

impl Scheduled {
    /// From now on it will; true if it would already. A look first: it will but once in a turn, and a swap is dear.
    pub(crate) fn schedule(&self) -> bool {
        self.0.load(Ordering::Relaxed) || self.0.swap(true, Ordering::Relaxed)
    }

    /// It is under way, or will not be.
    pub(crate) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Counts steps taken without giving the loop a turn; used on the loop's thread only.
pub(crate) struct Pace {
    start: Instant,
    /// Nanoseconds from `start` to the last turn, and to the last look at the clock.
    turned: AtomicU64,
    looked: AtomicU64,
    steps: AtomicU32,
    /// The step before which to look next.
    look: AtomicU32,
    every: AtomicU32,
    /// The most that `every` may be.
    most: u32,
}

impl Pace {
    /// Takes `every` steps at once, or fewer.
    pub(crate) fn new(every: u32) -> Self {
        Self {
            start: Instant::now(),
            turned: AtomicU64::new(0),
            looked: AtomicU64::new(0),
            steps: AtomicU32::new(0),
            look: AtomicU32::new(0),
            every: AtomicU32::new(every),
            most: every,
        }
    }

    /// Takes `every` steps at once from now on, as far as that is allowed.
    pub(crate) fn limit(&self, every: u32) {
        self.every.store(every.clamp(1, self.most), Ordering::Relaxed);
    }

    /// Counts one step. True if the loop should have a turn first; then the count starts anew.
    #[inline]
    pub(crate) fn turn_is_due(&self) -> bool {
        let steps = self.steps.load(Ordering::Relaxed);
        if steps < self.look.load(Ordering::Relaxed) && steps < self.every.load(Ordering::Relaxed) {
            self.steps.store(steps + 1, Ordering::Relaxed);
            return false;
        }
        self.look(steps)
    }

    fn look(&self, steps: u32) -> bool {
        let now = nanoseconds(self.start.elapsed());
        let since = now.saturating_sub(self.looked.swap(now, Ordering::Relaxed));
        if steps < self.every.load(Ordering::Relaxed)
            && now.saturating_sub(self.turned.load(Ordering::Relaxed)) < nanoseconds(SLICE)
        {
            let stride = if since < nanoseconds(SHORT) { STRIDE } else { 1 };
            self.look.store(steps + stride, Ordering::Relaxed);
            self.steps.store(steps + 1, Ordering::Relaxed);
            return false;
        }
        self.turned.store(now, Ordering::Relaxed);
        self.look.store(0, Ordering::Relaxed);
        // Only a loop that was kept busy needs the turn; after a pause the first step goes on.
        let is_due = steps > 0;
        self.steps.store(u32::from(!is_due), Ordering::Relaxed);
        is_due
    }

    /// The loop has had the turn that was due, and the step that it was due before is taken now.
    pub(crate) fn count(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
