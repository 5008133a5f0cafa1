//! The thread of the event loop that an object belongs to, by a number that no other thread of the process ever has.
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use daemoneye_eventbus_core::Error;
use pyo3::prelude::*;

use crate::errors::to_py;

thread_local! {
    /// Zero until the thread makes an object.
    static NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// Never of the number zero.
pub(crate) struct LoopThread(u64);

impl LoopThread {
    /// That of the caller, who makes the object in its loop.
    pub(crate) fn current() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        if NUMBER.get() == 0 {
            NUMBER.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        Self(NUMBER.get())
    }

    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        self.0 == NUMBER.get()
    }

    /// Refuses callers of another thread.
    #[inline]
    pub(crate) fn check(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_current() { Ok(()) } else { Err(wrong_loop(py)) }
    }
}

#[cold]
fn wrong_loop(py: Python<'_>) -> PyErr {
    let reason = "this belongs to the event loop of another thread; make a bus here, or use publish_nowait";
    to_py(py, Error::WrongLoop(reason.to_owned()))
}
