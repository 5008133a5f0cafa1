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
    /// Full means that the connection is not read, instead of `overflow`.
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
    /// The queue's view of itself: one subscription.
    pub(super) account: Subscriptions,
    gaps: AtomicU64,
    starved: AtomicBool,
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
                // Its own consumer is waited for; the broker judges the connection instead.
                None,
                Arc::new(Budget::unlimited()),
                reader,
            ),
            subscription,
            patterns,
            filters,
            block: options.block,
            account: Arc::from([0]),
            gaps: AtomicU64::new(0),
            starved: AtomicBool::new(false),
            refusal: OnceLock::new(),
        }
    }

    /// How often the connection was interrupted under this subscription.
    pub fn gaps(&self) -> u64 {
        self.gaps.load(Ordering::Relaxed)
    }

    /// Whether nothing comes any more, not even to be counted: it was ended, and the broker has confirmed or is gone.
    pub fn is_starved(&self) -> bool {
        self.starved.load(Ordering::Acquire)
    }

    /// What the broker said when it did not take it, at first or after a break of the connection.
    pub fn refusal(&self) -> Option<&Error> {
        self.refusal.get()
    }

    /// Takes back what was just taken out; see [`Queue::put_back`].
    pub fn put_back(&self, popped: Popped<&[u8]>) {
        self.queue.put_back(popped, &self.account);
    }

    /// Comes before its end, so that whoever sees that finds out why.
    pub(super) fn refuse(&self, error: &Error) {
        self.refusal.get_or_init(|| error.clone());
    }

    /// It was settled, and nothing comes for it any more.
    pub(super) fn starve(&self) {
        self.starved.store(true, Ordering::Release);
    }

    /// Offers it `run`; what comes after its end is counted.
    pub(super) fn take(&self, run: &Run, on_full: OnFull<'_>) -> Pushed {
        let pushed = self.queue.push(run, &self.account, 0, on_full);
        if matches!(pushed, Pushed::Closed) {
            self.queue.count_lost(u64::from(run.messages), DropReason::Closed);
        }
        pushed
    }

    /// So many came for it and could not be kept.
    pub(super) fn miss(&self, messages: u64, reason: DropReason) {
        if !self.queue.push_gap(messages, &self.account, 0, reason) {
            self.queue.count_lost(messages, DropReason::Closed);
        }
    }

    pub(super) fn interrupted(&self) {
        self.gaps.fetch_add(1, Ordering::Relaxed);
    }
}
