//! The hot half of a bus: what it publishes is offered in one native step ([`offer`]). Where that cannot finish, Python's half
//! (`_publish_slow`) waits for room and offers again.
mod methods;
mod publish;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use daemoneye_eventbus_core::broker::Port;
use daemoneye_eventbus_core::client;
use daemoneye_eventbus_core::lock::Mutex;
use daemoneye_eventbus_core::queue::Wake;
use pyo3::prelude::*;

use crate::budget::Budget;
use crate::fork_safe::ForkSafe;
use crate::link::Link;
use crate::local_link::LocalLink;
use crate::loop_thread::LoopThread;
use crate::loop_waker::Notifier;
use crate::statistics::DeliveryTotals;

enum Backend {
    Link(Py<Link>, ForkSafe<Arc<client::Link>>),
    Local(Py<LocalLink>, ForkSafe<Arc<Port>>),
}

impl Backend {
    /// Raises `ForkedProcess` in a forked child.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        match self {
            Self::Link(_, link) => link.get(py).map(drop),
            Self::Local(_, port) => port.get(py).map(drop),
        }
    }
}

// Its name is in the errors for calls with wrong arguments: that of the class which users know.
#[pyclass(name = "EventBus", subclass, frozen, weakref, module = "daemoneye_eventbus._native")]
pub(crate) struct BusCore {
    backend: Backend,
    pub(crate) budget: Budget,
    /// Coroutines that wait for room; newcomers stand behind them.
    waiter_count: AtomicUsize,
    thread: LoopThread,
    /// Wakes the waiters.
    room_waker: Arc<dyn Wake>,
    /// Of its loop; readers there are rung for by what is published in process.
    notifier: Arc<Notifier>,
    closed: AtomicBool,
    /// Through a link; a port counts its own.
    published: AtomicU64,
    totals: Mutex<DeliveryTotals>,
}
