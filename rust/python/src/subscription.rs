//! The hot half of a subscription: takes one message after the other out of its queue and makes its Python object, on the loop's thread.
use std::sync::Arc;

use daemoneye_eventbus_core::broker::LocalSubscription;
use daemoneye_eventbus_core::client::Inbox;
use daemoneye_eventbus_core::event::Utf8;
use daemoneye_eventbus_core::lock::Mutex;
use daemoneye_eventbus_core::queue::{Content, Empty, Popped, Queue};
use daemoneye_eventbus_core::topic::Pattern;
use daemoneye_eventbus_core::wire::Dialect;
use daemoneye_eventbus_core::wire::frame::PREFIX;
use hashbrown::HashMap;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple, PyType};

use crate::errors::to_py;
use crate::events::{self, Stamp};
use crate::loop_thread::LoopThread;
use crate::operation::{Kind, Operation};
use crate::outgoing::LocalMessage;
use crate::owned::Owned;
use crate::pace::Pace;
use crate::slots;
use crate::statistics::Tracked;
use crate::text::{Frame, inconsistent};
use crate::waiter::Waiter;

/// Messages handed over without giving the loop a turn.
const MESSAGES_A_TURN: u32 = 256;
/// Topics whose best pattern a subscription with several patterns remembers.
const REMEMBERED_TOPICS: usize = 1024;

/// Where messages come from.
pub(crate) enum Spring {
    Inbox(Arc<Inbox>),
    Local(LocalSubscription),
}

/// A queue on its way into a [`SubscriptionCore`].
#[pyclass(frozen, module = "daemoneye_eventbus._native")]
pub(crate) struct Source {
    spring: Mutex<Option<Owned<Spring>>>,
    inbox: Option<Owned<Arc<Inbox>>>,
    patterns: Vec<Pattern>,
    dialect: Dialect,
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
            None => Err(pyo3::exceptions::PyTypeError::new_err("this queue is in process")),
        }
    }
}

/// What a look into the queue gave.
pub(crate) enum Taken {
    Message(Py<PyAny>),
    Empty,
    Ended,
}

// Its name is in the errors for calls with wrong arguments: that of the class which users know.
#[pyclass(
    name = "Subscription",
    subclass,
    frozen,
    weakref,
    module = "daemoneye_eventbus._native"
)]
pub(crate) struct SubscriptionCore {
    spring: Owned<Spring>,
    subscriber_id: Py<PyString>,
    /// Best first.
    patterns: Vec<(Pattern, Py<PyString>)>,
    /// The best pattern by topic, where there are several.
    best: Mutex<HashMap<Box<[u8]>, usize>>,
    dialect: Dialect,
    pub(crate) pace: Pace,
    thread: LoopThread,
}

impl SubscriptionCore {
    fn queue(&self, py: Python<'_>) -> PyResult<&Queue> {
        Ok(match self.spring.get(py)? {
            Spring::Inbox(inbox) => &inbox.queue,
            Spring::Local(local) => &local.queue,
        })
    }

    /// The queue, for the account of the bus.
    pub(crate) fn tracked(&self, py: Python<'_>) -> PyResult<Tracked> {
        Ok(match self.spring.get(py)? {
            Spring::Inbox(inbox) => Tracked::Inbox(Arc::clone(inbox)),
            Spring::Local(local) => Tracked::Local(Arc::clone(&local.queue)),
        })
    }

    /// The copy is the event's own: one that is kept pins nothing else. Where there is no memory for it, the message stays in the queue.
    fn pop(&self, py: Python<'_>) -> PyResult<Result<Popped<Py<PyBytes>>, Empty>> {
        self.queue(py)?
            .pop_as(|frame| slots::copied(py, frame.get(PREFIX..).unwrap_or_default()))
    }

    /// One message for a reader in the thread of the loop that the subscription belongs to; any other is refused.
    pub(crate) fn take(&self, py: Python<'_>) -> PyResult<Taken> {
        self.thread.check(py)?;
        match self.pop(py)? {
            Ok(popped) => self.hand_over(py, popped, Ok).map(Taken::Message),
            Err(Empty::Yet) => Ok(Taken::Empty),
            Err(Empty::Ended) => Ok(Taken::Ended),
        }
    }

    /// What cannot be made or handed over goes back to where it was: the next look at the queue finds it.
    fn hand_over<R>(
        &self,
        py: Python<'_>,
        popped: Popped<Py<PyBytes>>,
        over: impl FnOnce(Py<PyAny>) -> PyResult<R>,
    ) -> PyResult<R> {
        let handed_over = self.make(py, &popped).and_then(over);
        if handed_over.is_err() {
            self.put_back(py, popped)?;
        } else if let Content::Frames(body) = popped.content {
            body.drop_ref(py);
        }
        handed_over
    }

    #[cold]
    fn put_back(&self, py: Python<'_>, popped: Popped<Py<PyBytes>>) -> PyResult<()> {
        let body;
        let popped = Popped {
            content: match popped.content {
                Content::Frames(copy) => {
                    body = copy;
                    Content::Frames(body.as_bytes(py))
                }
                Content::Object(object, size) => Content::Object(object, size),
            },
            sender: popped.sender,
            dropped_before: popped.dropped_before,
        };
        match self.spring.get(py)? {
            Spring::Inbox(inbox) => inbox.put_back(popped),
            Spring::Local(local) => local.put_back(popped),
        }
        Ok(())
    }

    fn make(&self, py: Python<'_>, popped: &Popped<Py<PyBytes>>) -> PyResult<Py<PyAny>> {
        let stamp = Stamp {
            dropped_before: popped.dropped_before,
            sender: popped.sender.clone(),
        };
        match &popped.content {
            Content::Frames(body) => {
                let (body, dialect) = (body.clone_ref(py), self.dialect);
                let pattern = |topic: Utf8<'_>| self.pattern(|| Ok(topic.0));
                events::received(py, Frame { body, dialect }, pattern, &self.subscriber_id, stamp)
            }
            Content::Object(object, _) => {
                let Some(message) = object.downcast_ref::<LocalMessage>() else {
                    return Err(pyo3::exceptions::PyTypeError::new_err(
                        "a foreign object is in the queue",
                    ));
                };
                let pattern = self.pattern(|| message.topic.bind(py).to_str().map(str::as_bytes))?;
                message.deliver(py, pattern, &self.subscriber_id, stamp)
            }
        }
    }

    /// The most specific pattern that matches `topic`, which is UTF-8 and not asked for where there is but one.
    fn pattern<'a>(&self, topic: impl FnOnce() -> PyResult<&'a [u8]>) -> PyResult<&Py<PyString>> {
        if let [(_, only)] = self.patterns.as_slice() {
            return Ok(only);
        }
        let topic = topic()?;
        let mut best = self.best.lock();
        let index = match best.get(topic) {
            Some(known) => *known,
            None => {
                let text = std::str::from_utf8(topic).map_err(|_| inconsistent())?;
                let found = self.patterns.iter().position(|(pattern, _)| pattern.matches(text));
                if best.len() >= REMEMBERED_TOPICS {
                    best.clear();
                }
                *best.entry(topic.into()).or_insert(found.unwrap_or(0))
            }
        };
        Ok(self.patterns.get(index).map_or(&self.subscriber_id, |(_, text)| text))
    }
}

#[pymethods]
impl SubscriptionCore {
    #[new]
    #[pyo3(signature = (source, subscriber_id, *_args, **_kwargs))]
    fn new(
        py: Python<'_>,
        source: &Source,
        subscriber_id: Py<PyString>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let spring = source
            .spring
            .lock()
            .take()
            .ok_or_else(|| pyo3::exceptions::PyRuntimeError::new_err("this queue has a subscription already"))?;
        let mut patterns: Vec<_> = source
            .patterns
            .iter()
            .map(|pattern| (pattern.clone(), PyString::new(py, pattern.as_str()).unbind()))
            .collect();
        patterns.sort_by_key(|(pattern, _)| pattern.rank());
        Ok(Self {
            spring,
            subscriber_id,
            patterns,
            best: Mutex::new(HashMap::new()),
            dialect: source.dialect,
            pace: Pace::new(MESSAGES_A_TURN),
            thread: LoopThread::current(),
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

    /// Messages that matched and were lost, at the broker or in this queue; exact while connected.
    #[getter]
    fn dropped(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.queue(py)?.snapshot().lost())
    }

    /// How often the connection was interrupted.
    #[getter]
    fn gaps(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(match self.spring.get(py)? {
            Spring::Inbox(inbox) => inbox.gaps(),
            Spring::Local(_) => 0,
        })
    }

    /// Why the broker did not take it, if that is what ended it.
    fn _refusal(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        Ok(match self.spring.get(py)? {
            Spring::Inbox(inbox) => inbox
                .refusal()
                .map(|error| to_py(py, error.clone()).into_value(py).into_any()),
            Spring::Local(_) => None,
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
        let queue = self.queue(py)?;
        Ok(queue.is_closed() || queue.wants_disconnect())
    }

    /// Ends the in-process subscription; what waits is dropped.
    fn _end(&self, py: Python<'_>) -> PyResult<()> {
        if let Spring::Local(local) = self.spring.get(py)? {
            local.close();
        }
        Ok(())
    }

    /// True if the loop should have a turn before the next message.
    fn _turn_is_due(&self) -> bool {
        self.pace.turn_is_due()
    }

    /// The queue rings once for all it has: who was woken wakes the next in `line`, a deque of waiters, or has it ring again. One step
    /// for the interpreter, so that no interrupt comes in between.
    pub(crate) fn _pass_on(&self, line: &Bound<'_, PyAny>) -> PyResult<()> {
        if line.is_truthy()? && self.queue(line.py())?.arm_reader() {
            Waiter::wake_first(line, false)?;
        }
        Ok(())
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
                Ok(popped) => self.hand_over(py, popped, |made| into.append(made)).map(Ok),
                Err(empty) => Ok(Err(empty)),
            });
            match next {
                Ok(Ok(())) => {}
                Ok(Err(Empty::Yet)) => break,
                Ok(Err(Empty::Ended)) => return Ok(false),
                // It is there for the next call to fail on; those before it are not to be lost for it.
                Err(_) if taken > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    #[classmethod]
    fn __class_getitem__<'py>(class: &Bound<'py, PyType>, item: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        crate::mapping::generic_alias(class, item)
    }

    /// The next message; ``TimeoutError`` after ``timeout`` seconds, `SubscriptionClosed` or `ConnectionLost` at the end.
    #[pyo3(signature = (timeout=None))]
    fn get(slf: Bound<'_, Self>, timeout: Option<Py<PyAny>>) -> PyResult<Py<Operation>> {
        let py = slf.py();
        let subscription = slf.unbind();
        Operation::issue(py, Kind::Get { subscription, timeout })
    }

    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __anext__(slf: Bound<'_, Self>) -> PyResult<Py<Operation>> {
        let py = slf.py();
        let subscription = slf.unbind();
        Operation::issue(py, Kind::Next { subscription })
    }
}
