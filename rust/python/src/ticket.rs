//! The native side of a question: asked on the loop, answered by whichever thread knows, read on the loop again.
use std::sync::Arc;

use daemoneye_eventbus_core::client;
use daemoneye_eventbus_core::lock::Mutex;
use daemoneye_eventbus_core::queue::Wake;
use pyo3::prelude::*;

use crate::doorbell::Doorbell;
use crate::errors;
use crate::owned::Owned;
use crate::types;
use crate::watching;

/// What an answer may hold.
#[derive(Clone)]
pub(crate) enum Reply {
    Done,
    Count(u64),
}

type Slot = Mutex<Option<daemoneye_eventbus_core::Result<Reply>>>;

enum Source {
    Link(client::Ticket),
    Slot(Arc<Slot>),
}

#[pyclass(frozen, module = "daemoneye_eventbus._native")]
pub(crate) struct Ticket {
    source: Owned<Source>,
}

impl Ticket {
    /// A ticket for a link, and its other half.
    pub(crate) fn of_link(py: Python<'_>, bell: &Doorbell, token: u64) -> PyResult<(Self, client::Ticket)> {
        let ticket = client::Ticket::new(bell.waker(py, token)?);
        let source = Owned::new(Source::Link(ticket.clone()));
        Ok((Self { source }, ticket))
    }

    /// A ticket that is answered by calling the other half.
    pub(crate) fn of_call(
        py: Python<'_>,
        bell: &Doorbell,
        token: u64,
    ) -> PyResult<(Self, impl FnOnce(daemoneye_eventbus_core::Result<Reply>) + Send + use<>)> {
        let slot: Arc<Slot> = Arc::default();
        let waker: Arc<dyn Wake> = bell.waker(py, token)?;
        let source = Owned::new(Source::Slot(Arc::clone(&slot)));
        let answer = move |result| {
            *slot.lock() = Some(result);
            waker.wake();
        };
        Ok((Self { source }, answer))
    }
}

#[pymethods]
impl Ticket {
    /// Whether the answer has come.
    #[getter]
    fn done(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(match self.source.get(py)? {
            Source::Link(ticket) => ticket.poll().is_some(),
            Source::Slot(slot) => slot.lock().is_some(),
        })
    }

    /// The answer: `None`, a number, statistics, fields of statistics, or a page of clients; raises what was refused. Only when `done`.
    fn result(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match self.source.get(py)? {
            Source::Link(ticket) => match ticket.poll() {
                Some(Ok(client::Answer::Statistics(numbers))) => types::statistics_to_py(py, &numbers).map(Some),
                Some(Ok(client::Answer::Detail(five, detail))) => watching::totals_to_py(py, &five, &detail).map(Some),
                Some(Ok(client::Answer::Clients(page))) => watching::page_to_py(py, page).map(Some),
                Some(Ok(client::Answer::Done)) | None => Ok(None),
                Some(Err(error)) => Err(errors::to_py(py, error)),
            },
            Source::Slot(slot) => {
                let answer = slot.lock().clone();
                match answer {
                    Some(Ok(Reply::Count(count))) => Ok(Some(count.into_pyobject(py)?.into_any().unbind())),
                    Some(Ok(Reply::Done)) | None => Ok(None),
                    Some(Err(error)) => Err(errors::to_py(py, error)),
                }
            }
        }
    }
}
