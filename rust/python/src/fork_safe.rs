//! Values that only the process that made them can use.
//!
//! A forked child has the objects of its parent but none of its threads, and locks that were held at the fork stay held there. So
//! everything that relies on a thread or a lock is [`ForkSafe`]: a forked child gets `ForkedProcess` for the value, and never drops it.
use std::sync::atomic::{AtomicU32, Ordering};

use daemoneye_eventbus_core::Error;
use pyo3::prelude::*;

use crate::errors;

/// How many forks lie between this process and the one that loaded the module.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// A value of the process that made it.
pub(crate) struct ForkSafe<T> {
    value: Option<T>,
    generation: u32,
    pid: u32,
}

impl<T> ForkSafe<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: Some(value),
            generation: GENERATION.load(Ordering::Relaxed),
            pid: std::process::id(),
        }
    }

    /// The value, or `ForkedProcess` naming both pids.
    pub(crate) fn get(&self, py: Python<'_>) -> PyResult<&T> {
        self.try_get().ok_or_else(|| self.forked(py))
    }

    /// The value, if this is its process.
    pub(crate) fn try_get(&self) -> Option<&T> {
        self.value
            .as_ref()
            .filter(|_| self.generation == GENERATION.load(Ordering::Relaxed))
    }

    /// The value itself, unless this is a forked child (which forgets it).
    pub(crate) fn into_inner(mut self) -> Option<T> {
        self.try_get()?;
        self.value.take()
    }

    #[cold]
    fn forked(&self, py: Python<'_>) -> PyErr {
        let (owner, current) = (self.pid, std::process::id());
        errors::to_py(py, Error::ForkedProcess { owner, current })
    }
}

impl<T> Drop for ForkSafe<T> {
    fn drop(&mut self) {
        if self.generation != GENERATION.load(Ordering::Relaxed) {
            std::mem::forget(self.value.take());
        }
    }
}

/// In a forked child: everything made before is its parent's.
pub(crate) fn disown_all() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}
