//! A result that leaves an operation in an exception: where `send` or `__next__` is called, and from Python 3.12 on with `await`.
//!
//! The exception, and all that goes with it, is made before the operation takes anything. An event that was taken is counted as
//! delivered, so it must not turn out then that there is no memory to hand it over with.
use pyo3::exceptions::PyStopIteration;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::calls;

/// One that carries nothing yet.
#[derive(Default)]
pub(crate) struct StopIteration(Option<Py<PyAny>>);

impl StopIteration {
    pub(crate) fn prepare(&mut self, py: Python<'_>) -> PyResult<()> {
        value_name(py);
        self.0 = Some(calls::call(py.get_type::<PyStopIteration>().as_any(), [], None)?.unbind());
        Ok(())
    }

    /// The exception with this result, for which nothing more is allocated if it was prepared.
    pub(crate) fn with_value(self, py: Python<'_>, value: Py<PyAny>) -> PyErr {
        match self.0.map(|stop| stop.into_bound(py)) {
            None => PyStopIteration::new_err((value,)),
            Some(stop) => match stop.setattr(value_name(py), value) {
                Ok(()) => PyErr::from_value(stop),
                Err(error) => error,
            },
        }
    }
}

/// Made at its first use.
fn value_name(py: Python<'_>) -> &Bound<'_, PyString> {
    intern!(py, "value")
}
