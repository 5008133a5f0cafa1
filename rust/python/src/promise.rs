//! What a loop is asked to call in its next turn, where others rely on it and ask no more.
//!
//! A loop forgets a callback that a signal's handler raises in front of. One that is forgotten or fails is made up for by other means.
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

use crate::calls;

#[pyclass(frozen, module = "daemoneye_eventbus._native")]
pub(crate) struct Promise {
    function: Py<PyAny>,
    is_begun: AtomicBool,
    otherwise: Box<dyn Fn() + Send + Sync>,
}

impl Promise {
    /// `otherwise` may be called in a forked child, and where `function` has done its work.
    pub(crate) fn new(function: Py<PyAny>, otherwise: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            function,
            is_begun: AtomicBool::new(false),
            otherwise: Box::new(otherwise),
        }
    }
}

#[pymethods]
impl Promise {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        self.is_begun.store(true, Ordering::Relaxed);
        let told = calls::call(self.function.bind(py), [], None);
        if told.is_err() {
            (self.otherwise)();
        }
        told.map(drop)
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if !self.is_begun.load(Ordering::Relaxed) {
            (self.otherwise)();
        }
    }
}
