//! The `StopIteration` that holds an operation's result: from `send` and `__next__`, and from Python 3.12 on in `await`.
//!
//! It is allocated, with all that it needs, before the operation takes a message: an event that was taken counts as delivered, so nothing
//! may fail for lack of memory after that.
use pyo3::exceptions::PyStopIteration;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::calls;

/// One without a value yet.
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
