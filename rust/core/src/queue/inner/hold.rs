//! What keeps small messages from keeping a large one out for as long as they flow.
//!
//! Model: a producer who has waited for a while with a message larger than those in the queue, and has got nothing in, has been passed over.
//! What becomes free is left to him then: others who wait do as if there were no room.
//!
//! Guarantees: it is left to one at a time, who must come and ask for it again and again, and only while the reader takes something: it may
//! be one of the others whom the reader itself waits for. Between two such times the others have as long a time. So nobody is held back for
//! long by who is gone, or for ever by anybody; and who does not wait for room is not held back at all.

use std::time::{Duration, Instant};

use super::Inner;
use super::waiters::Waiters;
use crate::queue::{OnFull, Pushed, Run};

/// After which a producer has been passed over; for how long room is left to him; and how long others have before it is again.
const PASSED_OVER: Duration = Duration::from_millis(100);

#[derive(Clone, Copy)]
pub(super) struct Hold {
    /// When its producer began to wait, which tells him from others.
    since: Instant,
    /// Bytes that he waits for.
    wanted: usize,
    until: Instant,
    /// The reader has taken something since he last asked.
    moved: bool,
}

impl Waiters {
    pub(super) fn note_progress(&mut self) {
        if let Some(hold) = &mut self.hold {
            hold.moved = true;
        }
    }

    /// Who has waited `since` then has got something in, or does not wait any more.
    pub(in crate::queue) fn end_hold(&mut self, since: Instant) {
        if self.hold.is_some_and(|hold| hold.since == since) {
            self.drop_hold(Instant::now());
        }
    }

    fn drop_hold(&mut self, now: Instant) {
        self.hold = None;
        self.no_hold_before = Some(now + PASSED_OVER);
        // Those whom it has held back wait for less than they said.
        self.forget_wanted();
    }

    fn hold_for(&mut self, since: Instant, wanted: usize, now: Instant) {
        let until = now + PASSED_OVER;
        match self.hold {
            Some(hold) if !hold.moved && now >= hold.until => self.drop_hold(now),
            Some(hold) if !hold.moved => {}
            None if self.no_hold_before.is_some_and(|before| now < before) => {}
            _ => {
                self.hold = Some(Hold {
                    since,
                    wanted,
                    until,
                    moved: false,
                });
            }
        }
    }
}

impl Inner {
    /// Whether what is free is left to another than who does this.
    #[inline]
    pub(super) fn left_to_another(&mut self, on_full: OnFull<'_>) -> Option<Hold> {
        let hold = self.waiters.hold?;
        self.leaves_room(hold, on_full)
    }

    #[cold]
    fn leaves_room(&mut self, hold: Hold, on_full: OnFull<'_>) -> Option<Hold> {
        let minds = match on_full {
            OnFull::WaitOn { since, .. } => since != hold.since,
            OnFull::Wait(_) | OnFull::Try { block: true } => true,
            OnFull::Overflow | OnFull::Try { block: false } | OnFull::Exceed { .. } => false,
        };
        if !minds || self.has_stalled() {
            return None;
        }
        let now = Instant::now();
        if now >= hold.until {
            self.waiters.drop_hold(now);
            return None;
        }
        Some(hold)
    }

    /// As if there were no room, for one who is to look again when it is not left to the other any more, and is not woken for less.
    pub(super) fn line_up_behind(&mut self, hold: Hold, run: &Run, on_full: OnFull<'_>) -> Pushed {
        if let OnFull::Wait(waker) | OnFull::WaitOn { waker, .. } = on_full {
            self.wait_for_room(waker, hold.wanted.max(run.first_len()));
        }
        Pushed::Full {
            taken: 0,
            retry_at: hold.until,
        }
    }

    /// For a producer who waits for `wanted` bytes that are not free, and has got nothing in `since` then: when he is to ask again, lest he
    /// be passed over.
    pub(super) fn ask_for_hold(&mut self, since: Option<Instant>, wanted: usize) -> Option<Instant> {
        if wanted.saturating_mul(self.messages) <= self.bytes {
            return None;
        }
        let now = Instant::now();
        let passed_over = since.filter(|since| now.saturating_duration_since(*since) >= PASSED_OVER);
        let Some(since) = passed_over else {
            return Some(now + PASSED_OVER);
        };
        self.waiters.hold_for(since, wanted, now);
        Some(now + PASSED_OVER / 2)
    }
}
