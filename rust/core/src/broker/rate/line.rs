//! The rate that all clients of one uid share, and the line of those who wait for it.
//!
//! Model: a publisher who waits lines up with the one frame that comes next. Only the first in the line takes its tokens; then the next is
//! called. Somebody else takes what is left once everybody in the line could have his, or, if he does not wait himself, once the first
//! could. A bucket from which the line takes each token as it comes never holds that much. So one frame of those who do not wait goes
//! ahead whenever at least as much has passed from the line since the last such one. It takes tokens that are still to come, as it
//! cannot wait for them; the first in the line waits for them instead.
//!
//! Guarantees: a frame in the line passes in the time that it and those before it take, whatever others send meanwhile, but for one frame
//! of theirs for each of these, which together are no larger than what has passed from the line; a rate is owed no more than one frame;
//! who has gone keeps nobody waiting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::bucket::{Buckets, Cost};
use crate::queue::Wake;

struct Waiter {
    cost: Cost,
    waker: Arc<dyn Wake>,
    /// It may pass earlier than it was told.
    called: bool,
}

pub(super) struct Line {
    buckets: Buckets,
    /// By place.
    waiters: BTreeMap<u64, Waiter>,
    next: u64,
    /// Of all in it.
    waiting: Cost,
    /// From the line, since somebody went ahead of it.
    passed: Cost,
}

/// Somebody to be woken once no lock is held.
#[must_use]
pub(super) struct Call(Option<Arc<dyn Wake>>);

impl Call {
    pub(super) fn wake(self) {
        if let Some(waker) = self.0 {
            waker.wake();
        }
    }
}

impl Line {
    pub(super) const fn new(buckets: Buckets) -> Self {
        Self {
            buckets,
            waiters: BTreeMap::new(),
            next: 0,
            waiting: Cost::NONE,
            passed: Cost::NONE,
        }
    }

    fn is_first(&self, place: u64) -> bool {
        self.waiters.first_key_value().is_some_and(|(first, _)| *first == place)
    }

    /// Charges a frame if it may pass now: one of somebody who stands at `place`, or in no line.
    pub(super) fn take(&mut self, now: Instant, cost: Cost, place: Option<u64>, waits: bool) -> bool {
        let may = match place {
            Some(place) => self.is_first(place) && self.has(now, cost, Cost::NONE),
            None if waits => self.has(now, cost, self.waiting),
            None => self.may_pass_the_first(now, cost),
        };
        if may {
            self.buckets.charge(cost);
            if place.is_some() {
                self.passed += cost;
            }
        }
        may
    }

    fn has(&mut self, now: Instant, cost: Cost, aside: Cost) -> bool {
        self.buckets.wait(now, cost, aside) <= 0.0
    }

    fn may_pass_the_first(&mut self, now: Instant, cost: Cost) -> bool {
        let Some((_, first)) = self.waiters.first_key_value() else {
            return self.has(now, cost, Cost::NONE);
        };
        let aside = first.cost;
        if self.has(now, cost, aside) {
            return true;
        }
        let goes_ahead = self.buckets.covers(self.passed, cost) && self.has(now, Cost::NONE, Cost::NONE);
        if goes_ahead {
            self.passed = Cost::NONE;
        }
        goes_ahead
    }

    /// A place at the end.
    pub(super) fn enter(&mut self, cost: Cost, waker: &Arc<dyn Wake>) -> u64 {
        let place = self.next;
        self.next += 1;
        self.waiting += cost;
        let waker = Arc::clone(waker);
        let waiter = Waiter {
            cost,
            waker,
            called: false,
        };
        self.waiters.insert(place, waiter);
        place
    }

    /// Seconds until the one at `place` may pass, unless it is called before.
    pub(super) fn wait(&mut self, now: Instant, place: u64) -> f64 {
        let is_first = self.is_first(place);
        let Some(waiter) = self.waiters.get_mut(&place) else {
            return 0.0;
        };
        waiter.called = false;
        if is_first {
            self.buckets.wait(now, waiter.cost, Cost::NONE)
        } else {
            f64::INFINITY
        }
    }

    pub(super) fn is_called(&self, place: u64) -> bool {
        self.waiters.get(&place).is_some_and(|waiter| waiter.called)
    }

    pub(super) fn leave(&mut self, place: u64) -> Call {
        let was_first = self.is_first(place);
        if let Some(waiter) = self.waiters.remove(&place) {
            self.waiting -= waiter.cost;
        }
        if was_first { self.call_first() } else { Call(None) }
    }

    /// What was charged for a frame that will not come.
    pub(super) fn give_back(&mut self, cost: Cost) -> Call {
        self.buckets.give_back(cost);
        self.call_first()
    }

    fn call_first(&mut self) -> Call {
        let first = self.waiters.first_entry();
        Call(first.map(|mut first| {
            let first = first.get_mut();
            first.called = true;
            Arc::clone(&first.waker)
        }))
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line")
            .field("buckets", &self.buckets)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}
