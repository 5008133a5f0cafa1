//! What an operation does, of each kind: its one native step, the Python coroutine that it becomes where that does not finish, and the line
//! in which it waits.
use pyo3::exceptions::PyRuntimeWarning;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt};

use crate::budget::Budget;
use crate::bus::BusCore;
use crate::calls;
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
    },
    Next {
        subscription: Py<SubscriptionCore>,
    },
}

/// What one step came to.
pub(super) enum Step {
    Return(Py<PyAny>),
    Become(Py<PyAny>),
    Wait(Py<Waiter>),
}

impl Kind {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Publish { .. } => "publish",
            Self::Get { .. } => "get",
            Self::Next { .. } => "__anext__",
        }
    }

    pub(super) fn budget(&self) -> &Budget {
        match self {
            Self::Publish { bus, .. } => &bus.get().budget,
            Self::Get { subscription, .. } | Self::Next { subscription } => &subscription.get().budget,
        }
    }

    pub(super) fn step(&self, py: Python<'_>) -> PyResult<Step> {
        match self {
            Self::Publish { bus, request } => match BusCore::try_publish_awaited(bus.bind(py), request)? {
                PublishOutcome::Accepted => Ok(Step::Return(py.None())),
                PublishOutcome::Full(partial) => request.slow_path(bus.bind(py).as_any(), partial).map(Step::Become),
            },
            Self::Get { subscription, timeout } => {
                let odd = timeout.as_ref().is_some_and(|timeout| !is_number(timeout.bind(py)));
                match if odd {
                    Taken::Empty
                } else {
                    subscription.get().take(py)?
                } {
                    Taken::Message(message) => Ok(Step::Return(message)),
                    Taken::Empty if timeout.is_none() => add_waiter(subscription.bind(py)).map(Step::Wait),
                    Taken::Empty | Taken::Ended => {
                        let none = py.None();
                        let timeout = timeout.as_ref().unwrap_or(&none).bind(py);
                        let slow = calls::method(intern!(py, "_get_slow"), [subscription.bind(py), timeout], None)?;
                        Ok(Step::Become(slow.unbind()))
                    }
                }
            }
            Self::Next { subscription } => match subscription.get().take(py)? {
                Taken::Message(message) => Ok(Step::Return(message)),
                Taken::Empty => add_waiter(subscription.bind(py)).map(Step::Wait),
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
                visit.call(request.item.object())?;
                visit.call(&request.correlation)?;
                visit.call(&request.topic)
            }
            Self::Get { subscription, timeout } => {
                visit.call(subscription)?;
                visit.call(timeout)
            }
            Self::Next { subscription } => visit.call(subscription),
        }
    }

    /// Lets go of what it held: told that the thread is attached, which each reference would have to find out by itself.
    pub(super) fn release(self, py: Python<'_>) {
        match self {
            Self::Publish { bus, request } => {
                bus.drop_ref(py);
                request.release(py);
            }
            Self::Get { subscription, timeout } => {
                subscription.drop_ref(py);
                drop(timeout);
            }
            Self::Next { subscription } => subscription.drop_ref(py),
        }
    }

    /// Where operations of this kind stand in line.
    const fn subscription(&self) -> Option<&Py<SubscriptionCore>> {
        match self {
            Self::Publish { .. } => None,
            Self::Get { subscription, .. } | Self::Next { subscription } => Some(subscription),
        }
    }

    /// Gives up the place; somebody else gets what this one was woken for.
    pub(super) fn remove_waiter(&self, py: Python<'_>, waiter: &Py<Waiter>) -> PyResult<()> {
        if let Some(subscription) = self.subscription() {
            let line = [subscription.bind(py).as_any(), waiter.bind(py)];
            calls::method(intern!(py, "_remove_waiter"), line, None)?;
        }
        Ok(())
    }

    /// The same for one that is collected: in a loop that is closed, or half collected itself, nobody can be woken in its place.
    pub(super) fn remove_waiter_if_open(&self, py: Python<'_>, waiter: &Py<Waiter>) -> PyResult<()> {
        if waiter.get().has_loop(py) {
            self.remove_waiter(py, waiter)?;
        }
        Ok(())
    }

    /// Wakes the next in line if there is something for it.
    pub(super) fn wake_next(&self, py: Python<'_>) -> PyResult<()> {
        let Some(subscription) = self.subscription() else {
            return Ok(());
        };
        let waiting = subscription.bind(py).getattr(intern!(py, "_waiters"))?;
        subscription.get().wake_next(&waiting.getattr(intern!(py, "queue"))?)
    }

    /// As Python warns of a coroutine: shown by default, since an event is missing.
    pub(super) fn warn_unawaited(&self, py: Python<'_>) -> PyResult<()> {
        let message = std::ffi::CString::new(format!("{} was never awaited; nothing happened", self.name()))?;
        PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &message, 1)
    }
}

/// Whether it may be a time at first sight; `_get_slow` judges the rest before it takes anything.
fn is_number(timeout: &Bound<'_, PyAny>) -> bool {
    timeout.cast_exact::<PyFloat>().map_or_else(
        |_| timeout.is_exact_instance_of::<PyInt>(),
        |seconds| !seconds.value().is_nan(),
    )
}

/// A place at the end of the line of those who wait for a message.
fn add_waiter(subscription: &Bound<'_, SubscriptionCore>) -> PyResult<Py<Waiter>> {
    let waiter = calls::method(intern!(subscription.py(), "_add_waiter"), [subscription], None)?;
    Ok(waiter.cast_into::<Waiter>()?.unbind())
}
