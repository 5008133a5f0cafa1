//! `publish_nowait` of an exit handler that runs behind the package's own, when the thread that writes what is left to it has ended.
//!
//! What is taken is written there and then. What the kernel does not take is warned of, and nothing more is taken before it is written.
use daemoneye_eventbus_core::client::Sent;
use pyo3::prelude::*;

use super::{Backend, BusCore};

impl BusCore {
    /// Writes what was published. False if the kernel has not taken all of it.
    #[cold]
    pub(super) fn write_now(&self, py: Python<'_>) -> PyResult<bool> {
        let Backend::Link(_, link) = &self.backend else {
            return Ok(true);
        };
        let link = link.get(py)?;
        // Nobody waits for the kernel any more, so it is asked each time.
        link.flush_elsewhere();
        while link.flush() == Sent::Buffered {}
        Ok(link.local_statistics().unsent == 0)
    }
}
