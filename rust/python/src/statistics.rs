//! The statistics of one bus: what became of the messages that its subscriptions matched.
use std::sync::Arc;

use daemoneye_eventbus_core::client::Inbox;
use daemoneye_eventbus_core::queue::{Queue, Snapshot};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};

/// The queue of a subscription, kept beyond its Python object until its counters are final.
pub(crate) enum Tracked {
    Inbox(Arc<Inbox>),
    Local(Arc<Queue>),
}

impl Tracked {
    /// Whether its counters are final: for a moment after it was closed, it may still lose what is on its way to it.
    fn is_finished(&self) -> bool {
        match self {
            Self::Inbox(inbox) => inbox.queue.is_closed() && inbox.is_detached(),
            Self::Local(queue) => queue.is_closed(),
        }
    }

    fn queue(&self) -> &Queue {
        match self {
            Self::Inbox(inbox) => &inbox.queue,
            Self::Local(queue) => queue,
        }
    }
}

/// The counters of all subscriptions of one bus, including those that ended.
#[derive(Default)]
pub(crate) struct DeliveryTotals {
    open: Vec<Tracked>,
    past: Snapshot,
    sweep_at: usize,
}

impl DeliveryTotals {
    pub(crate) fn track(&mut self, queue: Tracked) {
        // Swept whenever it has doubled, so that the ten-thousandth subscription costs what the tenth did.
        if self.open.len() >= self.sweep_at {
            self.total();
            self.sweep_at = 2 * self.open.len() + 16;
        }
        self.open.push(queue);
    }

    /// Sums up, and drops queues that ended and are empty.
    pub(crate) fn total(&mut self) -> Snapshot {
        let mut sum = self.past;
        let past = &mut self.past;
        self.open.retain(|tracked| {
            let now = tracked.queue().snapshot();
            let over = tracked.is_finished() && now.messages == 0;
            sum.add_settled(&now);
            if over {
                past.add_settled(&now);
            }
            !over
        });
        sum
    }
}

/// What was lost, by reason; only what happened is named.
pub(crate) fn dropped<'py>(py: Python<'py>, snapshot: &Snapshot) -> PyResult<Bound<'py, PyDict>> {
    let lost = snapshot.dropped().filter(|(_, count)| *count > 0);
    lost.map(|(reason, count)| (reason.name(), count)).into_py_dict(py)
}
