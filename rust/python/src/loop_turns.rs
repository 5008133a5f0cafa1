//! Whether an event loop has had a turn, which no loop says by itself: a callback in its next turn counts it.
//!
//! It is scheduled for who asks ([`LoopTurns::watch`]), one at a time. asyncio drops a callback when a signal handler raises just before it
//! runs: then a turn is missed, and the loop is taken for one that had none until somebody knows better ([`LoopTurns::has_had_turn`]).
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pyo3::intern;
use pyo3::prelude::*;

use crate::calls;

/// One per loop; its atomics are used on the loop's thread only.
#[pyclass(frozen, module = "daemoneye_eventbus._native")]
pub(crate) struct LoopTurns {
    counted: AtomicU64,
    is_scheduled: AtomicBool,
}

impl LoopTurns {
    pub(crate) const fn new() -> Self {
        Self {
            counted: AtomicU64::new(0),
            is_scheduled: AtomicBool::new(false),
        }
    }

    /// A number that grows with each turn that was watched for.
    pub(crate) fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    /// The loop has had a turn since `counted` was `before` and somebody watched for it: if that was not counted, the callback is lost.
    pub(crate) fn has_had_turn(&self, before: u64) {
        if self.counted() == before {
            self.is_scheduled.store(false, Ordering::Relaxed);
        }
    }

    /// Has the next turn of `event_loop`, in which the caller runs, counted.
    pub(crate) fn watch(slf: &Bound<'_, Self>, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
        let is_scheduled = &slf.get().is_scheduled;
        if !is_scheduled.load(Ordering::Relaxed) {
            calls::method(intern!(slf.py(), "call_soon"), [event_loop, slf.as_any()], None)?;
            // Not before: a signal handler may raise within that.
            is_scheduled.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[pymethods]
impl LoopTurns {
    fn __call__(&self) {
        self.is_scheduled.store(false, Ordering::Relaxed);
        self.counted.store(self.counted() + 1, Ordering::Relaxed);
    }
}
