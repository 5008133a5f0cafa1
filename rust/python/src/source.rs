//! `Source`: a queue that was opened at a link, on its way to the subscription that will read it.
use std::sync::Arc;

use daemoneye_eventbus_core::broker::LocalSubscription;
use daemoneye_eventbus_core::client::Inbox;
use daemoneye_eventbus_core::lock::Mutex;
use daemoneye_eventbus_core::topic::Pattern;
use daemoneye_eventbus_core::wire::Dialect;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;

use crate::fork_safe::ForkSafe;

/// What a subscription reads its messages from.
pub(crate) enum Receiver {
    Inbox(Arc<Inbox>),
    Local(LocalSubscription),
}

/// A queue on its way into a subscription.
#[pyclass(frozen, module = "daemoneye_eventbus._native")]
pub(crate) struct Source {
    receiver: Mutex<Option<ForkSafe<Receiver>>>,
    inbox: Option<ForkSafe<Arc<Inbox>>>,
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) dialect: Dialect,
}

impl Source {
    pub(crate) fn new(receiver: Receiver, patterns: Vec<Pattern>, dialect: Dialect) -> Self {
        let inbox = match &receiver {
            Receiver::Inbox(inbox) => Some(ForkSafe::new(Arc::clone(inbox))),
            Receiver::Local(_) => None,
        };
        Self {
            receiver: Mutex::new(Some(ForkSafe::new(receiver))),
            inbox,
            patterns,
            dialect,
        }
    }

    pub(crate) fn inbox(&self, py: Python<'_>) -> PyResult<Arc<Inbox>> {
        match &self.inbox {
            Some(inbox) => inbox.get(py).map(Arc::clone),
            None => Err(PyTypeError::new_err("this queue is in process")),
        }
    }

    /// Gives it to the one subscription that will read it.
    pub(crate) fn take(&self) -> PyResult<ForkSafe<Receiver>> {
        let receiver = self.receiver.lock().take();
        receiver.ok_or_else(|| PyRuntimeError::new_err("this queue has a subscription already"))
    }
}
