//! Who waits until something has been taken out: producers for room, and the reader's own session for its answers to be read. Neither
//! waits for what the other does.

use std::sync::{Arc, Weak};

use smallvec::SmallVec;

use super::Inner;
use crate::queue::Wake;

/// Weak, so that a waiter that has gone costs nothing, in however many queues it waited.
pub(in crate::queue) type Waiter = Weak<dyn Wake>;

#[derive(Default)]
pub(in crate::queue) struct Waiters {
    pub(in crate::queue) producers: SmallVec<[Waiter; 1]>,
    /// The least that any of them waits for, in bytes.
    smallest_wanted: usize,
    session: Option<Waiter>,
}

impl Inner {
    /// Has the producer behind `waker` woken when `bytes` more fit.
    pub(super) fn wait_for_room(&mut self, waker: &Arc<dyn Wake>, bytes: usize) {
        let waiters = &mut self.waiters;
        // Producers may come and go while the reader makes no room.
        waiters.producers.retain(|known| known.strong_count() > 0);
        waiters.smallest_wanted = match waiters.producers.len() {
            0 => bytes,
            _ => waiters.smallest_wanted.min(bytes),
        };
        let waker = Arc::downgrade(waker);
        if !waiters.producers.iter().any(|known| known.ptr_eq(&waker)) {
            waiters.producers.push(waker);
        }
    }

    /// Whether producers wait, and for more room than there is.
    pub(super) fn keeps_producers_waiting(&self) -> bool {
        let waits = |producer: &Waiter| producer.strong_count() > 0;
        self.waiters.producers.iter().any(waits) && !self.fits_smallest()
    }

    fn fits_smallest(&self) -> bool {
        self.fits(1, self.waiters.smallest_wanted)
    }

    /// True while too many answers are unsent; then the session behind `waker` is woken when half are gone.
    pub(in crate::queue) fn wait_for_answers(&mut self, waker: &Arc<dyn Wake>) -> bool {
        let full = self.answers_full();
        self.waiters.session = full.then(|| Arc::downgrade(waker));
        full
    }

    /// Who has what it waits for. Producers all as soon as one of them fits: it may be what its own reader waits for. Never for less, or
    /// those who do not fit would be woken without end.
    #[inline]
    pub(in crate::queue) fn take_ready(&mut self) -> SmallVec<[Waiter; 1]> {
        let mut ready = SmallVec::new();
        if !self.waiters.producers.is_empty() && self.fits_smallest() {
            ready = std::mem::take(&mut self.waiters.producers);
        }
        if self.waiters.session.is_some() && self.answers_low() {
            ready.extend(self.waiters.session.take());
        }
        ready
    }

    pub(in crate::queue) fn take_all_waiters(&mut self) -> impl Iterator<Item = Waiter> + use<> {
        let Waiters { producers, session, .. } = std::mem::take(&mut self.waiters);
        producers.into_iter().chain(session)
    }
}
