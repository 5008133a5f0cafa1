//! The event loop that an object belongs to, and the thread that runs it.
//!
//! A thread has a number that no other of the process ever has, and a loop that of the thread in which it was last known to run. Who
//! calls is admitted where the two are the same, and asked for the running loop where they differ: a loop may run in one thread now and
//! in another later. The loop's own callback notes its thread too ([`LoopThread::set_current`]).
//!
//! So who is admitted need not run in the loop, which may meanwhile run in another thread. Whatever would be left to the loop asks first
//! ([`OwnLoop::running`], [`OwnLoop::has_moved`]): a loop that sleeps elsewhere is woken by its socket only.
//!
//! There is one [`LoopThread`], one [`LoopTurns`] and one [`PublishLine`] per loop, which everything that belongs to the loop shares.
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use daemoneye_eventbus_core::Error;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyModule, PyWeakrefMethods, PyWeakrefReference};

use crate::calls;
use crate::errors::to_py;
use crate::fork_safe::ForkSafe;
use crate::loop_turns::LoopTurns;
use crate::publish_line::PublishLine;

thread_local! {
    /// Zero until the thread asks for it.
    static NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// The number of the calling thread, never zero.
pub(crate) fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    if NUMBER.get() == 0 {
        NUMBER.set(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    NUMBER.get()
}

/// The thread in which a loop was last known to run.
pub(crate) struct LoopThread(AtomicU64);

impl LoopThread {
    /// The calling thread.
    pub(crate) fn current() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(number())))
    }

    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        self.0.load(Ordering::Relaxed) == NUMBER.get()
    }

    /// The loop runs in the calling thread.
    pub(crate) fn set_current(&self) {
        if !self.is_current() {
            self.0.store(number(), Ordering::Relaxed);
        }
    }
}

/// The event loop that an object belongs to; held weakly.
pub(crate) struct OwnLoop {
    thread: Arc<LoopThread>,
    event_loop: ForkSafe<Py<PyWeakrefReference>>,
    turns: Py<LoopTurns>,
    line: Arc<PublishLine>,
}

impl OwnLoop {
    /// That of the caller, who runs in it, in `thread`.
    pub(crate) fn new(event_loop: &Bound<'_, PyAny>, thread: Arc<LoopThread>, line: PublishLine) -> PyResult<Self> {
        Ok(Self {
            thread,
            event_loop: ForkSafe::new(PyWeakrefReference::new(event_loop)?.unbind()),
            turns: Py::new(event_loop.py(), LoopTurns::new())?,
            line: Arc::new(line),
        })
    }

    /// For one more object of this loop.
    pub(crate) fn share(&self, py: Python<'_>) -> PyResult<Self> {
        Ok(Self {
            thread: self.thread(),
            event_loop: ForkSafe::new(self.event_loop.get(py)?.clone_ref(py)),
            turns: self.turns.clone_ref(py),
            line: Arc::clone(&self.line),
        })
    }

    pub(crate) fn turns(&self) -> &LoopTurns {
        self.turns.get()
    }

    pub(crate) fn line(&self) -> &PublishLine {
        &self.line
    }

    /// Has its next turn counted, if the caller runs in it.
    #[cold]
    pub(crate) fn watch_turn(&self, py: Python<'_>) -> PyResult<()> {
        match self.running(py)? {
            Some(running) => LoopTurns::watch(self.turns.bind(py), &running),
            None => Ok(()),
        }
    }

    pub(crate) fn thread(&self) -> Arc<LoopThread> {
        Arc::clone(&self.thread)
    }

    /// Whether it was last known to run in the calling thread.
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        self.thread.is_current()
    }

    /// Refuses callers of another thread.
    #[inline]
    pub(crate) fn check(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_current() || self.running(py)?.is_some() {
            return Ok(());
        }
        Err(wrong_loop(py))
    }

    /// Whether another thread runs the loop now, though it was last known to run in this one.
    #[cold]
    pub(crate) fn has_moved(&self, py: Python<'_>) -> PyResult<bool> {
        if self.running(py)?.is_some() {
            return Ok(false);
        }
        let Some(own) = self.event_loop.get(py)?.bind(py).upgrade() else {
            return Ok(false);
        };
        let runs = calls::method(intern!(py, "is_running"), [&own], None)?.is_truthy()?;
        if runs {
            // No thread has this number.
            self.thread.0.store(u64::MAX, Ordering::Relaxed);
        }
        Ok(runs)
    }

    /// The loop, if the calling thread runs it.
    #[cold]
    pub(crate) fn running<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        static ASYNCIO: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
        let own = self.event_loop.get(py)?.bind(py).upgrade();
        // Looked up each time: what has a loop run by its own tasks (`nest_asyncio`) may replace it.
        let asyncio = ASYNCIO.get_or_try_init(py, || py.import("asyncio").map(Bound::unbind))?;
        let ask = asyncio.bind(py).getattr(intern!(py, "_get_running_loop"))?;
        let running = calls::call(&ask, [], None)?;
        let is_own = own.is_some_and(|own| own.is(&running));
        if is_own {
            self.thread.set_current();
        }
        Ok(is_own.then_some(running))
    }
}

#[cold]
pub(crate) fn wrong_loop(py: Python<'_>) -> PyErr {
    let reason = "this belongs to an event loop that does not run here; make a bus in the running one, submit the call to \
                  its own with asyncio.run_coroutine_threadsafe, or use publish_nowait";
    to_py(py, Error::WrongLoop(reason.to_owned()))
}
