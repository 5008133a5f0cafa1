//! A cooperative budget: how many steps tasks take before the loop has a turn, for calls that never have to wait.
//!
//! Guarantees: one task keeps the loop for about [`SLICE`] at most (for two where the loop had a turn in the first), and for no more steps
//! than the limit; tasks keep their order. A step that comes later than that goes on at once if the loop has had a turn meanwhile.
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::loop_thread::OwnLoop;

/// The longest that tasks run before the loop has a turn.
const SLICE: Duration = Duration::from_millis(1);
/// Reading the clock costs a tenth of a step: while steps are short, it is read once for so many.
const STRIDE: u32 = 4;
/// Steps are short if a stride of them takes a small part of the slice.
const SHORT: Duration = Duration::from_micros(100);

/// Counts steps taken without giving the loop a turn; used on the loop's thread only.
///
/// Operations of different tasks keep the order in which the loop first runs them (`gather` of many): once one has yielded, those behind
/// it yield too, until the first of them resumes. So a task that takes step after step still gets its whole budget.
pub(crate) struct Budget {
    start: Instant,
    /// Nanoseconds from `start` to the beginning of the slice, and to when the clock was last read.
    slice_begin: AtomicU64,
    last_read: AtomicU64,
    /// Turns of the loop that were counted when the slice began, if the next is watched for.
    turns_at_begin: AtomicU64,
    steps: AtomicU32,
    /// The step before which the clock is read next.
    next_read: AtomicU32,
    limit: AtomicU32,
    /// The highest that `limit` may be.
    max_limit: u32,
    /// An operation has yielded, and none has resumed since.
    yielded: AtomicBool,
    /// Operations that have yielded and are not settled yet, by being resumed or cancelled; and how many ever were.
    standing: AtomicU64,
    settled: AtomicU64,
}

impl Budget {
    /// Allows `limit` steps per turn, and never more.
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            start: Instant::now(),
            slice_begin: AtomicU64::new(0),
            last_read: AtomicU64::new(0),
            turns_at_begin: AtomicU64::new(0),
            steps: AtomicU32::new(0),
            next_read: AtomicU32::new(0),
            limit: AtomicU32::new(limit),
            max_limit: limit,
            yielded: AtomicBool::new(false),
            standing: AtomicU64::new(0),
            settled: AtomicU64::new(0),
        }
    }

    /// Allows `steps` per turn from now on, within 1 and the first limit.
    pub(crate) fn limit(&self, steps: u64) {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        self.limit.store(steps.clamp(1, self.max_limit), Ordering::Relaxed);
    }

    /// Leaves no step, so that the next yields.
    pub(crate) fn exhaust(&self) {
        self.steps.store(self.limit.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Counts one step. True if the loop should have a turn first, after which the caller calls [`resume`](Self::resume) for that step;
    /// also true behind somebody who has yet to do so. Not for a step that `waits`, which gives the loop its turn.
    #[inline]
    pub(crate) fn must_yield(
        &self,
        py: Python<'_>,
        own_loop: &OwnLoop,
        waits: impl FnOnce() -> bool,
    ) -> PyResult<bool> {
        let Some(steps) = self.count_without_clock() else {
            return Ok(false);
        };
        let must = self.yielded.load(Ordering::Relaxed) || self.read_clock(py, own_loop, steps, waits)?;
        self.yielded.store(must, Ordering::Relaxed);
        let standing = self.standing.load(Ordering::Relaxed);
        self.standing.store(standing + u64::from(must), Ordering::Relaxed);
        Ok(must)
    }

    /// The loop has had the turn, and the step that waited for it is taken now. What the loop did meanwhile is not the tasks' time.
    pub(crate) fn resume(&self, py: Python<'_>, own_loop: &OwnLoop) -> PyResult<()> {
        if self.yielded.load(Ordering::Relaxed) {
            own_loop
                .turns()
                .has_had_turn(self.turns_at_begin.load(Ordering::Relaxed));
        }
        self.cancel();
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.slice_begin
            .store(nanoseconds(self.start.elapsed()), Ordering::Relaxed);
        self.watch_turn(py, own_loop)
    }

    /// A step that waited is taken now, in a turn of its own.
    pub(crate) fn begin_after_wait(&self) {
        self.begin_slice(nanoseconds(self.start.elapsed()), 1);
    }

    /// The step that waited is not taken after all. Without this call the next operation would yield once
    /// in vain, as it does behind a cancelled `publish_many`.
    pub(crate) fn cancel(&self) {
        self.yielded.store(false, Ordering::Relaxed);
        let (standing, settled) = self.standing();
        self.standing.store(standing.saturating_sub(1), Ordering::Relaxed);
        self.settled.store(settled + 1, Ordering::Relaxed);
    }

    /// How many steps have yielded and are not settled, and how many ever were.
    pub(crate) fn standing(&self) -> (u64, u64) {
        (
            self.standing.load(Ordering::Relaxed),
            self.settled.load(Ordering::Relaxed),
        )
    }

    /// Counts the step if the clock need not be read for it; otherwise returns the number of steps before it.
    #[inline]
    fn count_without_clock(&self) -> Option<u32> {
        let steps = self.steps.load(Ordering::Relaxed);
        let counted = steps < self.next_read.load(Ordering::Relaxed) && steps < self.limit.load(Ordering::Relaxed);
        if counted {
            self.steps.store(steps + 1, Ordering::Relaxed);
        }
        (!counted).then_some(steps)
    }

    fn read_clock(
        &self,
        py: Python<'_>,
        own_loop: &OwnLoop,
        steps: u32,
        waits: impl FnOnce() -> bool,
    ) -> PyResult<bool> {
        let now = nanoseconds(self.start.elapsed());
        // Not swapped: only one thread is here, and an atomic step costs as much as the rest.
        let since = now.saturating_sub(self.last_read.load(Ordering::Relaxed));
        self.last_read.store(now, Ordering::Relaxed);
        let has_steps = steps < self.limit.load(Ordering::Relaxed);
        if has_steps && now.saturating_sub(self.slice_begin.load(Ordering::Relaxed)) < nanoseconds(SLICE) {
            // With a stride of 1, each operation comes here and sees that another one has yielded.
            let is_short = since < nanoseconds(SHORT) && !self.yielded.load(Ordering::Relaxed);
            let stride = if is_short { STRIDE } else { 1 };
            self.next_read.store(steps + stride, Ordering::Relaxed);
            self.steps.store(steps + 1, Ordering::Relaxed);
            return Ok(false);
        }
        let had_turn = own_loop.turns().counted() != self.turns_at_begin.load(Ordering::Relaxed);
        let goes_on = steps == 0 || has_steps && had_turn;
        let gives_turn = !goes_on && waits();
        let is_due = !goes_on && !gives_turn;
        self.begin_slice(now, u32::from(!is_due));
        if goes_on {
            self.watch_turn(py, own_loop)?;
        }
        Ok(is_due)
    }

    fn begin_slice(&self, now: u64, steps: u32) {
        self.slice_begin.store(now, Ordering::Relaxed);
        self.next_read.store(0, Ordering::Relaxed);
        self.steps.store(steps, Ordering::Relaxed);
    }

    /// So that the next slice knows whether the loop had a turn in this one.
    fn watch_turn(&self, py: Python<'_>, own_loop: &OwnLoop) -> PyResult<()> {
        self.turns_at_begin.store(own_loop.turns().counted(), Ordering::Relaxed);
        own_loop.watch_turn(py)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
