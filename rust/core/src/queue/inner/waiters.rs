//! Who waits until something has been taken out: producers for room, and the reader's own session for its answers to be read. Neither
//! waits for what the other does.
//!
//! Model: producers stand in a line. As soon as one of them fits, all are woken, in the order of the line; each keeps its place until it
//! gets something, and then asks for more from the end. So who finds no room stands the further ahead, the more often that happens.
//!
//! Guarantees: of `n` producers who wait for as much and come when they are woken, each is the first to try after at most `n` wake-ups,
//! whatever the others have to publish; nobody waits for one who has gone, does not come, or needs more room than there is. Who was woken
//! and waits no more has a place until the queue is empty, which costs nothing but a look.

use std::sync::{Arc, Weak};

use smallvec::SmallVec;

use super::Inner;
use crate::queue::Wake;

/// Weak, so that a waiter that has gone costs nothing, in however many queues it waited.
pub(in crate::queue) type Waiter = Weak<dyn Wake>;
type Woken = SmallVec<[Arc<dyn Wake>; 1]>;

pub(in crate::queue) struct Producer {
    waker: Waiter,
    /// False from when it is woken until it asks again.
    waits: bool,
}

impl Producer {
    fn is(&self, waker: &Arc<dyn Wake>) -> bool {
        std::ptr::addr_eq(self.waker.as_ptr(), Arc::as_ptr(waker))
    }

    fn is_there(&self) -> bool {
        self.waker.strong_count() > 0
    }
}

#[derive(Default)]
pub(in crate::queue) struct Waiters {
    pub(in crate::queue) line: SmallVec<[Producer; 1]>,
    /// The least that any of them waits for, in bytes.
    smallest_wanted: Option<usize>,
    session: Option<Waiter>,
}

impl Waiters {
    fn wait(&mut self, waker: &Arc<dyn Wake>, bytes: usize) {
        match self.line.iter_mut().find(|known| known.is(waker)) {
            Some(known) => known.waits = true,
            None => self.line_up(waker),
        }
        self.smallest_wanted = Some(self.smallest_wanted.map_or(bytes, |least| least.min(bytes)));
    }

    fn line_up(&mut self, waker: &Arc<dyn Wake>) {
        // Producers may come and go while the reader makes no room.
        self.line.retain(|known| known.is_there());
        if !self.line.iter().any(|known| known.waits) {
            self.smallest_wanted = None;
        }
        let waker = Arc::downgrade(waker);
        self.line.push(Producer { waker, waits: true });
    }

    /// Who was woken before and has not come yet keeps its place, too.
    fn wake_line(&mut self) -> Woken {
        self.smallest_wanted = None;
        let waiting = self.line.iter_mut().filter(|known| known.waits);
        let woken = waiting.filter_map(|known| {
            known.waits = false;
            known.waker.upgrade()
        });
        woken.collect()
    }
}

impl Inner {
    /// Has the producer behind `waker` woken when `bytes` more fit.
    pub(super) fn wait_for_room(&mut self, waker: &Arc<dyn Wake>, bytes: usize) {
        self.waiters.wait(waker, bytes);
    }

    /// A producer got something.
    #[inline]
    pub(super) fn note_served(&mut self, waker: Option<&Arc<dyn Wake>>) {
        let line = &mut self.waiters.line;
        if !line.is_empty()
            && let Some(waker) = waker
            && let Some(at) = line.iter().position(|known| known.is(waker))
        {
            line.remove(at);
        }
    }

    /// Whether producers wait, and for more room than there is.
    pub(super) fn keeps_producers_waiting(&self) -> bool {
        let waits = |producer: &Producer| producer.waits && producer.is_there();
        self.waiters.line.iter().any(waits) && !self.fits_smallest()
    }

    /// Whether one of those who wait fits.
    fn fits_smallest(&self) -> bool {
        self.waiters.smallest_wanted.is_some_and(|bytes| self.fits(1, bytes))
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
    pub(in crate::queue) fn take_ready(&mut self) -> Woken {
        let mut ready = Woken::new();
        if !self.waiters.line.is_empty() {
            ready = self.take_ready_producers();
        }
        if self.waiters.session.is_some() && self.answers_low() {
            ready.extend(self.waiters.session.take().and_then(|session| session.upgrade()));
        }
        ready
    }

    fn take_ready_producers(&mut self) -> Woken {
        if self.fits_smallest() {
            return self.waiters.wake_line();
        }
        if self.messages == 0 {
            // Nobody waits, and there is room for everyone: places are worth nothing, and would cost each push a look.
            self.waiters.line.clear();
        }
        Woken::new()
    }

    pub(in crate::queue) fn take_all_waiters(&mut self) -> impl Iterator<Item = Arc<dyn Wake>> + use<> {
        let Waiters { line, session, .. } = std::mem::take(&mut self.waiters);
        let producers = line.into_iter().filter(|known| known.waits).map(|known| known.waker);
        producers.chain(session).filter_map(|waiter| waiter.upgrade())
    }
}
