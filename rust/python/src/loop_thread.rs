//! The thread of the event loop that an object belongs to, compared by the address of a thread-local.
use daemoneye_eventbus_core::Error;
use pyo3::prelude::*;

use crate::errors::to_py;

fn current() -> usize {
    thread_local!(static MARK: u8 = const { 0 });
    MARK.with(|mark| std::ptr::from_ref(mark).addr())
}

pub(crate) struct LoopThread(usize);

impl LoopThread {
    /// That of the caller, who makes the object in its loop.
    pub(crate) fn current() -> Self {
        Self(current())
    }

    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        self.0 == current()
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
