//! The native base class of `Subscription`: takes messages out of its queue and makes their Python objects, on the loop's thread.
//!
//! Guarantee: a message of which no object can be made, or that its reader cannot take, goes back to its place in the queue.
mod methods;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use daemoneye_eventbus_core::event::Utf8;
use daemoneye_eventbus_core::lock::Mutex;
use daemoneye_eventbus_core::queue::{Content, PopError, Popped, Queue};
use daemoneye_eventbus_core::topic::Pattern;
use daemoneye_eventbus_core::wire::Dialect;
use daemoneye_eventbus_core::wire::frame::PREFIX;
use hashbrown::HashMap;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::budget::Budget;
use crate::events::{self, DeliveryInfo};
use crate::fork_safe::ForkSafe;
use crate::loop_thread::OwnLoop;
use crate::objects;
use crate::publish_request::LocalMessage;
use crate::source::Receiver;
use crate::statistics::Tracked;
use crate::text::{Frame, inconsistent};
use crate::waiter::Waiter;

/// Topics whose best pattern a subscription with several patterns remembers.
const REMEMBERED_TOPICS: usize = 1024;

/// Nothing more can come in.
fn ended(queue: &Queue) -> bool {
    queue.is_closed() || queue.wants_disconnect()
}

/// What the queue had.
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
    receiver: ForkSafe<Receiver>,
    subscriber_id: Py<PyString>,
    /// Best first.
    patterns: Vec<(Pattern, Py<PyString>)>,
    /// The best pattern by topic, where there are several.
    best: Mutex<HashMap<Box<[u8]>, usize>>,
    dialect: Dialect,
    budget: Budget,
    /// A read has given the loop a turn, and none has gone on since. Those behind it do so too, so that reads keep their order, until the
    /// first goes on: so a task that reads on and on still gets its whole budget.
    has_yielded: AtomicBool,
    own_loop: OwnLoop,
}

impl SubscriptionCore {
    fn queue(&self, py: Python<'_>) -> PyResult<&Queue> {
        Ok(match self.receiver.get(py)? {
            Receiver::Inbox(inbox) => &inbox.queue,
            Receiver::Local(local) => &local.queue,
        })
    }

    /// The queue, for the statistics of the bus.
    pub(crate) fn tracked(&self, py: Python<'_>) -> PyResult<Tracked> {
        Ok(match self.receiver.get(py)? {
            Receiver::Inbox(inbox) => Tracked::Inbox(Arc::clone(inbox)),
            Receiver::Local(local) => Tracked::Local(Arc::clone(&local.queue)),
        })
    }

    /// The frame is copied, so that an event that is kept keeps nothing else alive. Without memory for it the message stays in the queue.
    fn pop(&self, py: Python<'_>) -> PyResult<Result<Popped<Py<PyBytes>>, PopError>> {
        self.queue(py)?
            .pop_as(|frame| objects::copied(py, frame.get(PREFIX..).unwrap_or_default()))
    }

    /// Whether the loop should have a turn before the next message. Not where there is none to take: a reader that `waits` then gives it
    /// the turn.
    #[inline]
    pub(crate) fn must_yield(&self, py: Python<'_>, waits: bool) -> PyResult<bool> {
        if self.budget.take_short_step() {
            return Ok(false);
        }
        let waits = || waits && self.queue(py).is_ok_and(|queue| queue.is_empty() && !ended(queue));
        let must = self.has_yielded.load(Ordering::Relaxed) || !self.budget.take_step(py, &self.own_loop, waits)?;
        self.has_yielded.store(must, Ordering::Relaxed);
        Ok(must)
    }

    /// The loop has had that turn. What it did meanwhile is not the readers' time.
    pub(crate) fn resume(&self) {
        if self.has_yielded.swap(false, Ordering::Relaxed) {
            self.budget.begin_slice(1);
        } else {
            self.budget.count_step();
        }
    }

    /// A message that was waited for is taken now, in a turn of its own.
    pub(crate) fn begin_after_wait(&self) {
        self.budget.begin_slice(1);
    }

    /// The read that has yielded is not done after all. Otherwise the next would yield in vain.
    pub(crate) fn forget_yield(&self) {
        self.has_yielded.store(false, Ordering::Relaxed);
        self.budget.begin_slice(0);
    }

    /// One message for a reader in the thread of the subscription's own loop; any other is refused.
    pub(crate) fn take(&self, py: Python<'_>) -> PyResult<Taken> {
        self.own_loop.check(py)?;
        match self.pop(py) {
            Ok(Ok(popped)) => self.convert_or_put_back(py, popped, Ok).map(Taken::Message),
            Ok(Err(PopError::Empty)) => Ok(Taken::Empty),
            Ok(Err(PopError::Ended)) => self.leave(py).map(|()| Taken::Ended),
            Err(error) => Err(error),
        }
    }

    /// Ends a subscription of this process; what waits is dropped. Whoever is told that his queue has ended leaves so: where it was to be
    /// cut, nothing matches it any more.
    #[cold]
    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        if let Receiver::Local(local) = self.receiver.get(py)? {
            local.close();
        }
        Ok(())
    }

    /// The queue notifies once for all it has, so a reader that was woken wakes the next in `waiters`, a deque, or has the queue notify
    /// again. One call for the interpreter, so that no signal handler runs in between.
    pub(crate) fn wake_next(&self, waiters: &Bound<'_, PyAny>) -> PyResult<()> {
        if waiters.is_truthy()? && self.queue(waiters.py())?.arm_reader() {
            Waiter::wake_first(waiters, false)?;
        }
        Ok(())
    }

    /// Makes the Python object and gives it to `consume`. If either fails the message goes back to its place in the queue.
    fn convert_or_put_back<R>(
        &self,
        py: Python<'_>,
        popped: Popped<Py<PyBytes>>,
        consume: impl FnOnce(Py<PyAny>) -> PyResult<R>,
    ) -> PyResult<R> {
        let result = self.convert(py, &popped).and_then(consume);
        if result.is_err() {
            self.put_back(py, popped)?;
        } else if let Content::Frames(body) = popped.content {
            body.drop_ref(py);
        }
        result
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
        match self.receiver.get(py)? {
            Receiver::Inbox(inbox) => inbox.put_back(popped),
            Receiver::Local(local) => local.put_back(popped),
        }
        Ok(())
    }

    fn convert(&self, py: Python<'_>, popped: &Popped<Py<PyBytes>>) -> PyResult<Py<PyAny>> {
        let info = DeliveryInfo {
            dropped_before: popped.dropped_before,
            sender: popped.sender.clone(),
        };
        match &popped.content {
            Content::Frames(body) => {
                let (body, dialect) = (body.clone_ref(py), self.dialect);
                let pattern = |topic: Utf8<'_>| self.pattern(|| Ok(topic.0));
                events::received(py, Frame { body, dialect }, pattern, &self.subscriber_id, info)
            }
            Content::Object(object, _) => {
                let Some(message) = object.downcast_ref().and_then(LocalMessage::contents) else {
                    return Err(pyo3::exceptions::PyTypeError::new_err(
                        "a foreign object is in the queue",
                    ));
                };
                let pattern = self.pattern(|| message.topic.bind(py).to_str().map(str::as_bytes))?;
                message.deliver(py, pattern, &self.subscriber_id, info)
            }
        }
    }

    /// The most specific pattern that matches `topic`, which is UTF-8, and not computed if there is only one pattern.
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
