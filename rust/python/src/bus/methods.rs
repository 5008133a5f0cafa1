//! The methods of `EventBus` that are native. A module of its own, since they issue operations, which in turn publish through the bus.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use daemoneye_eventbus_core::Error;
use daemoneye_eventbus_core::broker::{PendingPublish, Published};
use daemoneye_eventbus_core::lock::Mutex;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyTuple};

use super::publish::PublishMode;
use super::{Backend, BusCore};
use crate::calls;
use crate::errors::{raise, to_py};
use crate::fork_safe::ForkSafe;
use crate::lifecycle::{is_exiting, is_too_late};
use crate::link::Link;
use crate::local_link::LocalLink;
use crate::loop_waker::LoopWaker;
use crate::operation::{Kind, Operation};
use crate::publish_line::StandBack;
use crate::publish_progress::PublishProgress;
use crate::publish_request::{PublishCall, PublishOutcome, PublishRequest};
use crate::statistics;
use crate::subscription::SubscriptionCore;
use crate::waiter::Waiter;

#[pymethods]
impl BusCore {
    /// `backend` is a `Link` or a `LocalLink`; the loop is woken for `token` when waiting publishes should be tried again.
    #[new]
    #[pyo3(signature = (backend, waker, token, *_args, **_kwargs))]
    fn new(
        py: Python<'_>,
        backend: &Bound<'_, PyAny>,
        waker: &LoopWaker,
        token: u64,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let backend = if let Ok(link) = backend.cast::<Link>() {
            let core = Arc::clone(link.get().core(py)?);
            Backend::Link(link.clone().unbind(), ForkSafe::new(core))
        } else {
            let handle = backend.cast::<LocalLink>()?;
            let core = Arc::clone(handle.get().core(py)?);
            Backend::Local(handle.clone().unbind(), ForkSafe::new(core))
        };
        Ok(Self {
            backend,
            waiter_count: AtomicUsize::new(0),
            own_loop: waker.own_loop(py)?,
            room_waker: waker.for_token(py, token)?,
            notifier: waker.notifier(py)?,
            closed: AtomicBool::new(false),
            published: AtomicU64::new(0),
            totals: Mutex::default(),
        })
    }

    /// Publishes ``event``, one of the five, on ``topic``, by default that of its type.
    ///
    /// ``correlation`` is an id, metadata, or ``None`` for a new id. Returns when the message is in the bounded send buffer; waits
    /// while there is no room, for at most ``publish_timeout`` seconds (`PublishTimeout`). Raises `TopicError`, `FrameTooLarge`,
    /// `PermissionRefused` if it is refused in process (over a socket a refusal is only logged and counted, later),
    /// `PublishNotSupported` with a broker of the original, `ConnectionClosed`, `ConnectionLost`, `WrongLoop`, ``TypeError``, and
    /// ``ValueError`` for an id above 256 bytes.
    #[pyo3(signature = (event, correlation=None, *, topic=None))]
    fn publish(
        slf: Bound<'_, Self>,
        event: Py<PyAny>,
        correlation: Option<Py<PyAny>>,
        topic: Option<Py<PyAny>>,
    ) -> PyResult<Py<Operation>> {
        let request = PublishRequest {
            call: PublishCall::Publish,
            object: event,
            correlation,
            topic,
        };
        let py = slf.py();
        let bus = slf.unbind();
        Operation::issue(py, Kind::Publish { bus, request })
    }

    /// Publishes ``payload``, raw bytes, as a control message on ``topic``, in the domain ``control`` or ``health``.
    ///
    /// It waits, fails and uses ``correlation`` as `publish` does.
    #[pyo3(signature = (topic, payload, correlation=None))]
    fn publish_control(
        slf: Bound<'_, Self>,
        topic: Py<PyAny>,
        payload: Py<PyAny>,
        correlation: Option<Py<PyAny>>,
    ) -> PyResult<Py<Operation>> {
        let request = PublishRequest {
            call: PublishCall::Control,
            object: payload,
            correlation,
            topic: Some(topic),
        };
        let py = slf.py();
        let bus = slf.unbind();
        Operation::issue(py, Kind::Publish { bus, request })
    }

    /// Publishes as `publish` does, but from any thread and without waiting.
    ///
    /// `WouldBlock` if there is no room, or if others of this bus are waiting for room; it does not overtake them.
    #[pyo3(signature = (event, correlation=None, *, topic=None))]
    fn publish_nowait(
        slf: &Bound<'_, Self>,
        event: Py<PyAny>,
        correlation: Option<Py<PyAny>>,
        topic: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let request = PublishRequest {
            call: PublishCall::Nowait,
            object: event,
            correlation,
            topic,
        };
        let is_exiting = is_exiting();
        if is_exiting && is_too_late() {
            return Ok(());
        }
        let (py, bus) = (slf.py(), slf.get());
        let would_block = || Err(to_py(py, Error::WouldBlock(PublishCall::Nowait.name())));
        if is_exiting && !bus.write_now(py)? {
            return would_block();
        }
        // A loop that has moved here and does not know it yet is not asked: what it publishes is written at once.
        let on_loop = bus.own_loop.is_current();
        match Self::try_publish(slf, &request, PublishMode::Nowait { on_loop })? {
            PublishOutcome::Accepted if is_exiting && !bus.write_now(py)? => {
                calls::method(intern!(py, "_warn_unsent"), [slf], None).map(drop)
            }
            PublishOutcome::Accepted => Ok(()),
            PublishOutcome::Interrupted(error) => Err(error),
            PublishOutcome::Full(_) => would_block(),
        }
    }

    /// Tries again for a coroutine that waits, or goes on with what `progress` has begun; `call` is the name of what was called. True if it
    /// is accepted.
    fn _try_publish(
        slf: &Bound<'_, Self>,
        object: Py<PyAny>,
        correlation: Option<Py<PyAny>>,
        topic: Option<Py<PyAny>>,
        call: &str,
        progress: &PublishProgress,
    ) -> PyResult<bool> {
        let outcome = match progress.take_pending() {
            Some(pending) => slf.get().resume(slf.py(), pending)?,
            None => {
                let request = PublishRequest {
                    call: PublishCall::named(call)?,
                    object,
                    correlation,
                    topic,
                };
                Self::try_publish(slf, &request, PublishMode::Await)?
            }
        };
        progress.advance(outcome)
    }

    /// Includes `subscription` in this bus's statistics.
    fn _track(&self, py: Python<'_>, subscription: &SubscriptionCore) -> PyResult<()> {
        self.totals.lock().track(subscription.tracked(py)?);
        Ok(())
    }

    /// What this bus published, delivered and lost.
    fn _own_statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        // First, since it refuses a forked child: a thread that does not exist there may have left a queue locked.
        let published = match &self.backend {
            Backend::Local(_, port) => port.get(py)?.published(),
            Backend::Link(_, link) => link.get(py).map(|_| self.published.load(Ordering::Relaxed))?,
        };
        let sum = self.totals.lock().total();
        let all = PyDict::new(py);
        all.set_item("published", published)?;
        all.set_item("delivered", sum.delivered)?;
        all.set_item("dropped", statistics::dropped(py, &sum)?)?;
        Ok(all)
    }

    /// Has every later publish refused.
    fn _close_core(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Sets how many coroutines wait for room.
    fn _set_waiter_count(&self, count: usize) {
        self.waiter_count.store(count, Ordering::Relaxed);
    }

    /// The places of the first and the last publish that stand in the loop's line, of any bus.
    fn _standing_publishes(&self) -> Option<(u64, u64)> {
        self.line().places()
    }

    /// One of `_try_publish_many` that has `stood_back` with this does not go on.
    fn _leave_line(&self, stood_back: &Bound<'_, PyAny>) {
        match stood_back.cast::<Waiter>() {
            Ok(waiter) => self.line().leave(waiter.get()),
            Err(_) => self.line().forget_yielded(),
        }
    }

    /// Publishes from the iterator until it ends, the loop is due a turn, or there is no room. Returns why it stopped: `None` = ended, true
    /// = a turn, a `Waiter` = the wait for one; after these it is called with that as `stood_back`. Else the event that found no room, alone
    /// in a tuple.
    fn _try_publish_many(
        slf: &Bound<'_, Self>,
        events: &Bound<'_, PyAny>,
        correlation: Option<Py<PyAny>>,
        topic: Option<Py<PyAny>>,
        mut stood_back: Option<Bound<'_, PyAny>>,
        progress: &PublishProgress,
    ) -> PyResult<Py<PyAny>> {
        let (py, bus) = (slf.py(), slf.get());
        bus.own_loop.check(py)?;
        loop {
            if let Some(stood_back) = stood_back.take() {
                match stood_back.cast::<Waiter>() {
                    Ok(waiter) => bus.line().resume_waiting(waiter.get()),
                    Err(_) => bus.line().resume(),
                }
            } else {
                match bus.join_line(py)? {
                    None => {}
                    Some(StandBack::Yield) => return Ok(PyBool::new(py, true).to_owned().into_any().unbind()),
                    Some(StandBack::InLine(waiter)) => return Ok(waiter.into_any()),
                }
            }
            let Some(event) = calls::next(events)? else {
                return Ok(py.None());
            };
            let request = PublishRequest {
                call: PublishCall::Many,
                object: event.unbind(),
                correlation: correlation.as_ref().map(|value| value.clone_ref(py)),
                topic: topic.as_ref().map(|value| value.clone_ref(py)),
            };
            if !progress.advance(Self::try_publish_awaited(slf, &request)?)? {
                return Ok((request.object,).into_pyobject(py)?.into_any().unbind());
            }
        }
    }
}

impl BusCore {
    /// Goes on with an in-process publish that only some readers have.
    fn resume(&self, py: Python<'_>, pending: PendingPublish) -> PyResult<PublishOutcome> {
        let Backend::Local(_, port) = &self.backend else {
            return Ok(PublishOutcome::Full(None));
        };
        Ok(match raise(py, port.get(py)?.resume(pending, &self.room_waker))? {
            Published::Done | Published::HeldBack => PublishOutcome::Accepted,
            Published::Wait(pending) => PublishOutcome::Full(Some(pending)),
        })
    }
}
