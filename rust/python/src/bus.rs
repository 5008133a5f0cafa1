//! The hot half of a bus: what it publishes is offered in one native step ([`offer`]). Where that cannot finish, Python's half
//! (`_publish_slow`) waits for room and offers again.
mod methods;
mod offer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use daemoneye_eventbus_core::broker::Port;
use daemoneye_eventbus_core::client;
use daemoneye_eventbus_core::lock::Mutex;
use daemoneye_eventbus_core::queue::Wake;
use pyo3::prelude::*;

use crate::doorbell::Bell;
use crate::link::Link;
use crate::loop_thread::LoopThread;
use crate::owned::Owned;
use crate::pace::Pace;
use crate::port::PortHandle;
use crate::statistics::Account;

enum Way {
    Link(Py<Link>, Owned<Arc<client::Link>>),
    Port(Py<PortHandle>, Owned<Arc<Port>>),
}

impl Way {
    /// Raises `ForkedProcess` in a forked child.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        match self {
            Self::Link(_, link) => link.get(py).map(drop),
            Self::Port(_, port) => port.get(py).map(drop),
        }
    }
}

// Its name is in the errors for calls with wrong arguments: that of the class which users know.
#[pyclass(name = "EventBus", subclass, frozen, weakref, module = "daemoneye_eventbus._native")]
pub(crate) struct BusCore {
    way: Way,
    pub(crate) pace: Pace,
    /// Coroutines that wait for room; newcomers stand behind them.
    queue_of_waiters: AtomicUsize,
    thread: LoopThread,
    /// Wakes the waiters.
    room: Arc<dyn Wake>,
    /// Of its loop; readers there are rung for by what is published in process.
    bell: Arc<Bell>,
    closed: AtomicBool,
    /// Through a link; a port counts its own.
    published: AtomicU64,
    account: Mutex<Account>,
}
