//! A future of asyncio's protocol for one wait, which can run the waiting task at once.
//!
//! With asyncio's own future, a task that is woken runs in the loop's next turn. A callback of the loop, during which no task runs, can
//! save that turn ([`Waiter::wake`] with `direct`): it steps the task by the very function that the loop would call. From anywhere else
//! the task is scheduled as usual.
//!
//! Guarantees: it is settled once, and a signal handler that raises at any point leaves no task settled and not scheduled.
use std::sync::atomic::{AtomicU64, Ordering};

use daemoneye_eventbus_core::lock::Mutex;
use pyo3::exceptions::{PyStopIteration, PyTimeoutError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyTuple, PyType};
use smallvec::SmallVec;

use crate::calls;

enum Outcome {
    Pending,
    Woken,
    TimedOut,
    /// With the caller's message.
    Cancelled(Option<Py<PyAny>>),
}

/// A function of the awaiting task and the context it runs in.
struct Callback {
    function: Py<PyAny>,
    context: Option<Py<PyAny>>,
}

struct Inner {
    outcome: Outcome,
    callbacks: SmallVec<[Callback; 1]>,
    /// asyncio's mark that a task has yielded this.
    blocking: bool,
    /// The result was read.
    is_read: bool,
}

/// How often `call_soon` is tried again when it raises; a signal handler does not raise so often in a row.
const ATTEMPTS: usize = 8;

/// The place of the next waiter that is given none; zero is nobody's.
static NEXT_PLACE: AtomicU64 = AtomicU64::new(1);

#[pyclass(frozen, weakref, module = "daemoneye_eventbus._native")]
pub(crate) struct Waiter {
    event_loop: Py<PyAny>,
    /// Where it stands in a queue: behind those with a lower one. Whoever was woken in vain waits again with the place that it had.
    #[pyo3(get)]
    pub(crate) place: u64,
    inner: Mutex<Inner>,
}

impl Waiter {
    /// A place behind all others.
    pub(crate) fn next_place() -> u64 {
        NEXT_PLACE.fetch_add(1, Ordering::Relaxed)
    }

    /// Settles it if it is pending; returns the callbacks, or `None` if it was settled before.
    fn settle(&self, outcome: Outcome) -> Option<SmallVec<[Callback; 1]>> {
        let mut inner = self.inner.lock();
        if !matches!(inner.outcome, Outcome::Pending) {
            return None;
        }
        inner.outcome = outcome;
        Some(std::mem::take(&mut inner.callbacks))
    }

    /// Schedules a callback. When a signal handler raises within `call_soon`, it is unknown whether the loop will call; then another is
    /// scheduled, which does nothing if the first one came.
    fn schedule(slf: &Bound<'_, Self>, callback: &Callback) -> PyResult<()> {
        let py = slf.py();
        let function = callback.function.bind(py);
        let scheduled = Self::call_soon(slf, function, slf, callback);
        if scheduled.is_err() {
            let again = slf.getattr(intern!(py, "call_unless_read"))?;
            for _ in 0..ATTEMPTS {
                if Self::call_soon(slf, &again, function, callback).is_ok() {
                    break;
                }
            }
        }
        scheduled
    }

    fn call_soon(
        slf: &Bound<'_, Self>,
        function: &Bound<'_, PyAny>,
        argument: &Bound<'_, PyAny>,
        callback: &Callback,
    ) -> PyResult<()> {
        let py = slf.py();
        static NAMES: PyOnceLock<Py<PyTuple>> = PyOnceLock::new();
        let names = NAMES.get_or_try_init(py, || PyTuple::new(py, ["context"]).map(Bound::unbind))?;
        let none = py.None();
        let context = callback.context.as_ref().unwrap_or(&none).bind(py);
        let given = [slf.get().event_loop.bind(py), function, argument, context];
        calls::method(intern!(py, "call_soon"), given, Some(names.bind(py))).map(drop)
    }

    fn settle_and_schedule(slf: &Bound<'_, Self>, outcome: Outcome) -> PyResult<bool> {
        let Some(callbacks) = slf.get().settle(outcome) else {
            return Ok(false);
        };
        let scheduled: SmallVec<[PyResult<()>; 1]> =
            callbacks.iter().map(|callback| Self::schedule(slf, callback)).collect();
        scheduled.into_iter().collect::<PyResult<()>>()?;
        Ok(true)
    }

    /// Whether anything is called when it is settled: a task is suspended on it.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.inner.lock().callbacks.is_empty()
    }

    /// Whether it was settled and the task that waited has not read the result: no other may continue with it now.
    pub(crate) fn has_unread_result(&self) -> bool {
        let inner = self.inner.lock();
        !matches!(inner.outcome, Outcome::Pending) && !inner.is_read
    }

    /// Whether its loop can still run anything.
    pub(crate) fn has_loop(&self, py: Python<'_>) -> bool {
        let closed = calls::method(intern!(py, "is_closed"), [self.event_loop.bind(py)], None);
        closed.and_then(|closed| closed.is_truthy()).is_ok_and(|closed| !closed)
    }

    fn cancelled_error(py: Python<'_>, message: Option<Py<PyAny>>) -> PyErr {
        static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        match CLASS.import(py, "asyncio", "CancelledError") {
            Ok(class) => PyErr::from_type(class.clone(), message),
            Err(error) => error,
        }
    }
}

#[pymethods]
impl Waiter {
    /// Behind all others, unless a `place` is given.
    #[new]
    #[pyo3(signature = (event_loop, place=None))]
    pub(crate) fn new(event_loop: Py<PyAny>, place: Option<u64>) -> Self {
        Self {
            event_loop,
            place: place.unwrap_or_else(Self::next_place),
            inner: Mutex::new(Inner {
                outcome: Outcome::Pending,
                callbacks: SmallVec::new(),
                blocking: false,
                is_read: false,
            }),
        }
    }

    /// Lets the awaiting task go on; false if it was settled before. `direct`, only for callers that are a callback of the loop: at
    /// once, before this returns.
    #[pyo3(signature = (direct=false))]
    pub(crate) fn wake(slf: &Bound<'_, Self>, direct: bool) -> PyResult<bool> {
        if !direct {
            return Self::settle_and_schedule(slf, Outcome::Woken);
        }
        let Some(callbacks) = slf.get().settle(Outcome::Woken) else {
            return Ok(false);
        };
        let py = slf.py();
        for callback in &callbacks {
            match &callback.context {
                Some(context) => {
                    let given = [context.bind(py), callback.function.bind(py), slf];
                    calls::method(intern!(py, "run"), given, None)?
                }
                None => calls::call(callback.function.bind(py), [slf], None)?,
            };
        }
        Ok(true)
    }

    /// Wakes the first in `waiters`, a deque, that still waits; false if none does. A signal handler that raises leaves no waiter taken out
    /// and asleep: it raises before this, after it, or within `call_soon`, which is handled.
    ///
    /// A waiter that no task awaits is settled and passed over: a signal handler raised before it was awaited, or its task is about to
    /// look into the queue.
    #[staticmethod]
    pub(crate) fn wake_first(waiters: &Bound<'_, PyAny>, direct: bool) -> PyResult<bool> {
        while waiters.is_truthy()? {
            let first = calls::method(intern!(waiters.py(), "popleft"), [waiters], None)?;
            let first = first.cast::<Self>()?;
            let awaited = first.get().is_awaited();
            match Self::wake(first, direct) {
                Ok(woken) if woken && awaited => return Ok(true),
                // In a loop that is closed the error would help nobody.
                Err(error) if first.get().has_loop(waiters.py()) => return Err(error),
                _ => {}
            }
        }
        Ok(false)
    }

    /// Calls `function`, unless the waiting task was called already and has read the result.
    fn call_unless_read(slf: &Bound<'_, Self>, function: &Bound<'_, PyAny>) -> PyResult<()> {
        if slf.get().inner.lock().is_read {
            return Ok(());
        }
        calls::call(function, [slf.as_any()], None).map(drop)
    }

    /// Has the wait end with `TimeoutError`.
    fn time_out(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::settle_and_schedule(slf, Outcome::TimedOut).map(drop)
    }

    /// Whether it ended so; a `TimeoutError` may also come from a signal handler.
    fn timed_out(&self) -> bool {
        matches!(self.inner.lock().outcome, Outcome::TimedOut)
    }

    // The future protocol, as asyncio's tasks use it.

    #[getter(_asyncio_future_blocking)]
    fn blocking(&self) -> bool {
        self.inner.lock().blocking
    }

    #[setter(_asyncio_future_blocking)]
    pub(crate) fn set_blocking(&self, blocking: bool) {
        self.inner.lock().blocking = blocking;
    }

    fn get_loop(&self) -> &Py<PyAny> {
        &self.event_loop
    }

    #[pyo3(signature = (function, /, *, context=None))]
    fn add_done_callback(slf: &Bound<'_, Self>, function: Py<PyAny>, context: Option<Py<PyAny>>) -> PyResult<()> {
        let callback = Callback { function, context };
        let mut inner = slf.get().inner.lock();
        if matches!(inner.outcome, Outcome::Pending) {
            inner.callbacks.push(callback);
            return Ok(());
        }
        drop(inner);
        Self::schedule(slf, &callback)
    }

    fn remove_done_callback(&self, py: Python<'_>, function: &Bound<'_, PyAny>) -> PyResult<usize> {
        // Comparing runs foreign code, so not under the lock; where it fails everything stays as it is.
        let copied = |callback: &Callback| callback.function.clone_ref(py);
        let known: SmallVec<[Py<PyAny>; 1]> = self.inner.lock().callbacks.iter().map(copied).collect();
        let mut equal: SmallVec<[Py<PyAny>; 1]> = SmallVec::new();
        for known in known {
            if known.is(function) || known.bind(py).eq(function)? {
                equal.push(known);
            }
        }
        let mut inner = self.inner.lock();
        let callbacks = std::mem::take(&mut inner.callbacks).into_iter();
        let (removed, kept): (SmallVec<[Callback; 1]>, _) =
            callbacks.partition(|callback| equal.iter().any(|equal| equal.is(&callback.function)));
        inner.callbacks = kept;
        // Not under the lock: a destructor may come back here.
        drop(inner);
        Ok(removed.len())
    }

    #[pyo3(signature = (msg=None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        Self::settle_and_schedule(slf, Outcome::Cancelled(msg))
    }

    fn cancelled(&self) -> bool {
        matches!(self.inner.lock().outcome, Outcome::Cancelled(_))
    }

    pub(crate) fn done(&self) -> bool {
        !matches!(self.inner.lock().outcome, Outcome::Pending)
    }

    pub(crate) fn result(&self, py: Python<'_>) -> PyResult<()> {
        let mut inner = self.inner.lock();
        inner.is_read = !matches!(inner.outcome, Outcome::Pending);
        let message = match &inner.outcome {
            Outcome::Woken => return Ok(()),
            Outcome::TimedOut => return Err(PyTimeoutError::new_err(())),
            Outcome::Cancelled(message) => message.as_ref().map(|message| message.clone_ref(py)),
            Outcome::Pending => {
                return Err(pyo3::exceptions::PyRuntimeError::new_err(
                    "nobody has woken this waiter yet",
                ));
            }
        };
        drop(inner);
        // Out of the lock: the class may have to be imported.
        Err(Self::cancelled_error(py, message))
    }

    fn __await__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        let py = slf.py();
        let mut inner = slf.get().inner.lock();
        if matches!(inner.outcome, Outcome::Pending) {
            inner.blocking = true;
            drop(inner);
            return Ok(slf);
        }
        drop(inner);
        slf.get().result(py)?;
        Err(PyStopIteration::new_err(()))
    }

    // A task holds its waiter and the waiter its task.

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        if let Some(inner) = self.inner.try_lock() {
            for callback in &inner.callbacks {
                visit.call(&callback.function)?;
                visit.call(&callback.context)?;
            }
            if let Outcome::Cancelled(message) = &inner.outcome {
                visit.call(message)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        // Dropped outside of the lock, since a destructor may come back here.
        let held = self.inner.try_lock().map(|mut inner| {
            let message = match &mut inner.outcome {
                Outcome::Cancelled(message) => message.take(),
                _ => None,
            };
            (std::mem::take(&mut inner.callbacks), message)
        });
        drop(held);
    }
}
