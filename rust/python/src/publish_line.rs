//! The publishers of a loop that give it a turn: they stand in a line, and each turn serves as many of them as it has room for.
//!
//! All buses of a loop share what a turn has room for: [`PUBLISHES_A_TURN`], [`BYTES_A_TURN`], and the time of a [`Budget`]; less where a
//! reader of this loop has to catch up ([`Notifier::take_backlog`]). Whoever publishes beside a line joins its end. Who is served goes on
//! with what it publishes next, for [`QUANTUM`] steps if others stand behind it, so that a task that publishes much is not woken for each;
//! if the turn ends before, it is the first in the next, for the rest of them. Where nobody else stands, a task yields to the loop and
//! comes back by itself, which costs less than to be woken.
//!
//! The loop serves the line when it is woken for it, as for what other threads have for it: no interrupt can lose that.
//!
//! Guarantees: publishes that begin in one turn keep their order; each turn serves the first in the line, so that all have their turn; one
//! that is given up holds up nobody, and one that nobody drives any more the others for a few turns; the cost of a publish does not grow
//! with the line.
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use atomic_refcell::AtomicRefCell;
use pyo3::prelude::*;

use crate::budget::Budget;
use crate::fork_safe::ForkSafe;
use crate::loop_thread::OwnLoop;
use crate::loop_waker::Notifier;
use crate::waiter::Waiter;

/// Messages that one turn of a loop has room for: promised, so more would not do.
const PUBLISHES_A_TURN: u32 = 64;
/// Bytes of them: a sixteenth of what a subscription's queue holds by default.
const BYTES_A_TURN: usize = 512 * 1024;
/// Turns that nobody publishes in while a reader catches up: in the first it is woken, in the second a task that it wakes runs.
const CATCH_UP_TURNS: u32 = 2;
/// Publishes of one task before the next in the line is served.
const QUANTUM: u32 = 16;
/// Turns after which whoever should have gone on by itself is passed over.
const PATIENCE: u32 = 8;

/// How a step gives the loop a turn first.
pub(crate) enum StandBack {
    /// By yielding to it.
    Yield,
    /// By waiting for this, in the line of those who publish.
    InLine(Py<Waiter>),
}

struct Standing {
    place: u64,
    /// `None` once it was woken, in a turn before the one in which it goes on.
    waiter: Option<Py<Waiter>>,
    /// Turns since then.
    turns: u32,
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
    /// Those who wait behind it, by their places.
    waiting: AtomicRefCell<VecDeque<Standing>>,
    /// Turns that are left to a reader.
    catch_up: AtomicU32,
    is_serving: AtomicBool,
    /// Of the task that is being served: its place, until it stands again, and the steps at which its quantum ends.
    served_place: AtomicU64,
    quantum_ends: AtomicU32,
    /// The place of the one that the end of a turn has interrupted, and what it has left.
    interrupted_place: AtomicU64,
    quantum_left: AtomicU32,
    notifier: ForkSafe<Arc<Notifier>>,
    /// For what the loop is woken.
    token: AtomicU64,
}

impl PublishLine {
    pub(crate) fn new(notifier: Arc<Notifier>) -> Self {
        Self {
            budget: Budget::new(PUBLISHES_A_TURN),
            bytes: AtomicUsize::new(0),
            yielded: AtomicU64::new(0),
            missed: AtomicU32::new(0),
            has_resumed: AtomicBool::new(false),
            waiting: AtomicRefCell::default(),
            catch_up: AtomicU32::new(0),
            is_serving: AtomicBool::new(false),
            served_place: AtomicU64::new(0),
            quantum_ends: AtomicU32::new(0),
            interrupted_place: AtomicU64::new(0),
            quantum_left: AtomicU32::new(0),
            notifier: ForkSafe::new(notifier),
            token: AtomicU64::new(0),
        }
    }

    /// Has the loop woken for `token` when the line is to be served.
    pub(crate) fn wake_with(&self, token: u64) {
        self.token.store(token, Ordering::Relaxed);
    }

    /// Before a publish: `None` if it may be taken now.
    #[inline]
    pub(crate) fn join(&self, py: Python<'_>, own_loop: &OwnLoop) -> PyResult<Option<StandBack>> {
        if self.budget.take_short_step() {
            return Ok(None);
        }
        self.join_or_step(py, own_loop)
    }

    #[cold]
    fn join_or_step(&self, py: Python<'_>, own_loop: &OwnLoop) -> PyResult<Option<StandBack>> {
        let is_empty = self.yielded.load(Ordering::Relaxed) == 0 && self.waiting.borrow().is_empty();
        let is_serving = self.is_serving.load(Ordering::Relaxed);
        let ends = self.quantum_ends.load(Ordering::Relaxed);
        let goes_on = if is_serving {
            (is_empty || self.budget.steps() < ends) && self.budget.has_room()
        } else {
            is_empty
        };
        if goes_on && self.budget.take_step(py, own_loop, || false)? {
            if self.budget.steps() == 1 {
                self.bytes.store(0, Ordering::Relaxed);
            }
            if is_serving && !is_empty {
                self.budget.hold_from(ends);
            }
            return Ok(None);
        }
        self.budget.hold();
        if is_empty && self.catch_up.load(Ordering::Relaxed) == 0 {
            self.yielded.store(Waiter::next_place(), Ordering::Relaxed);
            self.missed.store(0, Ordering::Relaxed);
            return Ok(Some(StandBack::Yield));
        }
        let Some(running) = own_loop.running(py)?.filter(|_| self.notifier.try_get().is_some()) else {
            // Nobody would serve it.
            return Ok(None);
        };
        let former = self.interrupted_place(is_serving, ends);
        let waiter = Py::new(py, Waiter::new(running.unbind(), former))?;
        let standing = Standing {
            place: waiter.get().place,
            waiter: Some(waiter.clone_ref(py)),
            turns: 0,
        };
        if former.is_some() {
            self.waiting.borrow_mut().push_front(standing);
        } else {
            self.waiting.borrow_mut().push_back(standing);
        }
        self.wake_loop();
        Ok(Some(StandBack::InLine(waiter)))
    }

    /// The place that the task which is being served keeps, if its quantum has not ended.
    fn interrupted_place(&self, is_serving: bool, ends: u32) -> Option<u64> {
        let left = ends.saturating_sub(self.budget.steps());
        if !is_serving || left == 0 {
            return None;
        }
        // Not for another task, which that one has run.
        let place = self.served_place.swap(0, Ordering::Relaxed);
        self.interrupted_place.store(place, Ordering::Relaxed);
        self.quantum_left.store(left, Ordering::Relaxed);
        (place > 0).then_some(place)
    }

    /// A publish that has yielded is taken now.
    pub(crate) fn resume(&self) {
        if self.yielded.swap(0, Ordering::Relaxed) == 0 {
            return self.budget.count_step();
        }
        self.begin_turn(1);
        self.has_resumed.store(true, Ordering::Relaxed);
    }

    /// One that has yielded is given up.
    pub(crate) fn forget_yielded(&self) {
        self.yielded.store(0, Ordering::Relaxed);
    }

    /// One that has waited is taken now.
    pub(crate) fn resume_waiting(&self, waiter: &Waiter) {
        self.leave(waiter);
        self.budget.count_step();
    }

    /// One that has waited goes on, or is given up.
    pub(crate) fn leave(&self, waiter: &Waiter) {
        let mut waiting = self.waiting.borrow_mut();
        let left = waiting
            .binary_search_by_key(&waiter.place, |standing| standing.place)
            .ok()
            .and_then(|at| waiting.remove(at));
        // Dropped when the line is borrowed no more, since a destructor may come back here.
        drop(waiting);
        drop(left);
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

    /// The loop has had a turn. Only for a callback of the loop: with `direct`, tasks go on within this, else in the next turn.
    pub(crate) fn serve(&self, py: Python<'_>, direct: bool) -> PyResult<()> {
        let served = self.serve_turn(py, direct);
        if !self.waiting.borrow().is_empty() {
            self.budget.hold();
            self.wake_loop();
        }
        served
    }

    fn serve_turn(&self, py: Python<'_>, direct: bool) -> PyResult<()> {
        let catch_up = self.catch_up.load(Ordering::Relaxed);
        self.catch_up.store(catch_up.saturating_sub(1), Ordering::Relaxed);
        if catch_up > 0 || self.is_first_awaited() {
            return Ok(());
        }
        if !self.has_resumed.swap(false, Ordering::Relaxed) {
            self.begin_turn(0);
        }
        self.pass_over_late();
        let mut left = PUBLISHES_A_TURN;
        while left > 0
            && self.budget.has_room()
            && let Some(waiter) = self.next_waiter()
        {
            left -= 1;
            let waiter = waiter.bind(py);
            let is_awaited = waiter.get().is_awaited();
            if is_awaited && !direct {
                Waiter::wake(waiter, false)?;
                continue;
            }
            // Whoever is stepped by hand is not called; it goes on when somebody steps it.
            self.leave(waiter.get());
            self.begin_quantum(waiter.get().place);
            self.is_serving.store(is_awaited, Ordering::Relaxed);
            let woken = Waiter::wake(waiter, is_awaited);
            self.is_serving.store(false, Ordering::Relaxed);
            self.budget.hold();
            woken?;
        }
        Ok(())
    }

    /// The places of the first and the last in the line, which goes on in the next turn.
    pub(crate) fn places(&self) -> Option<(u64, u64)> {
        let yielded = self.yielded.load(Ordering::Relaxed);
        let waiting = self.waiting.borrow();
        let ends = waiting.front().zip(waiting.back());
        let ends = ends.map(|(first, last)| (first.place, last.place));
        drop(waiting);
        if yielded == 0 {
            return ends;
        }
        // Or nobody would find out that it does not come back.
        self.wake_loop();
        Some((yielded, ends.map_or(yielded, |(_, last)| last)))
    }

    /// Ends the wait of all in a loop that is closed.
    pub(crate) fn clear(&self) {
        let all = std::mem::take(&mut *self.waiting.borrow_mut());
        drop(all);
    }

    /// The first that was not woken yet.
    fn next_waiter(&self) -> Option<Py<Waiter>> {
        let mut waiting = self.waiting.borrow_mut();
        waiting.iter_mut().find_map(|standing| standing.waiter.take())
    }

    /// Those who were woken long ago and have not gone on.
    fn pass_over_late(&self) {
        let mut waiting = self.waiting.borrow_mut();
        for woken in waiting.iter_mut().take_while(|standing| standing.waiter.is_none()) {
            woken.turns += 1;
        }
        while waiting.front().is_some_and(|first| first.turns > PATIENCE) {
            waiting.pop_front();
        }
    }

    /// Whether the first, which has yielded, is still to come back.
    fn is_first_awaited(&self) -> bool {
        if self.yielded.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let is_awaited = self.missed.fetch_add(1, Ordering::Relaxed) < PATIENCE;
        if !is_awaited {
            self.yielded.store(0, Ordering::Relaxed);
        }
        is_awaited
    }

    fn begin_quantum(&self, place: u64) {
        let goes_on = self.interrupted_place.swap(0, Ordering::Relaxed) == place;
        let quantum = if goes_on {
            self.quantum_left.load(Ordering::Relaxed)
        } else {
            QUANTUM
        };
        self.served_place.store(place, Ordering::Relaxed);
        self.quantum_ends
            .store(self.budget.steps() + quantum, Ordering::Relaxed);
    }

    fn begin_turn(&self, steps: u32) {
        self.budget.begin_slice(steps);
        self.bytes.store(0, Ordering::Relaxed);
    }

    fn wake_loop(&self) {
        if let Some(notifier) = self.notifier.try_get() {
            notifier.notify_once(self.token.load(Ordering::Relaxed));
        }
    }
}
