//! The life of native objects across fork and interpreter exit.
//!
//! A forked child has the objects of its parent but none of its threads, and locks that were held at the fork stay held there. So
//! everything that owns a thread's work or a lock is [`Owned`]: the child is refused at each entry and forgets on drop.
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use daemoneye_eventbus_core::Error;
use pyo3::prelude::*;

use crate::errors;

/// How many forks lie between this process and the one that loaded the module.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// A value of the process that made it.
pub(crate) struct Owned<T> {
    value: Option<T>,
    generation: u32,
    pid: u32,
}

impl<T> Owned<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: Some(value),
            generation: GENERATION.load(Ordering::Relaxed),
            pid: std::process::id(),
        }
    }

    /// The value, or `ForkedProcess` naming both pids.
    pub(crate) fn get(&self, py: Python<'_>) -> PyResult<&T> {
        self.here().ok_or_else(|| self.forked(py))
    }

    /// The value, if this is its process.
    pub(crate) fn here(&self) -> Option<&T> {
        self.value
            .as_ref()
            .filter(|_| self.generation == GENERATION.load(Ordering::Relaxed))
    }

    /// The value itself, unless this is a forked child (which forgets it).
    pub(crate) fn into_inner(mut self) -> Option<T> {
        self.here()?;
        self.value.take()
    }

    #[cold]
    fn forked(&self, py: Python<'_>) -> PyErr {
        let (owner, current) = (self.pid, std::process::id());
        errors::to_py(py, Error::ForkedProcess { owner, current })
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if self.generation != GENERATION.load(Ordering::Relaxed) {
            std::mem::forget(self.value.take());
        }
    }
}

/// Set when the interpreter ends: nobody is left to hear or to be told.
static EXITING: AtomicBool = AtomicBool::new(false);

pub(crate) fn is_exiting() -> bool {
    EXITING.load(Ordering::Relaxed)
}

/// The first thing done at exit: threads that go on publishing are no longer told that their bus is gone.
#[pyfunction]
pub(crate) fn begin_exit() {
    EXITING.store(true, Ordering::Relaxed);
}

/// Registered with `os.register_at_fork`: closes what a child must not keep alive, and disowns everything made before.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    daemoneye_eventbus_core::transport::close_in_forked_child();
    daemoneye_eventbus_core::client::abandon_after_fork();
    crate::logs::begin_anew();
    // Parent and child must not go on to make the same ids.
    fastrand::seed(u64::from(std::process::id()) ^ fastrand::u64(..).rotate_left(32));
}

/// Registered with `atexit`: stops the thread behind all links, `timeout` seconds at most.
#[pyfunction]
pub(crate) fn shut_down_clients(py: Python<'_>, timeout: f64) {
    let timeout = Duration::try_from_secs_f64(timeout).unwrap_or_default();
    py.detach(|| daemoneye_eventbus_core::client::shut_down_runtime(timeout));
}
