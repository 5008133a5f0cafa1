//! How far a publish has come that cannot be done in one native step.
//!
//! Guarantee: what was accepted is counted in the very step that accepts it, so that no signal handler that raises behind it, before the
//! caller has the result, makes the count wrong.
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use daemoneye_eventbus_core::broker::PendingPublish;
use daemoneye_eventbus_core::lock::Mutex;
use pyo3::prelude::*;

use crate::fork_safe::ForkSafe;
use crate::publish_request::PublishOutcome;

/// That of one `publish` that waits for room, or of one `publish_many`.
#[pyclass(frozen, module = "daemoneye_eventbus._native")]
#[derive(Default)]
pub(crate) struct PublishProgress {
    accepted: AtomicUsize,
    /// An in-process publish that some readers had no room for yet.
    pending: Mutex<Option<ForkSafe<PendingPublish>>>,
}

impl PublishProgress {
    pub(crate) fn waiting_with(pending: Option<PendingPublish>) -> Self {
        Self {
            pending: Mutex::new(pending.map(ForkSafe::new)),
            ..Self::default()
        }
    }

    /// Counts what was accepted, and keeps what is left. True if all of it was accepted.
    pub(crate) fn advance(&self, outcome: PublishOutcome) -> PyResult<bool> {
        match outcome {
            PublishOutcome::Full(pending) => {
                *self.pending.lock() = pending.map(ForkSafe::new);
                return Ok(false);
            }
            PublishOutcome::Accepted => self.note_accepted(),
            PublishOutcome::Interrupted(error) => {
                self.note_accepted();
                return Err(error);
            }
        }
        Ok(true)
    }

    fn note_accepted(&self) {
        // Whoever is here has the interpreter's lock, so this needs no atomic addition.
        let accepted = self.accepted.load(Ordering::Relaxed) + 1;
        self.accepted.store(accepted, Ordering::Relaxed);
    }

    /// What has begun and is not done, to go on with.
    pub(crate) fn take_pending(&self) -> Option<PendingPublish> {
        let pending = self.pending.lock().take();
        pending.and_then(ForkSafe::into_inner)
    }
}

#[pymethods]
impl PublishProgress {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// How many events were accepted.
    #[getter]
    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Seconds until it is to be tried again, woken or not: readers that take nothing may not be waited for any longer. `None` if nothing
    /// has begun.
    #[getter]
    fn retry_in(&self) -> Option<f64> {
        let pending = self.pending.lock();
        let at = pending.as_ref().and_then(ForkSafe::try_get)?.retry_at();
        Some(at.saturating_duration_since(Instant::now()).as_secs_f64())
    }

    /// Ends the wait for those readers; a call, since a traceback may keep this object alive for long. Returns how many were accepted: the
    /// one under way too, if other readers have it, which makes it published.
    fn give_up(&self) -> usize {
        if self.take_pending().is_some_and(PendingPublish::give_up) {
            self.note_accepted();
        }
        self.accepted()
    }
}
