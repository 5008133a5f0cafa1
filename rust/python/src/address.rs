//! `Address`: the path of a broker's socket or pipe, checked when it is made.
use std::path::PathBuf;

use daemoneye_eventbus_core::transport;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::errors::raise;

#[pyclass(frozen, eq, hash, module = "daemoneye_eventbus._native")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Address(transport::Address);

impl Address {
    pub(crate) const fn of_core(address: transport::Address) -> Self {
        Self(address)
    }

    pub(crate) const fn core(&self) -> &transport::Address {
        &self.0
    }
}

/// Pid and uid of the process at the other end of a connected socket, as the kernel reports them to a client.
#[cfg(unix)]
#[pyfunction]
#[pyo3(signature = (descriptor, /))]
pub(crate) fn _peer_of(descriptor: i32) -> PyResult<(Option<u32>, u32)> {
    let peer = transport::peer_of(descriptor)?;
    Ok((peer.pid, peer.uid))
}

#[pymethods]
impl Address {
    /// Exactly one of both.
    #[new]
    #[pyo3(signature = (path=None, instance=None))]
    fn new(py: Python<'_>, path: Option<PathBuf>, instance: Option<&Bound<'_, PyString>>) -> PyResult<Self> {
        let address = match (path, instance) {
            (Some(path), None) => transport::Address::from_path(&path),
            // What is not Unicode becomes U+FFFD, which no valid name has, so it is refused.
            (None, Some(instance)) => transport::Address::from_instance(&instance.to_string_lossy()),
            _ => Err(daemoneye_eventbus_core::Error::invalid(
                "path",
                "give either path or instance",
            )),
        };
        raise(py, address).map(Self)
    }

    #[getter]
    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    /// Checks the directories on the way for a broker of user `uid`, changing nothing; raises `PathRefused` as a broker would. False:
    /// one is missing and would be made.
    #[cfg(unix)]
    fn is_trusted(&self, py: Python<'_>, uid: u32) -> PyResult<bool> {
        match self.0.path().parent() {
            Some(directory) => raise(py, transport::is_trusted(directory, uid)),
            None => Ok(false),
        }
    }

    /// What the library raises where the system refuses to connect here with `errno`, and whether it tries again, for what has not been
    /// connected before.
    #[cfg(unix)]
    fn dial_error(&self, py: Python<'_>, errno: i32) -> (Py<PyAny>, bool) {
        let cause = std::io::Error::from_raw_os_error(errno);
        let refused = transport::dial_error(self.0.path(), &cause);
        let error = crate::errors::to_py(py, refused.error).into_value(py).into_any();
        (error, refused.retry == transport::Retry::Yes)
    }
}
