//! The methods of `Subscription` that are native. A module of its own, since they issue operations, which in turn read the subscription.
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use daemoneye_eventbus_core::lock::Mutex;
use daemoneye_eventbus_core::queue::PopError;
use hashbrown::HashMap;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple, PyType};

use super::{SubscriptionCore, Taken, ended};
use crate::budget::Budget;
use crate::errors::to_py;
use crate::loop_waker::LoopWaker;
use crate::mapping;
use crate::operation::{Kind, Operation};
use crate::source::{Receiver, Source};

/// Messages handed over without giving the loop a turn, if they take no longer than a turn may.
const MESSAGES_A_TURN: u32 = 2048;

#[pymethods]
impl SubscriptionCore {
    #[new]
    #[pyo3(signature = (source, subscriber_id, waker, *_args, **_kwargs))]
    fn new(
        py: Python<'_>,
        source: &Source,
        subscriber_id: Py<PyString>,
        waker: &LoopWaker,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let receiver = source.take()?;
        let mut patterns: Vec<_> = source
            .patterns
            .iter()
            .map(|pattern| (pattern.clone(), PyString::new(py, pattern.as_str()).unbind()))
            .collect();
        patterns.sort_by_key(|(pattern, _)| pattern.rank());
        Ok(Self {
            receiver,
            subscriber_id,
            patterns,
            best: Mutex::new(HashMap::new()),
            dialect: source.dialect,
            budget: Budget::new(MESSAGES_A_TURN),
            has_yielded: AtomicBool::new(false),
            own_loop: waker.own_loop(py)?,
        })
    }

    /// The id that was given, or a generated one.
    #[getter]
    fn subscriber_id(&self) -> &Py<PyString> {
        &self.subscriber_id
    }

    /// Its patterns, the most specific first.
    #[getter]
    fn patterns(&self, py: Python<'_>) -> PyResult<Py<PyTuple>> {
        Ok(PyTuple::new(py, self.patterns.iter().map(|(_, text)| text))?.unbind())
    }

    /// Messages that matched and were lost, at the broker or in this queue; exact while connected, and once it was closed. A full
    /// subscription with ``overflow="block"`` reads nothing, and so learns of the broker's losses when there is room again.
    #[getter]
    fn dropped(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.queue(py)?.snapshot().lost())
    }

    /// How often the connection was interrupted.
    #[getter]
    fn gaps(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(match self.receiver.get(py)? {
            Receiver::Inbox(inbox) => inbox.gaps(),
            Receiver::Local(_) => 0,
        })
    }

    /// Why the broker did not take it, if that is what ended it.
    fn _refusal(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        Ok(match self.receiver.get(py)? {
            Receiver::Inbox(inbox) => inbox
                .refusal()
                .map(|error| to_py(py, error.clone()).into_value(py).into_any()),
            Receiver::Local(_) => None,
        })
    }

    /// Messages in the queue, ready to be read.
    #[getter]
    fn pending(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.queue(py)?.snapshot().messages)
    }

    /// Messages taken out of the queue so far.
    #[getter]
    fn _delivered(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.queue(py)?.snapshot().delivered)
    }

    /// True once nothing more can come in.
    #[getter]
    fn _ended(&self, py: Python<'_>) -> PyResult<bool> {
        self.queue(py).map(ended)
    }

    /// Ends the in-process subscription; what waits is dropped.
    fn _end(&self, py: Python<'_>) -> PyResult<()> {
        self.leave(py)
    }

    /// True if the loop should have a turn before the next message, for a reader that `waits` where there is none.
    fn _must_yield(&self, py: Python<'_>, waits: bool) -> PyResult<bool> {
        self.must_yield(py, waits)
    }

    /// The loop has had that turn.
    fn _resume(&self) {
        self.resume();
    }

    /// After a wake-up: wakes the next in `waiters`, a deque.
    fn _wake_next(&self, waiters: &Bound<'_, PyAny>) -> PyResult<()> {
        self.wake_next(waiters)
    }

    /// One message, `None` if there is none yet, `Ellipsis` at the end.
    fn _take(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(match self.take(py)? {
            Taken::Message(message) => message,
            Taken::Empty => py.None(),
            Taken::Ended => py.Ellipsis(),
        })
    }

    /// Up to `most` messages, appended to `into`; false at the end.
    fn _take_many(&self, py: Python<'_>, most: usize, into: &Bound<'_, PyList>) -> PyResult<bool> {
        for taken in 0..most {
            let next = self.pop(py).and_then(|popped| match popped {
                Ok(popped) => self.convert_or_put_back(py, popped, |made| into.append(made)).map(Ok),
                Err(empty) => Ok(Err(empty)),
            });
            match next {
                Ok(Ok(())) => {}
                Ok(Err(PopError::Empty)) => break,
                Ok(Err(PopError::Ended)) => return self.leave(py).map(|()| false),
                // The message stays for the next call to fail on, so that those before it are not lost.
                Err(_) if taken > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    #[classmethod]
    fn __class_getitem__<'py>(class: &Bound<'py, PyType>, item: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        mapping::generic_alias(class, item)
    }

    /// The next message; ``TimeoutError`` after ``timeout`` seconds, `SubscriptionClosed` or `ConnectionLost` at the end.
    #[pyo3(signature = (timeout=None))]
    fn get(slf: Bound<'_, Self>, timeout: Option<Py<PyAny>>) -> PyResult<Py<Operation>> {
        let py = slf.py();
        let subscription = slf.unbind();
        Operation::issue(
            py,
            Kind::Get {
                subscription,
                timeout,
                place: OnceLock::new(),
            },
        )
    }

    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __anext__(slf: Bound<'_, Self>) -> PyResult<Py<Operation>> {
        let py = slf.py();
        let subscription = slf.unbind();
        Operation::issue(
            py,
            Kind::Next {
                subscription,
                place: OnceLock::new(),
            },
        )
    }
}
