//! The publishers of a loop that give it a turn: they stand in a line, and each turn serves as many of them as it has room for.
//!
//! All buses of a loop share what a turn has room for: [`PUBLISHES_A_TURN`], [`BYTES_A_TURN`], and the time of a [`Budget`]; less where a
//! reader of this loop has to catch up ([`Notifier::take_backlog`]). Whoever publishes beside a line joins its end. Who is served goes on
//! with what it publishes next, for [`QUANTUM`] steps if others stand behind it, so that a task that publishes much is not woken for each.
//!
//! Guarantees: publishes that begin in one turn keep their order; each turn serves the first in the line, so that all have their turn; one
//! that is given up, or that nobody drives any more, holds up nobody; the cost of a publish does not grow with the line.
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

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

/// One per loop; used on its thread only.
pub(crate) struct PublishLine {
    budget: Budget,
    /// Published in this slice.
    bytes: AtomicUsize,
    /// By their places. Held weakly: what is awaited is held by whoever awaits it, and the rest is to go.
    standing: AtomicRefCell<VecDeque<(u64, Py<PyWeakrefReference>)>>,
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
            standing: AtomicRefCell::default(),
            catch_up: AtomicU32::new(0),
            is_serving: AtomicBool::new(false),
            served_from: AtomicU32::new(0),
        }
    }

    /// Before a publish: `None` if it may be taken now, else what it waits for in the line.
    #[inline]
    pub(crate) fn join(py: Python<'_>, own_loop: &OwnLoop) -> PyResult<Option<Py<Waiter>>> {
        let line = own_loop.turns().line();
        if line.budget.take_short_step() {
            return Ok(None);
        }
        line.join_or_step(py, own_loop)
    }

    #[cold]
    fn join_or_step(&self, py: Python<'_>, own_loop: &OwnLoop) -> PyResult<Option<Py<Waiter>>> {
        let is_next = self.is_empty() || self.has_quantum();
        if is_next && self.budget.take_step(py, own_loop, || false)? {
            if self.budget.steps() == 1 {
                self.bytes.store(0, Ordering::Relaxed);
            }
            return Ok(None);
        }
        let Some(running) = own_loop.running(py)? else {
            // Nobody would serve it.
            return Ok(None);
        };
        let waiter = Bound::new(py, Waiter::new(running.unbind(), None))?;
        let place = (waiter.get().place, PyWeakrefReference::new(&waiter)?.unbind());
        self.standing.borrow_mut().push_back(place);
        self.budget.hold();
        own_loop.watch_turn(py)?;
        Ok(Some(waiter.unbind()))
    }

    /// A publish that has stood in the line is taken now.
    pub(crate) fn take_served_step(&self) {
        self.budget.count_step();
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

    /// The loop has had a turn, by which `turns` are counted. Only for a callback of the loop: tasks go on within this. True if some may
    /// have, so that a slice has begun.
    pub(crate) fn serve(&self, py: Python<'_>, turns: u64) -> PyResult<bool> {
        let catch_up = self.catch_up.load(Ordering::Relaxed);
        self.catch_up.store(catch_up.saturating_sub(1), Ordering::Relaxed);
        if catch_up > 0 || self.is_empty() {
            return Ok(false);
        }
        self.budget.begin_slice(0, turns);
        self.bytes.store(0, Ordering::Relaxed);
        while self.budget.has_room() {
            let Some((_, waiter)) = self.standing.borrow_mut().pop_front() else {
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
        Ok(true)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.standing.borrow().is_empty()
    }

    /// The places of the first and the last in the line.
    pub(crate) fn places(&self) -> Option<(u64, u64)> {
        let standing = self.standing.borrow();
        Some((standing.front()?.0, standing.back()?.0))
    }

    fn has_quantum(&self) -> bool {
        let taken = self
            .budget
            .steps()
            .saturating_sub(self.served_from.load(Ordering::Relaxed));
        self.is_serving.load(Ordering::Relaxed) && taken < QUANTUM
    }
}
