//! Awaitables that finish without suspending when they can.
//!
//! An operation does nothing until it is first awaited. Then it takes one native step. A reader whose queue is empty, or a publish that
//! gives way to others, waits and tries again when it is woken; everything else that cannot finish delegates to a Python coroutine that
//! does the same (`_publish_slow`, `_get_slow`). It has the whole coroutine protocol, so that `create_task`, `gather` and `wait_for` take it.
//!
//! Guarantees: nothing happens before the first await; a second `await` raises and costs the first nothing, and neither does another task
//! over an operation that waits for a message; one that is cancelled, closed or dropped while it waits loses no message and no other's
//! wake-up. Another task over one that gave the loop a turn, or that delegates, is not told from its own: as with a coroutine, it goes on
//! with it or ends it.
//!
//! A finished operation that nobody holds any more is reused: most are awaited where they are made, one after the other.
mod kind;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use atomic_refcell::AtomicRefCell;
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;

pub(crate) use self::kind::Kind;

use self::kind::Step;
use crate::calls::{self, Sent};
use crate::deferred_drops;
use crate::objects;
use crate::publish_line::StandBack;
use crate::saved_exception;
use crate::second_await::{SecondAwait, running_task};
use crate::stop_iteration::StopIteration;
use crate::waiter::Waiter;

enum State {
    New(Kind),
    /// Gave the loop a turn before its step. With its task, if it is a step of an iteration, which `anext` may have wrapped.
    Yielded(Kind, Option<Py<PyAny>>),
    /// Waits for a message, or in the line of publishers, with this waiter.
    Waiting(Kind, Py<Waiter>),
    /// Delegates to this coroutine.
    Coroutine(Py<PyAny>),
    Done,
}

#[pyclass(frozen, module = "daemoneye_eventbus._native")]
pub(crate) struct Operation {
    /// Not a mutex: whoever is here has the interpreter's lock and lets nobody else run, so none could ever wait for it.
    state: AtomicRefCell<(State, &'static str)>,
    /// Has yielded, so that an await of it is under way or over. Outside of the cell, which most awaits need not borrow then.
    has_yielded: AtomicBool,
}

thread_local! {
    /// The operation that finished last, for reuse.
    static SPARE: Spare = const { Spare(Cell::new(None)) };
}

struct Spare(Cell<Option<Py<Operation>>>);

impl Drop for Spare {
    fn drop(&mut self) {
        // A thread that ends has left the interpreter.
        if let Some(spare) = self.0.take() {
            deferred_drops::defer([Some(spare.into_any())]);
        }
    }
}

impl Operation {
    // Inlined, so that the kind is written to its place from registers.
    #[inline(always)]
    pub(crate) fn issue(py: Python<'_>, kind: Kind) -> PyResult<Py<Self>> {
        let name = kind.name();
        // One that somebody still holds may be awaited again, which it must refuse.
        match SPARE.with(|spare| spare.0.take()).filter(objects::is_held_once) {
            Some(spare) => {
                let operation = spare.get();
                *operation.state.borrow_mut() = (State::New(kind), name);
                operation.has_yielded.store(false, Ordering::Relaxed);
                Ok(spare)
            }
            None => Self::create(py, kind, name),
        }
    }

    #[cold]
    fn create(py: Python<'_>, kind: Kind, name: &'static str) -> PyResult<Py<Self>> {
        let state = AtomicRefCell::new((State::New(kind), name));
        let has_yielded = AtomicBool::new(false);
        Py::new(py, Self { state, has_yielded })
    }

    /// Keeps an operation that has returned for reuse.
    pub(crate) fn recycle(finished: Py<Self>) {
        SPARE.with(|spare| spare.0.set(Some(finished)));
    }

    fn take(&self) -> State {
        self.set(State::Done)
    }

    fn set(&self, state: State) -> State {
        std::mem::replace(&mut self.state.borrow_mut().0, state)
    }

    fn refusal(&self, why: &str) -> String {
        let name = self.state.borrow().1;
        format!("{name}() {why}; call it again for another")
    }

    fn refused(&self, why: &str) -> PyErr {
        PyRuntimeError::new_err(self.refusal(why))
    }

    /// Checks an `await`. Only here can a second one be told from the first, since both send the same; for an operation that returned at
    /// once, or waits to be woken, the next `send` can. The first await comes here again if it is that of `anext` with a default: before
    /// each step, and to be closed.
    pub(crate) fn check_await<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        match slf.get().second_await(py) {
            Some((_, Some(task))) if task.is(&running_task(py)?) => Ok(slf.clone().into_any()),
            Some((why, _)) => SecondAwait::of(slf.as_any(), slf.get().refusal(why)),
            None => Ok(slf.clone().into_any()),
        }
    }

    /// Why an `await` is not the first, unless it is that of the task that is given with it; `None` where it may be the first.
    fn second_await(&self, py: Python<'_>) -> Option<(&'static str, Option<Py<PyAny>>)> {
        if !self.has_yielded.load(Ordering::Relaxed) {
            return None;
        }
        match &self.state.borrow().0 {
            State::Waiting(_, waiter) if !waiter.get().has_unread_result() => None,
            State::Yielded(_, Some(task)) => Some(("is being awaited already", Some(task.clone_ref(py)))),
            State::Done => Some(("was awaited already", None)),
            _ => Some(("is being awaited already", None)),
        }
    }

    /// Suspends; the next `send` continues with `state`.
    fn suspend_as(&self, state: State) {
        self.has_yielded.store(true, Ordering::Relaxed);
        self.set(state);
    }

    /// One `send`. `ready` is called before a message may be taken, with the kind if it is known; if it fails, none was taken.
    pub(crate) fn advance(
        &self,
        py: Python<'_>,
        value: &Bound<'_, PyAny>,
        ready: impl FnOnce(Option<&Kind>) -> PyResult<()>,
    ) -> PyResult<Sent> {
        let (kind, woken) = match self.take() {
            State::New(kind) => {
                match kind.stand_back(py)? {
                    None => {}
                    Some(StandBack::InLine(waiter)) => return Ok(self.wait(py, kind, waiter)),
                    Some(StandBack::Yield) => {
                        let iterates = matches!(kind, Kind::Next { .. });
                        let task = iterates.then(|| running_task(py)).transpose()?;
                        self.suspend_as(State::Yielded(kind, task));
                        return Ok(Sent::Yielded(py.None()));
                    }
                }
                (kind, false)
            }
            State::Yielded(kind, _) => {
                kind.resume();
                (kind, false)
            }
            State::Waiting(kind, waiter) if !waiter.get().done() => {
                // Somebody else's await; the first keeps its place.
                self.set(State::Waiting(kind, waiter));
                return Err(self.refused("is being awaited already"));
            }
            State::Waiting(kind, waiter) => {
                if let Err(error) = waiter.get().result(py) {
                    kind.remove_waiter(py, &waiter)?;
                    return Err(error);
                }
                kind.begin_after_wait(waiter.get());
                (kind, true)
            }
            State::Coroutine(coroutine) => {
                if let Err(error) = ready(None) {
                    calls::method(intern!(py, "close"), [coroutine.bind(py)], None)?;
                    return Err(error);
                }
                return self.delegate(coroutine, value);
            }
            State::Done => return Err(self.refused("was awaited already")),
        };
        let step = ready(Some(&kind)).and_then(|()| kind.step(py));
        // A reader that was woken wakes the next one, also if it failed; a coroutine that it delegates to does so itself.
        if woken && matches!(step, Ok(Step::Return(_)) | Err(_)) {
            kind.wake_next(py)?;
        }
        match step? {
            Step::Return(value) => {
                kind.release(py);
                Ok(Sent::Returned(value))
            }
            Step::Become(coroutine) => self.delegate(coroutine, py.None().bind(py)),
            Step::Wait(waiter) => Ok(self.wait(py, kind, waiter)),
        }
    }

    fn wait(&self, py: Python<'_>, kind: Kind, waiter: Py<Waiter>) -> Sent {
        waiter.get().set_blocking(true);
        let yielded = waiter.clone_ref(py).into_any();
        self.suspend_as(State::Waiting(kind, waiter));
        Sent::Yielded(yielded)
    }

    /// One `send` whose result is raised as `StopIteration`.
    fn send_or_stop(&self, value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let (py, mut stop) = (value.py(), StopIteration::default());
        match self.advance(py, value, |_| stop.prepare(py))? {
            Sent::Yielded(value) => Ok(value),
            Sent::Returned(value) => Err(stop.with_value(py, value)),
        }
    }

    /// Gives up its wait before the garbage collector clears the cycle that it is in, and perhaps the subscription with it.
    pub(crate) fn finalize(&self, py: Python<'_>) -> PyResult<()> {
        if !matches!(self.state.borrow().0, State::Waiting(..)) {
            return Ok(());
        }
        saved_exception::with_exception_saved(py, || match self.take() {
            State::Waiting(kind, waiter) => kind.remove_waiter_if_open(py, &waiter),
            _ => Ok(()),
        })
    }

    fn delegate(&self, coroutine: Py<PyAny>, value: &Bound<'_, PyAny>) -> PyResult<Sent> {
        let sent = calls::send(coroutine.bind(value.py()), value)?;
        if matches!(sent, Sent::Yielded(_)) {
            self.suspend_as(State::Coroutine(coroutine));
        }
        Ok(sent)
    }
}

#[pymethods]
impl Operation {
    fn __await__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::check_await(slf)
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.send_or_stop(py.None().bind(py))
    }

    fn send(&self, value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.send_or_stop(value)
    }

    #[pyo3(signature = (typ, val=None, tb=None))]
    fn throw(
        &self,
        py: Python<'_>,
        typ: Bound<'_, PyAny>,
        val: Option<Bound<'_, PyAny>>,
        tb: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        match self.take() {
            State::Coroutine(coroutine) => {
                let (name, into) = (intern!(py, "throw"), coroutine.bind(py));
                let thrown = match (val, tb) {
                    (None, None) => calls::method(name, [into, &typ], None),
                    (val, tb) => {
                        let none = py.None().into_bound(py);
                        let (val, tb) = (val.as_ref().unwrap_or(&none), tb.as_ref().unwrap_or(&none));
                        calls::method(name, [into, &typ, val, tb], None)
                    }
                }?;
                self.set(State::Coroutine(coroutine));
                return Ok(thrown.unbind());
            }
            // A task that is suspended here is settled before it is stepped, so this is another, cancelled before it began.
            State::Waiting(kind, waiter) if waiter.get().is_awaited() => drop(self.set(State::Waiting(kind, waiter))),
            State::Waiting(kind, waiter) => kind.remove_waiter(py, &waiter)?,
            State::Yielded(kind, _) => kind.forget(),
            State::New(_) | State::Done => {}
        }
        // The operation is over, or is not this caller's: all that is left is to raise.
        let error = match val {
            Some(val) if !val.is_none() => val,
            _ if typ.is_instance_of::<pyo3::types::PyType>() => calls::call(&typ, [], None)?,
            _ => typ,
        };
        Err(PyErr::from_value(error))
    }

    #[getter]
    fn __name__(&self) -> &'static str {
        self.state.borrow().1
    }

    #[getter]
    fn __qualname__(&self) -> &'static str {
        self.state.borrow().1
    }

    fn __repr__(&self) -> String {
        let (state, name) = &*self.state.borrow();
        let stage = match state {
            State::New(_) => "not awaited yet",
            State::Yielded(..) | State::Waiting(..) | State::Coroutine(_) => "begun",
            State::Done => "done",
        };
        format!("<{name}() {stage}>")
    }

    // A task that waits holds its operation, and what that waits for holds the task.

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Ok(state) = self.state.try_borrow() else {
            return Ok(());
        };
        match &state.0 {
            State::New(kind) => kind.traverse(&visit),
            State::Yielded(kind, task) => kind.traverse(&visit).and_then(|()| visit.call(task)),
            State::Waiting(kind, waiter) => kind.traverse(&visit).and_then(|()| visit.call(waiter)),
            State::Coroutine(coroutine) => visit.call(coroutine),
            State::Done => Ok(()),
        }
    }

    fn __clear__(&self) {
        // Dropped when it is borrowed no more, since a destructor may come back here.
        let state = self.take();
        if let State::Yielded(kind, _) = &state {
            kind.forget();
        }
    }

    pub(crate) fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.take() {
            State::Coroutine(coroutine) => calls::method(intern!(py, "close"), [coroutine.bind(py)], None).map(drop),
            State::Waiting(kind, waiter) => kind.remove_waiter(py, &waiter),
            State::Yielded(kind, _) => {
                kind.forget();
                Ok(())
            }
            State::New(_) | State::Done => Ok(()),
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut self.state.get_mut().0, State::Done);
        if let State::Yielded(kind, _) = &state {
            kind.forget();
        }
        if !matches!(state, State::New(_) | State::Waiting(..)) {
            return;
        }
        // Python deallocates with the thread attached already, so this costs nothing; at exit there may be no interpreter.
        let _no_interpreter = Python::try_attach(|py| {
            saved_exception::with_exception_saved(py, || {
                let result = match &state {
                    State::New(kind) => kind.warn_unawaited(py),
                    State::Waiting(kind, waiter) => kind.remove_waiter_if_open(py, waiter),
                    _ => Ok(()),
                };
                result.unwrap_or_else(|error| error.write_unraisable(py, None));
            });
        });
    }
}
