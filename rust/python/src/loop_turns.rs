//! Whether an event loop has had a turn, which no loop says by itself: a callback in its next turn counts it.
//!
//! It is scheduled for who asks ([`LoopTurns::watch`]), one at a time. A turn that is not counted, since a signal handler that raised has
//! cost the callback, makes the loop be taken for one that had none.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pyo3::intern;
use pyo3::prelude::*;

use crate::callback::CallbackWithFallback;
use crate::calls;

/// One per loop; used on its thread only.
#[pyclass(frozen, module = "daemoneye_eventbus._native")]
pub(crate) struct LoopTurns {
    counted: AtomicU64,
    is_scheduled: Arc<AtomicBool>,
}

impl LoopTurns {
    pub(crate) fn new() -> Self {
        Self {
            counted: AtomicU64::new(0),
            is_scheduled: Arc::default(),
        }
    }

    /// A number that grows with each turn that was watched for.
    pub(crate) fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    /// Has the next turn of `event_loop`, in which the caller runs, counted.
    pub(crate) fn watch(slf: &Bound<'_, Self>, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
        let (py, turns) = (slf.py(), slf.get());
        if turns.is_scheduled.load(Ordering::Relaxed) {
            return Ok(());
        }
        let is_scheduled = Arc::clone(&turns.is_scheduled);
        let lost = move || is_scheduled.store(false, Ordering::Relaxed);
        let callback = Bound::new(py, CallbackWithFallback::new(slf.clone().into_any().unbind(), lost))?;
        // Before, since the callback may be gone already when a signal handler raises within that.
        turns.is_scheduled.store(true, Ordering::Relaxed);
        calls::method(intern!(py, "call_soon"), [event_loop, callback.as_any()], None).map(drop)
    }
}

#[pymethods]
impl LoopTurns {
    fn __call__(&self) {
        self.is_scheduled.store(false, Ordering::Relaxed);
        self.counted.store(self.counted() + 1, Ordering::Relaxed);
    }
}
