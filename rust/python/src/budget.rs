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
///
/// Operations of different tasks keep the order in which the loop first runs them (`gather` of many): while one has given the loop a
/// turn, those behind it do too, and the loop goes on with each in its turn. That ends with the first to go on, so that a task which
/// takes step after step still gets as many as it may.
pub(crate) struct Budget {
    start: Instant,
    /// Nanoseconds from `start` to the last turn, and to the last look at the clock.
    last_turn: AtomicU64,
    last_read: AtomicU64,
    steps: AtomicU32,
    /// The step before which to look next.
    next_read: AtomicU32,
    limit: AtomicU32,
    /// The most that `limit` may be.
    max_limit: u32,
    /// An operation gave the loop a turn, and none has gone on since.
    yielded: AtomicBool,
}

impl Budget {
    /// Takes `limit` steps at once, or fewer.
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            start: Instant::now(),
            last_turn: AtomicU64::new(0),
            last_read: AtomicU64::new(0),
            steps: AtomicU32::new(0),
            next_read: AtomicU32::new(0),
            limit: AtomicU32::new(limit),
            max_limit: limit,
            yielded: AtomicBool::new(false),
        }
    }

    /// Takes `limit` steps at once from now on, as far as that is allowed.
    pub(crate) fn limit(&self, limit: u32) {
        self.limit.store(limit.clamp(1, self.max_limit), Ordering::Relaxed);
    }

    /// Counts one step. True if the loop should have a turn first; then the count starts anew.
    #[inline]
    pub(crate) fn turn_is_due(&self) -> bool {
        self.count_without_clock().is_some_and(|steps| self.read_clock(steps))
    }

    /// The same for an operation, which then calls [`resume`](Self::go_on) after the turn; also true behind one that has yet to do so.
    #[inline]
    pub(crate) fn must_yield(&self) -> bool {
        self.count_without_clock().is_some_and(|steps| {
            let must = self.yielded.load(Ordering::Relaxed) || self.read_clock(steps);
            self.yielded.store(must, Ordering::Relaxed);
            must
        })
    }

    /// The loop has had the turn, and the step that waited for it is taken now.
    pub(crate) fn resume(&self) {
        self.cancel();
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// The step that waited is not taken after all. Where nobody tells, the next operation yields once in vain.
    pub(crate) fn cancel(&self) {
        self.yielded.store(false, Ordering::Relaxed);
    }

    /// Counts the step if it is one between two looks; otherwise gives the steps before it.
    #[inline]
    fn count_without_clock(&self) -> Option<u32> {
        let steps = self.steps.load(Ordering::Relaxed);
        let counted = steps < self.next_read.load(Ordering::Relaxed) && steps < self.limit.load(Ordering::Relaxed);
        if counted {
            self.steps.store(steps + 1, Ordering::Relaxed);
        }
        (!counted).then_some(steps)
    }

    fn read_clock(&self, steps: u32) -> bool {
        let now = nanoseconds(self.start.elapsed());
        let since = now.saturating_sub(self.last_read.swap(now, Ordering::Relaxed));
        if steps < self.limit.load(Ordering::Relaxed)
            && now.saturating_sub(self.last_turn.load(Ordering::Relaxed)) < nanoseconds(SLICE)
        {
            // Not past those who see here that somebody yielded.
            let is_short = since < nanoseconds(SHORT) && !self.yielded.load(Ordering::Relaxed);
            let stride = if is_short { STRIDE } else { 1 };
            self.next_read.store(steps + stride, Ordering::Relaxed);
            self.steps.store(steps + 1, Ordering::Relaxed);
            return false;
        }
        self.last_turn.store(now, Ordering::Relaxed);
        self.next_read.store(0, Ordering::Relaxed);
        // Only a loop that was kept busy needs the turn; after a pause the first step goes on.
        let is_due = steps > 0;
        self.steps.store(u32::from(!is_due), Ordering::Relaxed);
        is_due
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
