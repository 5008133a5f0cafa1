//! A callback for the loop's next turn that others rely on: while it is scheduled, nobody schedules another.
//!
//! asyncio drops a callback when a signal handler raises just before it runs. So one that is dropped, or fails, calls a fallback.
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

use crate::calls;

#[pyclass(frozen, module = "daemoneye_eventbus._native")]
pub(crate) struct CallbackWithFallback {
    function: Py<PyAny>,
    has_begun: AtomicBool,
    fallback: Box<dyn Fn() + Send + Sync>,
}

impl CallbackWithFallback {
    /// `fallback` must allow being called in a forked child, and after `function` has done its work.
    pub(crate) fn new(function: Py<PyAny>, fallback: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            function,
            has_begun: AtomicBool::new(false),
            fallback: Box::new(fallback),
        }
    }
}

#[pymethods]
impl CallbackWithFallback {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        self.has_begun.store(true, Ordering::Relaxed);
        let result = calls::call(self.function.bind(py), [], None);
        if result.is_err() {
            (self.fallback)();
        }
        result.map(drop)
    }
}

impl Drop for CallbackWithFallback {
    fn drop(&mut self) {
        if !self.has_begun.load(Ordering::Relaxed) {
            (self.fallback)();
        }
    }
}
