//! A cooperative budget: how many steps tasks take before the loop has a turn, for calls that never have to wait.
//!
//! Guarantees: one task keeps the loop for about two [`SLICE`]s at most, and for no more steps than the limit. A step that comes later than
//! that goes on at once if the loop has had a turn meanwhile.
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::loop_thread::OwnLoop;

/// How long tasks run before it is asked whether the loop has had a turn.
const SLICE: Duration = Duration::from_millis(1);
/// Reading the clock costs a tenth of a step: while steps are short, it is read once for so many.
const STRIDE: u32 = 8;
/// Steps are short if a stride of them takes a small part of the slice.
const SHORT: Duration = Duration::from_micros(100);

/// Nobody has counted turns in this slice. Most slices end by their steps, long before anybody would ask.
const UNWATCHED: u64 = u64::MAX;

/// Counts steps taken without giving the loop a turn; used on the loop's thread only.
pub(crate) struct Budget {
    start: Instant,
    /// Nanoseconds from `start` to the beginning of the slice, and to when the clock was last read.
    slice_begin: AtomicU64,
    last_read: AtomicU64,
    /// Turns of the loop that were counted when the slice began, or [`UNWATCHED`].
    turns_at_begin: AtomicU64,
    steps: AtomicU32,
    /// The step before which the clock is read next.
    next_read: AtomicU32,
    /// Steps that this slice allows, and that any does.
    limit: AtomicU32,
    max_limit: u32,
}

impl Budget {
    /// Allows `limit` steps per turn.
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            start: Instant::now(),
            slice_begin: AtomicU64::new(0),
            last_read: AtomicU64::new(0),
            turns_at_begin: AtomicU64::new(UNWATCHED),
            steps: AtomicU32::new(0),
            next_read: AtomicU32::new(0),
            limit: AtomicU32::new(limit),
            max_limit: limit,
        }
    }

    /// Steps of this slice.
    pub(crate) fn steps(&self) -> u32 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Takes a step, whether or not there is one.
    pub(crate) fn count_step(&self) {
        self.steps.store(self.steps().saturating_add(1), Ordering::Relaxed);
    }

    /// Leaves no step, so that the loop is due a turn.
    pub(crate) fn exhaust(&self) {
        self.limit.store(self.steps(), Ordering::Relaxed);
    }

    /// Has the next step taken with [`take_step`](Self::take_step).
    pub(crate) fn hold(&self) {
        self.hold_from(0);
    }

    /// Has a step behind so many taken with that.
    pub(crate) fn hold_from(&self, steps: u32) {
        let next_read = self.next_read.load(Ordering::Relaxed).min(steps);
        self.next_read.store(next_read, Ordering::Relaxed);
    }

    /// Takes one step if there is nothing to look at first.
    #[inline]
    pub(crate) fn take_short_step(&self) -> bool {
        let steps = self.steps();
        let taken = steps < self.next_read.load(Ordering::Relaxed) && steps < self.limit();
        if taken {
            self.steps.store(steps + 1, Ordering::Relaxed);
        }
        taken
    }

    /// Takes one step; false if the loop is due a turn first. Not for a step that `waits`, which gives the loop its turn.
    pub(crate) fn take_step(&self, py: Python<'_>, own_loop: &OwnLoop, waits: impl FnOnce() -> bool) -> PyResult<bool> {
        let steps = self.steps();
        let now = nanoseconds(self.start.elapsed());
        // Not swapped: only one thread is here, and an atomic step costs as much as the rest.
        let since = now.saturating_sub(self.last_read.load(Ordering::Relaxed));
        self.last_read.store(now, Ordering::Relaxed);
        if steps < self.limit() && self.is_within_slice(now) {
            let stride = if since < nanoseconds(SHORT) { STRIDE } else { 1 };
            self.next_read.store(steps + stride, Ordering::Relaxed);
            self.steps.store(steps + 1, Ordering::Relaxed);
            return Ok(true);
        }
        let counted = own_loop.turns().counted();
        match self.turns_at_begin.load(Ordering::Relaxed) {
            // It cannot be told. The slice goes on for as long again, in which it can.
            UNWATCHED if steps < self.limit() => {
                self.begin_slice_at(now, steps + 1);
                self.watch_turn(py, own_loop, counted)?;
            }
            before if steps < self.limit() && before != counted => {
                self.begin_slice_at(now, 1);
                self.watch_turn(py, own_loop, counted)?;
            }
            _ if waits() => self.begin_slice_at(now, 1),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn watch_turn(&self, py: Python<'_>, own_loop: &OwnLoop, counted: u64) -> PyResult<()> {
        self.turns_at_begin.store(counted, Ordering::Relaxed);
        own_loop.watch_turn(py)
    }

    /// Whether the loop is due no turn before the next step.
    pub(crate) fn has_room(&self) -> bool {
        self.steps() < self.limit() && self.is_within_slice(nanoseconds(self.start.elapsed()))
    }

    /// The loop has had a turn: a slice begins, of which `steps` are taken.
    pub(crate) fn begin_slice(&self, steps: u32) {
        self.begin_slice_at(nanoseconds(self.start.elapsed()), steps);
    }

    fn is_within_slice(&self, now: u64) -> bool {
        now.saturating_sub(self.slice_begin.load(Ordering::Relaxed)) < nanoseconds(SLICE)
    }

    fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    fn begin_slice_at(&self, now: u64, steps: u32) {
        self.limit.store(self.max_limit, Ordering::Relaxed);
        self.slice_begin.store(now, Ordering::Relaxed);
        self.turns_at_begin.store(UNWATCHED, Ordering::Relaxed);
        self.next_read.store(0, Ordering::Relaxed);
        self.steps.store(steps, Ordering::Relaxed);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
