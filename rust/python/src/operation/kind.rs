//! The kinds of operations: the one native step of each, the Python coroutine for when that does not finish, and the subscription whose
//! messages it waits for.
use std::sync::OnceLock;

use pyo3::exceptions::PyRuntimeWarning;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt};

use crate::bus::BusCore;
use crate::calls;
use crate::publish_line::StandBack;
use crate::publish_request::{PublishOutcome, PublishRequest};
use crate::subscription::{SubscriptionCore, Taken};
use crate::waiter::Waiter;

pub(crate) enum Kind {
    Publish {
        bus: Py<BusCore>,
        request: PublishRequest,
    },
    Get {
        subscription: Py<SubscriptionCore>,
        timeout: Option<Py<PyAny>>,
        /// Where it stands among the readers that wait, once it has waited.
        place: OnceLock<u64>,
    },
    Next {
        subscription: Py<SubscriptionCore>,
        /// As above.
        place: OnceLock<u64>,
    },
}

/// The result of one step.
pub(super) enum Step {
    Return(Py<PyAny>),
    Become(Py<PyAny>),
    Wait(Py<Waiter>),
}

impl Kind {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Publish { request, .. } => request.call.name(),
            Self::Get { .. } => "get",
            Self::Next { .. } => "__anext__",
        }
    }

    /// What the step waits for first, if the loop should have a turn before.
    #[inline]
    pub(super) fn stand_back(&self, py: Python<'_>) -> PyResult<Option<StandBack>> {
        let (subscription, waits) = match self {
            Self::Publish { bus, .. } => return bus.get().join_line(py),
            Self::Get {
                subscription, timeout, ..
            } => (subscription, timeout.is_none()),
            Self::Next { subscription, .. } => (subscription, true),
        };
        Ok(subscription.get().must_yield(py, waits)?.then_some(StandBack::Yield))
    }

    /// It has given the loop a turn, and is taken now.
    pub(super) fn resume(&self) {
        match self {
            Self::Publish { bus, .. } => bus.get().line().resume(),
            Self::Get { subscription, .. } | Self::Next { subscription, .. } => subscription.get().resume(),
        }
    }

    /// It has waited, and is taken now.
    pub(super) fn begin_after_wait(&self, waiter: &Waiter) {
        match self {
            Self::Publish { bus, .. } => bus.get().line().resume_waiting(waiter),
            Self::Get { subscription, .. } | Self::Next { subscription, .. } => subscription.get().begin_after_wait(),
        }
    }

    /// It gave the loop a turn, and is not taken after all.
    pub(super) fn forget(&self) {
        match self {
            Self::Publish { bus, .. } => bus.get().line().forget_yielded(),
            Self::Get { subscription, .. } | Self::Next { subscription, .. } => subscription.get().forget_yield(),
        }
    }

    pub(super) fn step(&self, py: Python<'_>) -> PyResult<Step> {
        match self {
            Self::Publish { bus, request } => match BusCore::try_publish_awaited(bus.bind(py), request)? {
                PublishOutcome::Accepted => Ok(Step::Return(py.None())),
                PublishOutcome::Interrupted(error) => Err(error),
                PublishOutcome::Full(left) => request.slow_path(bus.bind(py).as_any(), left).map(Step::Become),
            },
            Self::Get {
                subscription,
                timeout,
                place,
            } => {
                let odd = timeout.as_ref().is_some_and(|timeout| !is_number(timeout.bind(py)));
                match if odd {
                    Taken::Empty
                } else {
                    subscription.get().take(py)?
                } {
                    Taken::Message(message) => Ok(Step::Return(message)),
                    Taken::Empty if timeout.is_none() => add_waiter(subscription.bind(py), place).map(Step::Wait),
                    Taken::Empty | Taken::Ended => {
                        let none = py.None();
                        let timeout = timeout.as_ref().unwrap_or(&none).bind(py);
                        let slow = calls::method(intern!(py, "_get_slow"), [subscription.bind(py), timeout], None)?;
                        Ok(Step::Become(slow.unbind()))
                    }
                }
            }
            Self::Next { subscription, place } => match subscription.get().take(py)? {
                Taken::Message(message) => Ok(Step::Return(message)),
                Taken::Empty => add_waiter(subscription.bind(py), place).map(Step::Wait),
                Taken::Ended => {
                    let slow = calls::method(intern!(py, "_next_slow"), [subscription.bind(py)], None)?;
                    Ok(Step::Become(slow.unbind()))
                }
            },
        }
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Publish { bus, request } => {
                visit.call(bus)?;
                visit.call(&request.object)?;
                visit.call(&request.correlation)?;
                visit.call(&request.topic)
            }
            Self::Get {
                subscription, timeout, ..
            } => {
                visit.call(subscription)?;
                visit.call(timeout)
            }
            Self::Next { subscription, .. } => visit.call(subscription),
        }
    }

    /// Drops what it held. With `py`, since each reference would otherwise look up whether the thread is attached.
    pub(super) fn release(self, py: Python<'_>) {
        match self {
            Self::Publish { bus, request } => {
                bus.drop_ref(py);
                request.release(py);
            }
            Self::Get {
                subscription, timeout, ..
            } => {
                subscription.drop_ref(py);
                drop(timeout);
            }
            Self::Next { subscription, .. } => subscription.drop_ref(py),
        }
    }

    /// The subscription whose messages it waits for.
    const fn subscription(&self) -> Option<&Py<SubscriptionCore>> {
        match self {
            Self::Publish { .. } => None,
            Self::Get { subscription, .. } | Self::Next { subscription, .. } => Some(subscription),
        }
    }

    /// Stops waiting; if it was woken already, another waiter is woken in its place.
    pub(super) fn remove_waiter(&self, py: Python<'_>, waiter: &Py<Waiter>) -> PyResult<()> {
        match self {
            Self::Publish { bus, .. } => bus.get().line().leave(waiter.get()),
            Self::Get { subscription, .. } | Self::Next { subscription, .. } => {
                let arguments = [subscription.bind(py).as_any(), waiter.bind(py)];
                calls::method(intern!(py, "_remove_waiter"), arguments, None)?;
            }
        }
        Ok(())
    }

    /// The same for one that is collected: in a loop that is closed, or half collected itself, no other can be woken.
    pub(super) fn remove_waiter_if_open(&self, py: Python<'_>, waiter: &Py<Waiter>) -> PyResult<()> {
        if self.subscription().is_none() || waiter.get().has_loop(py) {
            self.remove_waiter(py, waiter)?;
        }
        Ok(())
    }

    /// Wakes the next waiter if there is a message for it.
    pub(super) fn wake_next(&self, py: Python<'_>) -> PyResult<()> {
        let Some(subscription) = self.subscription() else {
            return Ok(());
        };
        let waiters = subscription.bind(py).getattr(intern!(py, "_waiters"))?;
        subscription.get().wake_next(&waiters.getattr(intern!(py, "queue"))?)
    }

    /// Warns as Python does of a coroutine. Shown by default, since an event may be missing.
    pub(super) fn warn_unawaited(&self, py: Python<'_>) -> PyResult<()> {
        let message = std::ffi::CString::new(format!("{} was never awaited; nothing happened", self.name()))?;
        PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &message, 1)
    }
}

/// Whether it is plainly a number; `_get_slow` checks anything else before it takes a message.
fn is_number(timeout: &Bound<'_, PyAny>) -> bool {
    timeout.cast_exact::<PyFloat>().map_or_else(
        |_| timeout.is_exact_instance_of::<PyInt>(),
        |seconds| !seconds.value().is_nan(),
    )
}

/// A new waiter behind those that wait for a message already; for a reader that was woken in vain, where it stood.
fn add_waiter(subscription: &Bound<'_, SubscriptionCore>, place: &OnceLock<u64>) -> PyResult<Py<Waiter>> {
    let py = subscription.py();
    let former = place.get().into_pyobject(py)?;
    let waiter = calls::method(intern!(py, "_add_waiter"), [subscription.as_any(), &former], None)?;
    let waiter = waiter.cast_into::<Waiter>()?;
    place.get_or_init(|| waiter.get().place);
    Ok(waiter.unbind())
}
