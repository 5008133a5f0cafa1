//! A second `await` of an operation.
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use crate::calls;

/// What such an `await` iterates over: refuses the next step, and passes `close` on. Not refused at once, since it may be the first await
/// of `anext` with a default that is given up outside of its task, which only closes it.
#[pyclass(frozen, module = "daemoneye_eventbus._native")]
pub(crate) struct SecondAwait {
    operation: Py<PyAny>,
    refusal: String,
}

impl SecondAwait {
    pub(crate) fn of<'py>(operation: &Bound<'py, PyAny>, refusal: String) -> PyResult<Bound<'py, PyAny>> {
        let (py, operation) = (operation.py(), operation.clone().unbind());
        Bound::new(py, Self { operation, refusal }).map(Bound::into_any)
    }
}

#[pymethods]
impl SecondAwait {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self) -> PyResult<()> {
        Err(PyRuntimeError::new_err(self.refusal.clone()))
    }

    fn send(&self, _value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.__next__()
    }

    #[pyo3(signature = (*_thrown))]
    fn throw(&self, _thrown: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.__next__()
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        calls::method(intern!(py, "close"), [self.operation.bind(py)], None).map(drop)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.operation)
    }
}

/// The running task; `None` where there is none, as when `send` is called without a loop.
pub(crate) fn running_task(py: Python<'_>) -> PyResult<Py<PyAny>> {
    static CURRENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    match calls::call(CURRENT.import(py, "asyncio", "current_task")?, [], None) {
        Err(error) if error.is_instance_of::<PyRuntimeError>(py) => Ok(py.None()),
        task => task.map(Bound::unbind),
    }
}
