//! Whether an event loop has had a turn, which no loop says by itself: a callback in its next turn counts it, and serves those who stand in
//! the line for that turn ([`PublishLine`]).
//!
//! It is scheduled for who asks ([`LoopTurns::watch`]), one at a time. asyncio drops a callback when a signal handler raises just before it
//! runs; then the loop is woken, and whoever takes its tokens schedules another if there is a line.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pyo3::intern;
use pyo3::prelude::*;

use crate::callback::CallbackWithFallback;
use crate::calls;
use crate::fork_safe::ForkSafe;
use crate::loop_thread;
use crate::loop_waker::Notifier;
use crate::publish_line::PublishLine;

/// One per loop; used on its thread only.
#[pyclass(frozen, module = "daemoneye_eventbus._native")]
pub(crate) struct LoopTurns {
    counted: AtomicU64,
    is_scheduled: Arc<AtomicBool>,
    line: PublishLine,
    notifier: Arc<Notifier>,
}

impl LoopTurns {
    pub(crate) fn new(notifier: Arc<Notifier>) -> Self {
        Self {
            counted: AtomicU64::new(0),
            is_scheduled: Arc::default(),
            line: PublishLine::new(),
            notifier,
        }
    }

    /// A number that grows with each turn that was watched for.
    pub(crate) fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    pub(crate) const fn line(&self) -> &PublishLine {
        &self.line
    }

    /// Has the next turn of the running loop counted if somebody waits in the line.
    pub(crate) fn watch_for_line(slf: &Bound<'_, Self>) -> PyResult<()> {
        if !slf.get().line.has_waiters() {
            return Ok(());
        }
        let running = loop_thread::running(slf.py())?;
        if running.is_none() {
            Ok(())
        } else {
            Self::watch(slf, &running)
        }
    }

    /// Has the next turn of `event_loop`, in which the caller runs, counted.
    pub(crate) fn watch(slf: &Bound<'_, Self>, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
        let (py, turns) = (slf.py(), slf.get());
        if turns.is_scheduled.load(Ordering::Relaxed) {
            return Ok(());
        }
        let is_scheduled = Arc::clone(&turns.is_scheduled);
        let notifier = ForkSafe::new(Arc::clone(&turns.notifier));
        let callback = CallbackWithFallback::new(slf.clone().into_any().unbind(), move || {
            is_scheduled.store(false, Ordering::Relaxed);
            if let Some(notifier) = notifier.try_get() {
                notifier.wake_loop();
            }
        });
        // Before, since the callback may be gone already when a signal handler raises within that.
        turns.is_scheduled.store(true, Ordering::Relaxed);
        let callback = Bound::new(py, callback)?;
        calls::method(intern!(py, "call_soon"), [event_loop, callback.as_any()], None).map(drop)
    }
}

#[pymethods]
impl LoopTurns {
    fn __call__(slf: &Bound<'_, Self>) -> PyResult<()> {
        let turns = slf.get();
        turns.is_scheduled.store(false, Ordering::Relaxed);
        turns.counted.store(turns.counted() + 1, Ordering::Relaxed);
        turns.line.serve(slf.py())?;
        Self::watch_for_line(slf)
    }
}
