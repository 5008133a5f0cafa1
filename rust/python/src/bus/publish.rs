//! One attempt to publish: from a Python object into a connection's send buffer, or straight to readers in the broker's process.
//!
//! It is one native step on the caller's thread, and never waits: check, encode straight from the object's fields, append, and write if it
//! is time.
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

use super::{Backend, BusCore};
use crate::calls;
use crate::deferred_drops;
use crate::errors::{raise, to_py};
use crate::events::{self, Correlation};
use crate::fork_safe::ForkSafe;
use crate::link::Link;
use crate::local_link::LocalLink;
use crate::loop_waker::Deferral;
use crate::publish_line::{PublishLine, StandBack};
use crate::publish_request::{
    LocalContents, LocalMessage, PublishOutcome, PublishRequest, Publishable, control_payload, default_topic_text,
    exact_payload, topic_text, trigger_in,
};

/// Whether the caller waits where there is no room.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PublishMode {
    /// A task of the loop, which does.
    Await,
    /// `publish_nowait`, from any thread: does not wait or overtake. Elsewhere than in its last thread the loop does not flush for it.
    Nowait { on_loop: bool },
}

impl PublishMode {
    const fn waits(self) -> bool {
        matches!(self, Self::Await)
    }

    const fn is_on_loop(self) -> bool {
        matches!(self, Self::Await | Self::Nowait { on_loop: true })
    }
}

/// A random id; ids need to differ, not to be secret.
fn fresh_id() -> Uuid {
    uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid()
}

impl BusCore {
    /// The first attempt of an awaited publish: on the loop's thread, behind those that wait already.
    pub(crate) fn try_publish_awaited(slf: &Bound<'_, Self>, request: &PublishRequest) -> PyResult<PublishOutcome> {
        let py = slf.py();
        let bus = slf.get();
        bus.own_loop.check(py)?;
        if bus.waiter_count.load(Ordering::Relaxed) > 0 {
            return Ok(PublishOutcome::Full(None));
        }
        Self::try_publish(slf, request, PublishMode::Await)
    }

    /// Before a publish: `None` if it may be taken now, else how it gives the loop a turn first.
    #[inline]
    pub(crate) fn join_line(&self, py: Python<'_>) -> PyResult<Option<StandBack>> {
        self.line().join(py, &self.own_loop)
    }

    /// That of its loop.
    pub(crate) fn line(&self) -> &PublishLine {
        self.own_loop.line()
    }

    /// Counts what an awaited publish has added to this turn of the loop.
    #[inline]
    fn spend(&self, bytes: usize) {
        self.line().spend(bytes, &self.notifier);
    }

    /// Whether its loop can still run anything.
    fn has_loop(slf: &Bound<'_, Self>) -> PyResult<bool> {
        calls::method(intern!(slf.py(), "_has_loop"), [slf], None)?.is_truthy()
    }

    /// Has the loop go on with what was published, by a method of the bus. False if it runs in another thread by now, and nothing was done.
    fn leave_to_loop(slf: &Bound<'_, Self>, method: &Bound<'_, PyString>) -> PyResult<bool> {
        if slf.get().own_loop.has_moved(slf.py())? {
            return Ok(false);
        }
        calls::method(method, [slf], None).map(|_| true)
    }

    /// Has the loop wake the readers that a deferred wake-up was for.
    #[cold]
    fn dispatch_soon(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, bus) = (slf.py(), slf.get());
        if bus.own_loop.running(py)?.is_some() {
            calls::method(intern!(py, "_dispatch_soon"), [slf], None).map(drop)
        } else {
            bus.notifier.wake_loop();
            Ok(())
        }
    }

    /// Tries once.
    pub(super) fn try_publish(
        slf: &Bound<'_, Self>,
        request: &PublishRequest,
        mode: PublishMode,
    ) -> PyResult<PublishOutcome> {
        let py = slf.py();
        let bus = slf.get();
        if bus.closed.load(Ordering::Relaxed) {
            // In a forked child it is the parent's, also if it was shut down before.
            bus.backend.check(py)?;
            return Err(to_py(py, Error::Lifecycle("this bus was shut down; make a new one")));
        }
        if !mode.waits() && bus.waiter_count.load(Ordering::Relaxed) > 0 {
            // In a forked child, or once the loop is closed, those that waited are gone and hold nobody back.
            bus.backend.check(py)?;
            if Self::has_loop(slf)? {
                return Ok(PublishOutcome::Full(None));
            }
        }
        let timestamp = Timestamp::now();
        let id = fresh_id();
        let fresh = request.correlation.is_none().then(fresh_id).unwrap_or_default();
        let mut buffer = Uuid::encode_buffer();
        // What a view borrows from must outlive it.
        let object = request.object.bind(py);
        let view = if request.call.is_control() {
            None
        } else {
            Some(events::view_given(object, || request.call.event_field())?)
        };
        let payload = match &view {
            Some(event) => Payload::Event(event),
            None => Payload::Control(control_payload(object)?),
        };
        let correlation = match &request.correlation {
            Some(given) => events::correlation_view(given.bind(py), timestamp, || request.correlation_field())?,
            None => events::fresh_correlation(fresh.hyphenated().encode_lower(&mut buffer), timestamp),
        };
        let topic = match (&request.topic, &view) {
            (Some(topic), _) => topic_text(topic.bind(py), request.call)?,
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
        match &bus.backend {
            Backend::Link(handle, link) => Self::publish_remote(slf, handle.get(), link, &mut draft, mode),
            Backend::Local(handle, port) => {
                let parts = Parts::of(py, request, view.as_ref(), topic, fresh, handle.get().dialect)?;
                Self::publish_local(slf, handle.get(), port, &mut draft, parts, mode)
            }
        }
    }

    /// Through a connection.
    #[inline]
    fn publish_remote(
        slf: &Bound<'_, Self>,
        handle: &Link,
        link: &ForkSafe<Arc<client::Link>>,
        draft: &mut Draft<'_>,
        mode: PublishMode,
    ) -> PyResult<PublishOutcome> {
        let py = slf.py();
        let bus = slf.get();
        let waker = mode.waits().then_some(&bus.room_waker);
        let (sent, size) = raise(py, link.get(py)?.publish(draft, waker))?;
        let scheduled = match sent {
            Sent::Full if !mode.waits() && !Self::has_loop(slf)? => {
                link.get(py)?.flush_elsewhere();
                return Ok(PublishOutcome::Full(None));
            }
            Sent::Full => return Ok(PublishOutcome::Full(None)),
            // A loop that is closed does not flush what was left to it.
            Sent::Waiting if !mode.waits() => Self::has_loop(slf),
            Sent::Buffered | Sent::Blocked if !mode.is_on_loop() => Ok(false),
            Sent::Buffered if handle.flush.schedule() => Ok(true),
            Sent::Buffered => Self::leave_to_loop(slf, intern!(py, "_flush_soon")).inspect(|is_left| {
                if !is_left {
                    handle.flush.clear();
                }
            }),
            Sent::Blocked => Self::leave_to_loop(slf, intern!(py, "_kernel_is_full")),
            Sent::Written | Sent::Waiting => Ok(true),
        };
        if mode.waits() {
            bus.spend(size);
        }
        // Whoever is here has the interpreter's lock, so this needs no atomic addition.
        bus.published
            .store(bus.published.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        match scheduled {
            Ok(true) => Ok(PublishOutcome::Accepted),
            Ok(false) => {
                link.get(py)?.flush_elsewhere();
                Ok(PublishOutcome::Accepted)
            }
            Err(error) => {
                // No flush is scheduled: the loop is closed, or a signal handler raised. What was accepted is sent all the same.
                handle.flush.clear();
                link.get(py)?.flush_elsewhere();
                Ok(PublishOutcome::Interrupted(error))
            }
        }
    }

    /// In the broker's process, without a connection.
    #[inline]
    fn publish_local(
        slf: &Bound<'_, Self>,
        handle: &LocalLink,
        port: &ForkSafe<Arc<Port>>,
        draft: &mut Draft<'_>,
        parts: Parts,
        mode: PublishMode,
    ) -> PyResult<PublishOutcome> {
        let py = slf.py();
        deferred_drops::settle(py);
        let bus = slf.get();
        let (id, timestamp) = (draft.id, draft.timestamp);
        let message = |sequence| -> Object {
            Arc::new(LocalMessage::new(LocalContents {
                item: parts.item,
                correlation: parts.correlation,
                id,
                topic: parts.topic,
                timestamp,
                sequence,
            }))
        };
        let caller = Caller {
            waker: mode.waits().then_some(&bus.room_waker),
            flushes: mode.is_on_loop(),
        };
        // Not for `publish_nowait`: a signal handler may call it while the loop sleeps, which only its socket ends.
        let deferral = mode.waits().then(|| bus.notifier.defer());
        let (published, size) = raise(py, port.get(py)?.publish(draft, message, caller))?;
        if mode.waits() {
            bus.spend(size);
        }
        let mut scheduled = if deferral.is_some_and(Deferral::finish) {
            Self::dispatch_soon(slf)
        } else {
            Ok(())
        };
        if scheduled.is_err() {
            // A signal handler raised: the callback may not be scheduled.
            bus.notifier.wake_loop();
        }
        match published {
            Published::Done => {}
            Published::HeldBack => {
                if !handle.flush.schedule() {
                    let left = Self::leave_to_loop(slf, intern!(py, "_flush_soon"));
                    if !matches!(left, Ok(true)) {
                        handle.flush.clear();
                        port.get(py)?.flush();
                    }
                    if let Err(error) = left {
                        scheduled = Err(error);
                    }
                }
            }
            Published::Wait(pending) => {
                return match scheduled {
                    Ok(()) => Ok(PublishOutcome::Full(Some(pending))),
                    Err(error) if pending.give_up() => Ok(PublishOutcome::Interrupted(error)),
                    Err(error) => Err(error),
                };
            }
        }
        Ok(scheduled.map_or_else(PublishOutcome::Interrupted, |()| PublishOutcome::Accepted))
    }
}

/// What readers in this process get of a message, besides the fields of its draft.
struct Parts {
    item: Publishable,
    correlation: Correlation,
    topic: Py<PyString>,
}

impl Parts {
    #[inline]
    fn of(
        py: Python<'_>,
        request: &PublishRequest,
        view: Option<&CollectionEvent<'_>>,
        topic: &str,
        fresh: Uuid,
        dialect: Dialect,
    ) -> PyResult<Self> {
        // Over a socket a reader knows a trigger request by its topic alone; in process it is no different.
        let object = &request.object;
        let item = match view {
            Some(event) if event.kind() == EventKind::Trigger && topic != trigger::REQUEST => {
                let mut bytes = Vec::new();
                raise(py, dialect.encode(event, &mut bytes))?;
                Publishable::Control(PyBytes::new(py, &bytes).into_any().unbind())
            }
            Some(_) => Publishable::Event(object.clone_ref(py)),
            None if topic == trigger::REQUEST => trigger_in(object.bind(py), dialect)?,
            None => Publishable::Control(exact_payload(object.bind(py))?),
        };
        let correlation = match &request.correlation {
            Some(given) => Correlation::given(given.bind(py), || request.correlation_field())?,
            None => Correlation::Id(fresh.into()),
        };
        let topic = match (&request.topic, view) {
            (None, Some(event)) => default_topic_text(py, event.kind()),
            (Some(given), _) => request.call.field("topic").text(given.bind_borrowed(py))?,
            (None, None) => PyString::new(py, topic).unbind(),
        };
        Ok(Self {
            item,
            correlation,
            topic,
        })
    }
}
