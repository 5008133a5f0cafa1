//! `LocalLink`: how a bus in the broker's process reaches its broker, without a socket.
use std::sync::Arc;

use daemoneye_eventbus_core::broker::{BrokerConfig, Port};
use daemoneye_eventbus_core::wire::Dialect;
use pyo3::prelude::*;

use crate::callback::CallbackWithFallback;
use crate::config::{self, QueueOptionsFields};
use crate::errors::raise;
use crate::flush_scheduled::FlushScheduled;
use crate::fork_safe::ForkSafe;
use crate::loop_waker::LoopWaker;
use crate::source::{Receiver, Source};
use crate::types;

#[pyclass(frozen, module = "daemoneye_eventbus._native")]
pub(crate) struct LocalLink {
    port: ForkSafe<Arc<Port>>,
    pub(crate) dialect: Dialect,
    pub(crate) flush: FlushScheduled,
}

impl LocalLink {
    pub(crate) fn new(port: Port, config: &BrokerConfig) -> Self {
        Self {
            port: ForkSafe::new(Arc::new(port)),
            dialect: config.dialect,
            flush: FlushScheduled::default(),
        }
    }

    pub(crate) fn core(&self, py: Python<'_>) -> PyResult<&Arc<Port>> {
        self.port.get(py)
    }
}

#[pymethods]
impl LocalLink {
    /// Subscribes at once; the loop is woken for `token` when the queue has something for a waiting reader.
    fn subscribe(
        &self,
        py: Python<'_>,
        spec: &Bound<'_, PyAny>,
        options: QueueOptionsFields,
        broker_overflow: &str,
        waker: &LoopWaker,
        token: u64,
    ) -> PyResult<Source> {
        let (limits, overflow, block) = raise(py, options.into_core())?;
        // There is one queue only; with `block` it has the policy that the broker's queue would have.
        let overflow = if block {
            raise(py, config::overflow("broker_overflow", broker_overflow))?
        } else {
            overflow
        };
        let asked = types::subscription(spec)?;
        let reader = waker.for_token(py, token)?;
        let local = raise(py, self.core(py)?.subscribe(&asked, limits, overflow, reader))?;
        let patterns = local.patterns.clone();
        Ok(Source::new(Receiver::Local(local), patterns, self.dialect))
    }

    /// `flush` as a callback for the loop's next turn; if the loop drops it, it is done there and then.
    fn with_fallback(slf: Bound<'_, Self>, flush: Py<PyAny>) -> CallbackWithFallback {
        let handle = slf.unbind();
        CallbackWithFallback::new(flush, move || {
            let handle = handle.get();
            if let Some(port) = handle.port.try_get() {
                handle.flush.clear();
                port.flush();
            }
        })
    }

    /// The scheduled flush: writes what was published in this turn of the loop. True to come again in the next turn.
    fn end_turn(&self, py: Python<'_>) -> PyResult<bool> {
        // First, so that whoever publishes during it, or after a panic in it, schedules another.
        self.flush.clear();
        let again = !self.core(py)?.end_turn();
        if again {
            self.flush.schedule();
        }
        Ok(again)
    }

    /// Writes everything that was published.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        self.flush.clear();
        self.core(py)?.flush();
        Ok(())
    }

    /// Ends every subscription of this bus.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.core(py)?.close();
        Ok(())
    }
}
