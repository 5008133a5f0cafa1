//! A queue between the call that opens it, at a link or a port, and the subscription that reads it.
use std::sync::Arc;

use daemoneye_eventbus_core::broker::LocalSubscription;
use daemoneye_eventbus_core::client::Inbox;
use daemoneye_eventbus_core::lock::Mutex;
use daemoneye_eventbus_core::topic::Pattern;
use daemoneye_eventbus_core::wire::Dialect;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;

use crate::owned::Owned;

/// Where messages come from.
pub(crate) enum Spring {
    Inbox(Arc<Inbox>),
    Local(LocalSubscription),
}

/// A queue on its way into a subscription.
#[pyclass(frozen, module = "daemoneye_eventbus._native")]
pub(crate) struct Source {
    spring: Mutex<Option<Owned<Spring>>>,
    inbox: Option<Owned<Arc<Inbox>>>,
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) dialect: Dialect,
}

impl Source {
    pub(crate) fn new(spring: Spring, patterns: Vec<Pattern>, dialect: Dialect) -> Self {
        let inbox = match &spring {
            Spring::Inbox(inbox) => Some(Owned::new(Arc::clone(inbox))),
            Spring::Local(_) => None,
        };
        Self {
            spring: Mutex::new(Some(Owned::new(spring))),
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

    /// For the one subscription that it is for.
    pub(crate) fn take(&self) -> PyResult<Owned<Spring>> {
        let spring = self.spring.lock().take();
        spring.ok_or_else(|| PyRuntimeError::new_err("this queue has a subscription already"))
    }
}
