//! One offer of a bus: from a Python object into a connection's send buffer, or past it to the readers of this process.
//!
//! All of it is one native step on the caller's thread: check, encode straight from the object's fields, append, and write if it is time.
use std::sync::Arc;
use std::sync::atomic::Ordering;

use daemoneye_eventbus_core::Error;
use daemoneye_eventbus_core::broker::{Caller, Port, Published};
use daemoneye_eventbus_core::client::{self, Sent};
use daemoneye_eventbus_core::event::{CollectionEvent, EventKind, Timestamp};
use daemoneye_eventbus_core::queue::Object;
use daemoneye_eventbus_core::topic::names::{default_topic, trigger};
use daemoneye_eventbus_core::wire::{Dialect, Draft, Payload};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use uuid::Uuid;

use super::{BusCore, Way};
use crate::args::Field;
use crate::calls;
use crate::doorbell::Minding;
use crate::errors::{raise, to_py};
use crate::events::{self, Correlation};
use crate::link::Link;
use crate::outgoing::{
    LocalMessage, Offer, Outgoing, Pending, What, control_payload, default_topic_text, plain_payload, topic_text,
    trigger_in,
};
use crate::owned::Owned;
use crate::port::PortHandle;

/// Who offers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// A task of the loop, which will wait for full readers, or has waited.
    Task,
    /// Somebody who does not wait, and is not taken before those who do. Only on the loop's thread the loop flushes for him.
    Nowait { on_loop: bool },
}

impl By {
    const fn waits(self) -> bool {
        matches!(self, Self::Task)
    }

    const fn is_on_loop(self) -> bool {
        matches!(self, Self::Task | Self::Nowait { on_loop: true })
    }
}

/// A random id; ids need to differ, not to be secret.
fn fresh_id() -> Uuid {
    uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid()
}

impl BusCore {
    /// The first step of an awaited publish: on the loop's thread, behind those who wait already.
    pub(crate) fn offer_now(slf: &Bound<'_, Self>, outgoing: &Outgoing) -> PyResult<Offer> {
        let py = slf.py();
        let bus = slf.get();
        bus.thread.check(py)?;
        if bus.queue_of_waiters.load(Ordering::Relaxed) > 0 {
            return Ok(Offer::Full(None));
        }
        Self::offer(slf, outgoing, By::Task)
    }

    /// Whether its loop can still run anything.
    fn has_loop(slf: &Bound<'_, Self>) -> PyResult<bool> {
        calls::method(intern!(slf.py(), "_has_loop"), [slf], None)?.is_truthy()
    }

    /// Offers once.
    pub(super) fn offer(slf: &Bound<'_, Self>, outgoing: &Outgoing, by: By) -> PyResult<Offer> {
        let py = slf.py();
        let bus = slf.get();
        if bus.closed.load(Ordering::Relaxed) {
            return Err(to_py(py, Error::Lifecycle("this bus was shut down; make a new one")));
        }
        if !by.waits() && bus.queue_of_waiters.load(Ordering::Relaxed) > 0 {
            // Nobody stands in line in a forked child, nor in a loop that is closed.
            bus.way.check(py)?;
            if Self::has_loop(slf)? {
                return Ok(Offer::Full(None));
            }
        }
        let timestamp = Timestamp::now();
        let id = fresh_id();
        let fresh = outgoing.correlation.is_none().then(fresh_id).unwrap_or_default();
        let mut buffer = Uuid::encode_buffer();
        // What a view borrows from must outlive it.
        let object = outgoing.what.object().bind(py);
        let view = match &outgoing.what {
            What::Event(_) => Some(events::view(object)?),
            What::Control(_) => None,
        };
        let payload = match &view {
            Some(event) => Payload::Event(event),
            None => Payload::Control(control_payload(object)?),
        };
        let correlation = match &outgoing.correlation {
            Some(given) => events::correlation_view(given.bind(py), timestamp)?,
            None => events::fresh_correlation(fresh.hyphenated().encode_lower(&mut buffer), timestamp),
        };
        let topic = match (&outgoing.topic, &view) {
            (Some(topic), _) => topic_text(topic.bind(py))?,
            (None, Some(event)) => default_topic(event.kind()),
            (None, None) => return Err(PyTypeError::new_err("publish_control needs a topic")),
        };
        let mut draft = Draft {
            id,
            topic,
            correlation_metadata: correlation,
            payload,
            sequence: 0,
            timestamp,
        };
        match &bus.way {
            Way::Link(handle, link) => Self::over(slf, handle.get(), link, &mut draft, by),
            Way::Port(handle, port) => {
                let parts = Parts::of(py, outgoing, view.as_ref(), topic, fresh, handle.get().dialect)?;
                Self::past(slf, handle.get(), port, &mut draft, parts, by)
            }
        }
    }

    /// Over a connection.
    #[inline]
    fn over(
        slf: &Bound<'_, Self>,
        handle: &Link,
        link: &Owned<Arc<client::Link>>,
        draft: &mut Draft<'_>,
        by: By,
    ) -> PyResult<Offer> {
        let py = slf.py();
        let bus = slf.get();
        let waker = by.waits().then_some(&bus.room);
        let told = match raise(py, link.get(py)?.publish(draft, waker))? {
            Sent::Full if !by.waits() && !Self::has_loop(slf)? => {
                link.get(py)?.flush_elsewhere();
                return Ok(Offer::Full(None));
            }
            Sent::Full => return Ok(Offer::Full(None)),
            // What a loop was to write that is closed, nobody else writes soon.
            Sent::Waiting if !by.waits() => match Self::has_loop(slf) {
                Ok(false) => {
                    link.get(py)?.flush_elsewhere();
                    Ok(None)
                }
                has_loop => has_loop.map(|_| None),
            },
            Sent::Buffered | Sent::Blocked if !by.is_on_loop() => {
                link.get(py)?.flush_elsewhere();
                Ok(None)
            }
            Sent::Buffered if handle.flush.schedule() => Ok(None),
            Sent::Buffered => calls::method(intern!(py, "_flush_soon"), [slf], None).map(Some),
            Sent::Blocked => calls::method(intern!(py, "_kernel_is_full"), [slf], None).map(Some),
            Sent::Written | Sent::Waiting => Ok(None),
        };
        bus.published.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = told {
            // The loop will not see to it: it is closed, or a signal's handler raised. What was taken goes out all the same.
            handle.flush.clear();
            link.get(py)?.flush_elsewhere();
            return Err(error);
        }
        Ok(Offer::Taken)
    }

    /// In the broker's process, past any connection.
    #[inline]
    fn past(
        slf: &Bound<'_, Self>,
        handle: &PortHandle,
        port: &Owned<Arc<Port>>,
        draft: &mut Draft<'_>,
        parts: Parts,
        by: By,
    ) -> PyResult<Offer> {
        let py = slf.py();
        let bus = slf.get();
        let (id, timestamp) = (draft.id, draft.timestamp);
        let message = |sequence| -> Object {
            Arc::new(LocalMessage {
                what: parts.what,
                correlation: parts.correlation,
                id,
                topic: parts.topic,
                timestamp,
                sequence,
            })
        };
        let caller = Caller {
            waker: by.waits().then_some(&bus.room),
            flushes: by.is_on_loop(),
        };
        // Not for `publish_nowait`: a signal's handler may call it while the loop sleeps, whom the kernel alone wakes then.
        let minding = by.waits().then(|| bus.bell.mind());
        let published = raise(py, port.get(py)?.publish(draft, message, caller))?;
        let told = if minding.is_some_and(Minding::ends_due) {
            calls::method(intern!(py, "_look_soon"), [slf], None).map(drop)
        } else {
            Ok(())
        };
        if told.is_err() {
            // A signal's handler raised: the loop may not have been asked.
            bus.bell.pull();
        }
        match published {
            Published::Done => {}
            Published::HeldBack => {
                if !handle.flush.schedule()
                    && let Err(error) = calls::method(intern!(py, "_flush_soon"), [slf], None)
                {
                    handle.flush.clear();
                    port.get(py)?.flush();
                    return Err(error);
                }
            }
            Published::Wait(waiting) => return told.map(|()| Offer::Full(Some(Pending::new(waiting)))),
        }
        told.map(|()| Offer::Taken)
    }
}

/// What readers of this process are handed besides what a draft says.
struct Parts {
    what: What,
    correlation: Correlation,
    topic: Py<PyString>,
}

impl Parts {
    #[inline]
    fn of(
        py: Python<'_>,
        outgoing: &Outgoing,
        view: Option<&CollectionEvent<'_>>,
        topic: &str,
        fresh: Uuid,
        dialect: Dialect,
    ) -> PyResult<Self> {
        // Over a socket a reader knows a trigger request by its topic alone; in process it is no different.
        let what = match (&outgoing.what, view) {
            (What::Event(_), Some(event)) if event.kind() == EventKind::Trigger && topic != trigger::REQUEST => {
                let mut bytes = Vec::new();
                raise(py, dialect.encode(event, &mut bytes))?;
                What::Control(PyBytes::new(py, &bytes).into_any().unbind())
            }
            (What::Control(payload), _) if topic == trigger::REQUEST => trigger_in(payload.bind(py), dialect)?,
            (What::Event(event), _) => What::Event(event.clone_ref(py)),
            (What::Control(payload), _) => What::Control(plain_payload(payload.bind(py))?),
        };
        let correlation = match &outgoing.correlation {
            Some(given) => Correlation::given(given.bind(py))?,
            None => Correlation::Id(fresh.into()),
        };
        let topic = match (&outgoing.topic, view) {
            (None, Some(event)) => default_topic_text(py, event.kind()),
            (Some(given), _) => Field("publish", "topic").text(given.bind_borrowed(py))?,
            (None, None) => PyString::new(py, topic).unbind(),
        };
        Ok(Self {
            what,
            correlation,
            topic,
        })
    }
}
