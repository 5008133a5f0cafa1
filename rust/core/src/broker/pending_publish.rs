//! A publish in the broker's own process that waits for full queues.
//!
//! It counts as published from the moment in which some reader has it, or when it is done. Whoever gives it up (a time-out, a
//! cancellation) drops it: what some readers have by then is lost to the others, who are told so; what nobody has was never published,
//! and its number is that of the next, unless one behind it was published. So does a broker that ends: what nobody has then raises as the
//! next publish does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::deliver::{Delivery, Waiting};
use super::publish_state::PublishState;
use super::shared::{Phase, SHUT_DOWN, Shared};
use crate::error::{Error, Result};
use crate::lock::Mutex;
use crate::queue::{OnFull, Wake};

/// What became of a publish.
#[derive(Debug)]
pub enum Published {
    Done,
    /// Done but for the writing: [`Port::end_turn`](super::Port::end_turn) at the end of the turn.
    HeldBack,
    /// Some queues are full: to be resumed when the waker is woken, or at [`PendingPublish::retry_at`] at the latest.
    Wait(PendingPublish),
}

/// The readers of a publish that had no room yet; dropping it gives them up.
pub struct PendingPublish {
    pub(super) shared: Arc<Shared>,
    /// Accepted publishes of its port.
    pub(super) published: Arc<AtomicU64>,
    /// That of its port.
    pub(super) publish_state: Arc<Mutex<PublishState>>,
    pub(super) number: u64,
    pub(super) waiting: Option<Waiting>,
    pub(super) counted: bool,
}

impl std::fmt::Debug for PendingPublish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingPublish")
            .field("waiting", &self.waiting)
            .field("counted", &self.counted)
            .finish_non_exhaustive()
    }
}

impl PendingPublish {
    /// When to try again, woken or not: the first of the full queues counts as stalled then, if it takes nothing before, or others may
    /// have left it some of what all queues together hold.
    pub fn retry_at(&self) -> Instant {
        self.waiting.as_ref().map_or_else(Instant::now, Waiting::retry_at)
    }

    /// Readers that have not got it.
    pub fn readers(&self) -> u64 {
        self.waiting.as_ref().map_or(0, Waiting::messages)
    }

    /// Drops it; true if some reader has it, so that it counts as published.
    pub fn give_up(self) -> bool {
        self.counted
    }

    /// As the registry knows it: only what is published.
    fn owed(&self) -> u64 {
        if self.counted { self.readers() } else { 0 }
    }

    pub(super) fn resume(mut self, waker: &Arc<dyn Wake>) -> Result<Published> {
        let shared = Arc::clone(&self.shared);
        if !self.counted && shared.phase() >= Phase::Leaving {
            return Err(Error::Lifecycle(SHUT_DOWN));
        }
        let before = self.owed();
        let depth = shared.config.max_topic_depth;
        let mut delivery = Delivery::new(&shared.router, depth, OnFull::Wait(waker));
        if let Some(waiting) = self.waiting.take() {
            delivery.resume(waiting);
        }
        shared.trim();
        let (handed_over, met_end) = (delivery.has_handed_over(), delivery.met_end());
        self.waiting = delivery.finish();
        if !self.counted && (handed_over || self.waiting.is_none()) {
            self.counted = true;
            shared.counters.note_published(1);
            self.published.fetch_add(1, Ordering::Relaxed);
            self.publish_state.lock().numbers.publish(self.number);
        }
        shared.note_pending(before, self.owed(), met_end);
        Ok(match self.waiting {
            None => Published::Done,
            Some(_) => Published::Wait(self),
        })
    }
}

impl Drop for PendingPublish {
    fn drop(&mut self) {
        let owed = self.owed();
        let Some(waiting) = self.waiting.take() else { return };
        if self.counted {
            waiting.give_up(&self.shared);
            self.shared.note_pending(owed, 0, owed);
        } else {
            self.publish_state.lock().numbers.give_up(self.number);
        }
    }
}
