//! `PendingReply`: the answer to a request of the loop. Any thread may give it; the loop is then woken, and reads it.
use std::sync::Arc;

use daemoneye_eventbus_core::client;
use daemoneye_eventbus_core::lock::Mutex;
use daemoneye_eventbus_core::queue::Wake;
use pyo3::prelude::*;

use crate::broker_info;
use crate::errors;
use crate::fork_safe::ForkSafe;
use crate::loop_waker::LoopWaker;
use crate::types;

/// What a callback may answer.
#[derive(Clone)]
pub(crate) enum ReplyValue {
    Done,
    Count(u64),
}

type Slot = Mutex<Option<daemoneye_eventbus_core::Result<ReplyValue>>>;

enum Answer {
    Link(client::Ticket),
    Slot(Arc<Slot>),
}

#[pyclass(frozen, module = "daemoneye_eventbus._native")]
pub(crate) struct PendingReply {
    answer: ForkSafe<Answer>,
}

impl PendingReply {
    /// A reply to a request of a link, and the half that the link answers.
    pub(crate) fn for_link(py: Python<'_>, waker: &LoopWaker, token: u64) -> PyResult<(Self, client::Ticket)> {
        let ticket = client::Ticket::new(waker.for_token(py, token)?);
        let answer = ForkSafe::new(Answer::Link(ticket.clone()));
        Ok((Self { answer }, ticket))
    }

    /// A reply, and the function that gives it.
    pub(crate) fn for_callback(
        py: Python<'_>,
        waker: &LoopWaker,
        token: u64,
    ) -> PyResult<(
        Self,
        impl FnOnce(daemoneye_eventbus_core::Result<ReplyValue>) + Send + use<>,
    )> {
        let slot: Arc<Slot> = Arc::default();
        let waker: Arc<dyn Wake> = waker.for_token(py, token)?;
        let answer = ForkSafe::new(Answer::Slot(Arc::clone(&slot)));
        let settle = move |result| {
            *slot.lock() = Some(result);
            waker.wake();
        };
        Ok((Self { answer }, settle))
    }
}

#[pymethods]
impl PendingReply {
    /// Whether the answer has come.
    #[getter]
    fn done(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(match self.answer.get(py)? {
            Answer::Link(ticket) => ticket.poll().is_some(),
            Answer::Slot(slot) => slot.lock().is_some(),
        })
    }

    /// The answer: `None`, a number, statistics, fields of statistics, or a page of clients; raises what was refused. Only when `done`.
    fn result(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match self.answer.get(py)? {
            Answer::Link(ticket) => match ticket.poll() {
                Some(Ok(client::Answer::Statistics(numbers))) => types::statistics_to_py(py, &numbers).map(Some),
                Some(Ok(client::Answer::Detail(five, detail))) => {
                    broker_info::totals_to_py(py, &five, &detail).map(Some)
                }
                Some(Ok(client::Answer::Clients(page))) => broker_info::page_to_py(py, page).map(Some),
                Some(Ok(client::Answer::Done)) | None => Ok(None),
                Some(Err(error)) => Err(errors::to_py(py, error)),
            },
            Answer::Slot(slot) => {
                let answer = slot.lock().clone();
                match answer {
                    Some(Ok(ReplyValue::Count(count))) => Ok(Some(count.into_pyobject(py)?.into_any().unbind())),
                    Some(Ok(ReplyValue::Done)) | None => Ok(None),
                    Some(Err(error)) => Err(errors::to_py(py, error)),
                }
            }
        }
    }
}
