//! What the broker sent for one subscription and nobody has taken yet.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::error::Error;
use crate::event::EventSubscription;
use crate::filter::Filters;
use crate::queue::{Budget, DropReason, Limits, OnFull, Overflow, Popped, Pushed, Queue, Run, Subscriptions, Wake};
use crate::topic::Pattern;

/// How much a subscription's queue holds, and what happens when it is full.
#[derive(Debug, Clone, Copy)]
pub struct InboxOptions {
    pub limits: Limits,
    pub overflow: Overflow,
    /// When it is full the connection is not read; `overflow` does not apply.
    pub block: bool,
}

/// One subscription at the client.
#[derive(Debug)]
pub struct Inbox {
    pub queue: Queue,
    pub(super) subscription: EventSubscription,
    pub(super) patterns: Vec<Pattern>,
    pub(super) filters: Option<Filters>,
    pub(super) block: bool,
    /// The list of subscriptions that the queue counts for: one.
    pub(super) account: Subscriptions,
    gaps: AtomicU64,
    /// How many messages had been taken out when the broker was told so last.
    told_taken: AtomicU64,
    detached: AtomicBool,
    refusal: OnceLock<Error>,
}

impl Inbox {
    pub fn new(
        subscription: EventSubscription,
        patterns: Vec<Pattern>,
        filters: Option<Filters>,
        options: InboxOptions,
        reader: Arc<dyn Wake>,
    ) -> Self {
        Self {
            queue: Queue::new(
                options.limits,
                options.overflow,
                // No stall timeout: the broker has one for the connection.
                None,
                Arc::new(Budget::unlimited()),
                reader,
            ),
            subscription,
            patterns,
            filters,
            block: options.block,
            account: Subscriptions::One(0),
            gaps: AtomicU64::new(0),
            told_taken: AtomicU64::new(0),
            detached: AtomicBool::new(false),
            refusal: OnceLock::new(),
        }
    }

    /// How often the connection was interrupted under this subscription.
    pub fn gaps(&self) -> u64 {
        self.gaps.load(Ordering::Relaxed)
    }

    /// Whether nothing comes any more, not even to be counted as lost: it was ended, and the broker has confirmed that or is gone.
    pub fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Acquire)
    }

    /// Why the broker refused the subscription, at first or after a reconnect.
    pub fn refusal(&self) -> Option<&Error> {
        self.refusal.get()
    }

    /// Takes back what was just taken out; see [`Queue::put_back`].
    pub fn put_back(&self, popped: Popped<&[u8]>) {
        self.queue.put_back(popped, &self.account);
    }

    /// Has `tell` say that messages were taken out, if any were since it last could. True if it has.
    pub(super) fn tell_taken(&self, tell: impl FnOnce() -> bool) -> bool {
        let taken = self.queue.snapshot().delivered;
        let tells = taken != self.told_taken.load(Ordering::Relaxed) && tell();
        if tells {
            self.told_taken.store(taken, Ordering::Relaxed);
        }
        tells
    }

    /// To be called before the queue is closed, so that whoever sees the end finds the reason.
    pub(super) fn refuse(&self, error: &Error) {
        self.refusal.get_or_init(|| error.clone());
    }

    /// The queue is closed, and nothing is pushed any more.
    pub(super) fn detach(&self) {
        self.detached.store(true, Ordering::Release);
    }

    /// Pushes `run`; what comes after the end is counted as lost.
    pub(super) fn push(&self, run: &Run, on_full: OnFull<'_>) -> Pushed {
        self.queue.push(run, &self.account, 0, on_full)
    }

    /// `messages` came and could not be kept.
    pub(super) fn push_gap(&self, messages: u64, reason: DropReason) {
        if !self.queue.push_gap(messages, &self.account, 0, reason) {
            self.queue.count_lost(messages, DropReason::Closed);
        }
    }

    pub(super) fn count_interruption(&self) {
        self.gaps.fetch_add(1, Ordering::Relaxed);
    }
}
