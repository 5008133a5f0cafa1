//! What a loop is asked to call in its next turn, where others rely on it and ask no more.
//!
//! A loop forgets a callback that a signal's handler raises in front of. One that is forgotten or fails is made up for by other means.
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
    /// `fallback` may be called in a forked child, and where `function` has done its work.
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
