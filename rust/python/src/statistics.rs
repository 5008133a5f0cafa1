//! Counters by reason, as dicts that name only what happened.
use daemoneye_eventbus_core::queue::Snapshot;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};

/// What was lost, by reason.
pub(crate) fn dropped<'py>(py: Python<'py>, snapshot: &Snapshot) -> PyResult<Bound<'py, PyDict>> {
    let lost = snapshot.dropped().filter(|(_, count)| *count > 0);
    lost.map(|(reason, count)| (reason.name(), count)).into_py_dict(py)
}
