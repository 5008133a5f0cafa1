//! `BrokerCore`: a broker of this process, on a thread of its own. What takes time is answered by a [`PendingReply`].
use std::time::Duration;

use daemoneye_eventbus_core::Error;
use daemoneye_eventbus_core::broker::{self, PortOptions};
#[cfg(unix)]
use daemoneye_eventbus_core::transport;
use daemoneye_eventbus_core::transport::PathState;
use pyo3::prelude::*;
use pyo3::types::PyList;
use uuid::Uuid;

use crate::address::Address;
use crate::broker_info;
use crate::config::{self, BrokerConfigFields, ClientConfigFields};
use crate::errors::raise;
use crate::fork_safe::ForkSafe;
use crate::local_link::LocalLink;
use crate::loop_waker::LoopWaker;
use crate::pending_reply::{PendingReply, ReplyValue};

#[pyclass(frozen, weakref, module = "daemoneye_eventbus._native")]
pub(crate) struct BrokerCore {
    broker: ForkSafe<broker::Broker>,
}

pub(crate) fn client_id(py: Python<'_>, text: &str) -> PyResult<Uuid> {
    let error = |_| {
        Error::invalid(
            "client_id",
            format!("{text:?} is not the id of a client; take one from clients()"),
        )
    };
    raise(py, Uuid::try_parse(text).map_err(error))
}

#[pymethods]
impl BrokerCore {
    #[new]
    fn new(py: Python<'_>, address: &Address, config: BrokerConfigFields) -> PyResult<Self> {
        let config = raise(py, config.into_core())?;
        let broker = raise(py, broker::Broker::new(address.core().clone(), config))?;
        Ok(Self {
            broker: ForkSafe::new(broker),
        })
    }

    /// On a copy of a socket that listens already; the descriptor stays its owner's.
    #[cfg(unix)]
    #[staticmethod]
    fn from_listener(py: Python<'_>, descriptor: i32, config: BrokerConfigFields) -> PyResult<Self> {
        let config = raise(py, config.into_core())?;
        let copied = transport::duplicate(descriptor);
        let fd = raise(
            py,
            copied.map_err(|cause| Error::io(format!("copy the listener's descriptor {descriptor}"), &cause)),
        )?;
        let broker = raise(py, broker::Broker::from_listener(fd, config))?;
        Ok(Self {
            broker: ForkSafe::new(broker),
        })
    }

    /// Where it listens.
    #[getter]
    fn address(&self, py: Python<'_>) -> PyResult<Address> {
        Ok(Address::of_core(self.broker.get(py)?.address().clone()))
    }

    /// Answered when the broker listens, or with why it cannot.
    fn start(&self, py: Python<'_>, waker: &LoopWaker, token: u64) -> PyResult<PendingReply> {
        let (reply, answer) = PendingReply::for_callback(py, waker, token)?;
        self.broker
            .get(py)?
            .start(move |result| answer(result.map(|()| ReplyValue::Done)));
        Ok(reply)
    }

    /// Answered, with the number of messages that could not be delivered, when everything is closed.
    fn shutdown(&self, py: Python<'_>, timeout: f64, waker: &LoopWaker, token: u64) -> PyResult<PendingReply> {
        let (reply, answer) = PendingReply::for_callback(py, waker, token)?;
        let timeout = raise(py, config::seconds("timeout", timeout))?;
        self.broker
            .get(py)?
            .shutdown(timeout, move |lost| answer(Ok(ReplyValue::Count(lost.messages))));
        Ok(reply)
    }

    /// Shuts down within `timeout` seconds and blocks the calling thread: for the end of the interpreter, when no event loop runs.
    fn stop(&self, py: Python<'_>, timeout: f64) {
        let Some(broker) = self.broker.try_get() else { return };
        let timeout = Duration::try_from_secs_f64(timeout).unwrap_or_default();
        py.detach(|| {
            let (sender, receiver) = std::sync::mpsc::channel();
            broker.shutdown(timeout, move |_| {
                // The other end may have given up waiting.
                let _late = sender.send(());
            });
            if receiver.recv_timeout(timeout + Duration::from_millis(200)).is_err() {
                broker.abandon();
            }
        });
    }

    #[getter]
    fn running(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.broker.get(py)?.is_running())
    }

    /// Whether it runs, and the socket file at the path is still its own.
    #[getter]
    fn reachable(&self, py: Python<'_>) -> PyResult<bool> {
        let broker = self.broker.get(py)?;
        Ok(broker.is_running() && broker.path_state() == PathState::Ours)
    }

    fn statistics(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let (five, detail) = self.broker.get(py)?.totals();
        broker_info::totals_to_py(py, &five, &detail)
    }

    fn clients<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for client in self.broker.get(py)?.clients() {
            list.append(broker_info::client_to_py(py, client.into())?)?;
        }
        Ok(list)
    }

    fn subscribe_client(&self, py: Python<'_>, id: &str, patterns: Vec<String>) -> PyResult<()> {
        let id = client_id(py, id)?;
        raise(py, self.broker.get(py)?.subscribe_client(id, &patterns))
    }

    /// False if there is no such client.
    fn disconnect_client(&self, py: Python<'_>, id: &str) -> PyResult<bool> {
        let id = client_id(py, id)?;
        Ok(self.broker.get(py)?.disconnect_client(id))
    }

    /// A bus of this process.
    fn local_link(&self, py: Python<'_>, config: ClientConfigFields) -> PyResult<LocalLink> {
        let config = raise(py, config.into_core())?;
        let options = PortOptions {
            name: config.client,
            congestion: config.congestion,
        };
        let broker = self.broker.get(py)?;
        let port = raise(py, broker.port(options))?;
        Ok(LocalLink::new(port, broker.config()))
    }
}
