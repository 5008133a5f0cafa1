//! The publishers of a loop that give it a turn: they stand in a line, and each turn serves as many of them as it has room for.
//!
//! All buses of a loop share what a turn has room for: [`PUBLISHES_A_TURN`], [`BYTES_A_TURN`], and the time of a [`Budget`]; less where a
//! reader of this loop has to catch up ([`Notifier::take_backlog`]). Whoever publishes beside a line joins its end. Who is served goes on
//! with what it publishes next, for [`QUANTUM`] steps if others stand behind it, so that a task that publishes much is not woken for each.
//! Where nobody else stands, a task yields to the loop and comes back by itself, which costs less than to be woken.
//!
//! Guarantees: publishes that begin in one turn keep their order; each turn serves the first in the line, so that all have their turn; one
//! that is given up, or that nobody drives any more, holds up the others for two turns at most; the cost of a publish does not grow with
//! the line.
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use atomic_refcell::AtomicRefCell;
use pyo3::prelude::*;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};

use crate::budget::Budget;
use crate::loop_thread::OwnLoop;
use crate::loop_waker::Notifier;
use crate::waiter::Waiter;

/// Messages that one turn of a loop has room for.
const PUBLISHES_A_TURN: u32 = 64;
/// Bytes of them: a sixteenth of what a subscription's queue holds by default.
const BYTES_A_TURN: usize = 512 * 1024;
/// Turns that nobody publishes in while a reader catches up: in the first it is woken, in the second a task that it wakes runs.
const CATCH_UP_TURNS: u32 = 2;
/// Publishes of one task before the next in the line is served.
const QUANTUM: u32 = 16;

/// How a step gives the loop a turn first.
pub(crate) enum StandBack {
    /// By yielding to it.
    Yield,
    /// By waiting for this, in the line of those who publish.
    InLine(Py<Waiter>),
}

/// One per loop; used on its thread only.
pub(crate) struct PublishLine {
    budget: Budget,
    /// Published in this slice.
    bytes: AtomicUsize,
    /// The place of the first if it has yielded, or zero; and how many turns have found that it has not come back.
    yielded: AtomicU64,
    missed: AtomicU32,
    /// It has come back in this turn, of which it may have left something.
    has_resumed: AtomicBool,
    /// Those who wait behind it, by their places. Held weakly: what is awaited is held by whoever awaits it, and the rest is to go.
    waiting: AtomicRefCell<VecDeque<(u64, Py<PyWeakrefReference>)>>,
    /// Turns that are left to a reader.
    catch_up: AtomicU32,
    is_serving: AtomicBool,
    /// Steps that were taken when the task that is being served was woken.
    served_from: AtomicU32,
}

impl PublishLine {
    pub(crate) fn new() -> Self {
        Self {
            budget: Budget::new(PUBLISHES_A_TURN),
            bytes: AtomicUsize::new(0),
            yielded: AtomicU64::new(0),
            missed: AtomicU32::new(0),
            has_resumed: AtomicBool::new(false),
            waiting: AtomicRefCell::default(),
            catch_up: AtomicU32::new(0),
            is_serving: AtomicBool::new(false),
            served_from: AtomicU32::new(0),
        }
    }

    /// Before a publish: `None` if it may be taken now.
    #[inline]
    pub(crate) fn join(py: Python<'_>, own_loop: &OwnLoop) -> PyResult<Option<StandBack>> {
        let line = own_loop.turns().line();
        if line.budget.take_short_step() {
            return Ok(None);
        }
        line.join_or_step(py, own_loop)
    }

    #[cold]
    fn join_or_step(&self, py: Python<'_>, own_loop: &OwnLoop) -> PyResult<Option<StandBack>> {
        let is_empty = self.yielded.load(Ordering::Relaxed) == 0 && !self.has_waiters();
        if (is_empty || self.has_quantum()) && self.budget.take_step(py, own_loop, || false)? {
            if self.budget.steps() == 1 {
                self.bytes.store(0, Ordering::Relaxed);
            }
            return Ok(None);
        }
        self.budget.hold();
        if is_empty && self.catch_up.load(Ordering::Relaxed) == 0 {
            self.yielded.store(Waiter::next_place(), Ordering::Relaxed);
            self.missed.store(0, Ordering::Relaxed);
            return Ok(Some(StandBack::Yield));
        }
        let Some(running) = own_loop.running(py)? else {
            // Nobody would serve it.
            return Ok(None);
        };
        let waiter = Bound::new(py, Waiter::new(running.unbind(), None))?;
        let place = (waiter.get().place, PyWeakrefReference::new(&waiter)?.unbind());
        self.waiting.borrow_mut().push_back(place);
        own_loop.watch_turn(py)?;
        Ok(Some(StandBack::InLine(waiter.unbind())))
    }

    /// A publish that has stood in the line is taken now.
    pub(crate) fn resume(&self) {
        if self.yielded.swap(0, Ordering::Relaxed) == 0 {
            return self.budget.count_step();
        }
        self.begin_turn(1);
        self.has_resumed.store(true, Ordering::Relaxed);
    }

    /// Counts what a publish has added to this turn.
    #[inline]
    pub(crate) fn spend(&self, bytes: usize, notifier: &Notifier) {
        let bytes = self.bytes.load(Ordering::Relaxed).saturating_add(bytes);
        self.bytes.store(bytes, Ordering::Relaxed);
        if notifier.take_backlog() {
            self.catch_up.store(CATCH_UP_TURNS, Ordering::Relaxed);
            self.budget.exhaust();
        } else if bytes >= BYTES_A_TURN {
            self.budget.exhaust();
        }
    }

    /// The loop has had a turn. Only for a callback of the loop: tasks go on within this.
    pub(crate) fn serve(&self, py: Python<'_>) -> PyResult<()> {
        let catch_up = self.catch_up.load(Ordering::Relaxed);
        self.catch_up.store(catch_up.saturating_sub(1), Ordering::Relaxed);
        if catch_up > 0 || self.is_first_awaited() {
            return Ok(());
        }
        if !self.has_resumed.swap(false, Ordering::Relaxed) {
            self.begin_turn(0);
        }
        while self.budget.has_room() {
            let Some((_, waiter)) = self.waiting.borrow_mut().pop_front() else {
                break;
            };
            let Some(waiter) = waiter.bind(py).upgrade() else {
                continue;
            };
            let waiter = waiter.cast_into::<Waiter>()?;
            // Whoever is stepped by hand is not called; it goes on when somebody steps it.
            let is_awaited = waiter.get().is_awaited();
            self.served_from.store(self.budget.steps(), Ordering::Relaxed);
            self.is_serving.store(is_awaited, Ordering::Relaxed);
            let woken = Waiter::wake(&waiter, is_awaited);
            self.is_serving.store(false, Ordering::Relaxed);
            self.budget.hold();
            woken?;
        }
        Ok(())
    }

    pub(crate) fn has_waiters(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// The places of the first and the last in the line, which goes on in the next turn.
    pub(crate) fn places(py: Python<'_>, own_loop: &OwnLoop) -> PyResult<Option<(u64, u64)>> {
        let line = own_loop.turns().line();
        let yielded = line.yielded.load(Ordering::Relaxed);
        let waiting = line.waiting.borrow();
        let ends = waiting.front().zip(waiting.back());
        if yielded == 0 {
            return Ok(ends.map(|(first, last)| (first.0, last.0)));
        }
        let last = ends.map_or(yielded, |(_, last)| last.0);
        drop(waiting);
        // Or nobody would find out that it does not come back.
        own_loop.watch_turn(py)?;
        Ok(Some((yielded, last)))
    }

    /// Whether the first, which has yielded, comes back. The turn that is being counted may have begun before it yielded.
    fn is_first_awaited(&self) -> bool {
        if self.yielded.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let is_awaited = self.missed.fetch_add(1, Ordering::Relaxed) == 0;
        if !is_awaited {
            self.yielded.store(0, Ordering::Relaxed);
        }
        is_awaited
    }

    fn begin_turn(&self, steps: u32) {
        self.budget.begin_slice(steps);
        self.bytes.store(0, Ordering::Relaxed);
    }

    fn has_quantum(&self) -> bool {
        let taken = self
            .budget
            .steps()
            .saturating_sub(self.served_from.load(Ordering::Relaxed));
        self.is_serving.load(Ordering::Relaxed) && taken < QUANTUM
    }
}
