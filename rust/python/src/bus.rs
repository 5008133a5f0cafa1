//! The native base class of `EventBus`: the fast path of publishing.
//!
//! A publish is tried in one native step ([`publish`]). Where there is no room, the Python half (`_publish_slow`) waits and tries again.
//! Guarantees: a publish overtakes none that waits for room; what was accepted is written also if the loop never runs again.
mod at_exit;
mod methods;
mod publish;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use daemoneye_eventbus_core::broker::Port;
use daemoneye_eventbus_core::client;
use daemoneye_eventbus_core::lock::Mutex;
use daemoneye_eventbus_core::queue::Wake;
use pyo3::prelude::*;

use crate::fork_safe::ForkSafe;
use crate::link::Link;
use crate::local_link::LocalLink;
use crate::loop_thread::OwnLoop;
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
    /// How many coroutines wait for room. A new publish queues behind them, so that it overtakes none.
    waiter_count: AtomicUsize,
    own_loop: OwnLoop,
    /// Wakes them when there is room.
    room_waker: Arc<dyn Wake>,
    /// That of its loop: a publish in process may wake readers there.
    notifier: Arc<Notifier>,
    closed: AtomicBool,
    /// Publishes through a link; a port counts its own.
    published: AtomicU64,
    totals: Mutex<DeliveryTotals>,
}
