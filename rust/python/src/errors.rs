//! The one conversion from the core's errors to the exceptions of `daemoneye_eventbus.errors`.
//!
//! The classes are written in Python; a kind here names its class and hands over its facts as keywords.
use daemoneye_eventbus_core::error::DecodeError;
use daemoneye_eventbus_core::{Error, Result};
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyDict, PyModule, PyString};

use crate::calls;

static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

/// The exception for `error`; if making it fails, the failure.
#[cold]
pub(crate) fn to_py(py: Python<'_>, error: Error) -> PyErr {
    convert(py, error).unwrap_or_else(|failure| failure)
}

/// A core error at a Python caller.
pub(crate) fn raise<T>(py: Python<'_>, result: Result<T>) -> PyResult<T> {
    result.map_err(|error| to_py(py, error))
}

#[cold]
pub(crate) fn decode_error(py: Python<'_>, error: DecodeError) -> PyErr {
    to_py(py, error.into())
}

fn convert(py: Python<'_>, error: Error) -> PyResult<PyErr> {
    let message = error.to_string();
    let (class, facts) = match error {
        Error::ConnectionClosed(_) | Error::Lifecycle(_) => ("ConnectionClosed", PyDict::new(py)),
        Error::ConnectionLost(_) => ("ConnectionLost", PyDict::new(py)),
        Error::SubscriptionClosed(id) => ("SubscriptionClosed", [("subscriber_id", id)].into_py_dict(py)?),
        Error::ConnectTimeout {
            path, timeout, cause, ..
        } => {
            let facts = [("path", path.as_os_str())].into_py_dict(py)?;
            facts.set_item("cause", cause)?;
            facts.set_item("timeout", timeout.as_secs_f64())?;
            ("ConnectTimeout", facts)
        }
        Error::BrokerBusy(_) => ("BrokerBusy", PyDict::new(py)),
        Error::BrokerAlreadyRunning { path, pid, .. } => {
            let facts = [("path", path.as_os_str())].into_py_dict(py)?;
            facts.set_item("pid", pid)?;
            ("BrokerAlreadyRunning", facts)
        }
        Error::PathRefused { path, reason } => {
            let facts = [("path", path.as_os_str())].into_py_dict(py)?;
            facts.set_item("reason", reason)?;
            ("PathRefused", facts)
        }
        Error::PermissionRefused { uid, reason, topic } => {
            let facts = [("reason", reason)].into_py_dict(py)?;
            facts.set_item("uid", uid)?;
            facts.set_item("topic", topic)?;
            ("PermissionRefused", facts)
        }
        Error::AuthenticationFailed(_) => ("AuthenticationFailed", PyDict::new(py)),
        Error::Protocol(_) => ("ProtocolError", PyDict::new(py)),
        Error::Decode(error) => {
            let facts = [("dialect", error.dialect), ("reason", &error.reason)].into_py_dict(py)?;
            facts.set_item("offset", error.offset)?;
            ("DecodeError", facts)
        }
        Error::FrameTooLarge { size, limit } | Error::TextTooLarge { size, limit } => {
            ("FrameTooLarge", [("size", size), ("limit", limit)].into_py_dict(py)?)
        }
        Error::Topic(error) => (
            "TopicError",
            [("topic", error.topic), ("reason", error.kind)].into_py_dict(py)?,
        ),
        Error::Pattern(error) => (
            "PatternError",
            [("pattern", error.pattern), ("reason", error.kind)].into_py_dict(py)?,
        ),
        Error::SubscriptionRefused { reason, limit } => {
            let facts = [("reason", reason)].into_py_dict(py)?;
            facts.set_item("limit", (limit != 0).then_some(limit))?;
            ("SubscriptionRefused", facts)
        }
        Error::PublishTimeout(timeout) => ("PublishTimeout", [("timeout", timeout.as_secs_f64())].into_py_dict(py)?),
        Error::PublishNotSupported(_) => ("PublishNotSupported", PyDict::new(py)),
        Error::WouldBlock(_) => ("WouldBlock", PyDict::new(py)),
        Error::WrongLoop(_) => ("WrongLoop", PyDict::new(py)),
        Error::ForkedProcess { owner, current } => (
            "ForkedProcess",
            [("owner_pid", owner), ("current_pid", current)].into_py_dict(py)?,
        ),
        Error::NoMemory(_) => return Ok(PyMemoryError::new_err(message)),
        Error::Invalid { .. } => return Ok(PyValueError::new_err(message)),
        Error::Io { action, cause, errno } => {
            let facts = [("action", action), ("cause", cause)].into_py_dict(py)?;
            facts.set_item("errno", errno)?;
            ("TransportError", facts)
        }
    };
    let module = MODULE.get_or_try_init(py, || py.import("daemoneye_eventbus.errors").map(Bound::unbind))?;
    let class = module.bind(py).getattr(class)?;
    let message = PyString::new(py, &message);
    calls::call(&class, [&message], Some(&facts)).map(PyErr::from_value)
}
