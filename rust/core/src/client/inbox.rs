//! What the broker sent for one subscription and nobody has taken yet.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::error::Error;
use crate::event::EventSubscription;
use crate::filter::Filters;
use crate::queue::{Budget, DropReason, Limits, OnFull, Overflow, Popped, Pushed, Queue, Run, Subscriptions, Wake};
use crate::topic::Pattern;

/// More than one read brings: of a message's frame, some 100 bytes are its ids and times alone.
const SMALL_MESSAGES: usize = 4096;
/// The same for large frames, for which as much as two of them is read.
const SMALL_BYTES: usize = 4 * 1024 * 1024;
/// Turns of the host's loop in a row in which the reader of a small queue may take nothing. One that does not sleep may need several
/// from one read to the next: asyncio's `wait_for` three (a task begins, ends, and wakes the caller), and a read or a publish that lets
/// others run one each. The rest is for what it awaits besides, and turns without work are short.
pub(super) const MAX_IDLE_TURNS: u32 = 8;

/// How much a subscription's queue holds, and what happens when it is full.
#[derive(Debug, Clone, Copy)]
pub struct InboxOptions {
    pub limits: Limits,
    pub overflow: Overflow,
    pub patience: Patience,
}

/// How long the connection is not read for a full queue, before `overflow` applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    None,
    /// Turn after turn of the host's loop, until there were too many in which its reader took nothing.
    Turns,
    /// However long it takes: `overflow` never applies.
    UntilRoom,
}

impl Patience {
    /// For a queue that does not block. One that a single read of the connection may overflow is waited for: its reader had no turn in
    /// between. A larger one is full because its reader is slow.
    pub const fn for_size(limits: Limits) -> Self {
        if limits.messages < SMALL_MESSAGES || limits.bytes < SMALL_BYTES {
            Self::Turns
        } else {
            Self::None
        }
    }
}

/// One subscription at the client.
#[derive(Debug)]
pub struct Inbox {
    pub queue: Queue,
    pub(super) subscription: EventSubscription,
    pub(super) patterns: Vec<Pattern>,
    pub(super) filters: Option<Filters>,
    pub(super) patience: Patience,
    /// What its reader had taken when it was last waited for.
    taken_before: AtomicU64,
    /// How often it was waited for and that was still all.
    idle_turns: AtomicU32,
    /// The list of subscriptions that the queue counts for: one.
    pub(super) account: Subscriptions,
    gaps: AtomicU64,
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
            patience: options.patience,
            taken_before: AtomicU64::new(u64::MAX),
            idle_turns: AtomicU32::new(0),
            account: Arc::from([0]),
            gaps: AtomicU64::new(0),
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
        let pushed = self.queue.push(run, &self.account, 0, on_full);
        if matches!(pushed, Pushed::Closed) {
            self.queue.count_lost(u64::from(run.messages), DropReason::Closed);
        }
        pushed
    }

    /// `messages` came and could not be kept.
    pub(super) fn push_gap(&self, messages: u64, reason: DropReason) {
        if !self.queue.push_gap(messages, &self.account, 0, reason) {
            self.queue.count_lost(messages, DropReason::Closed);
        }
    }

    pub(super) fn blocks(&self) -> bool {
        self.patience == Patience::UntilRoom
    }

    /// It is full: whether what it has no room for is held for it now.
    pub(super) fn is_worth_waiting_for(&self) -> bool {
        let taken = self.queue.snapshot().delivered;
        let moved = self.taken_before.swap(taken, Ordering::Relaxed) != taken;
        let idle = if moved {
            0
        } else {
            self.idle_turns.load(Ordering::Relaxed)
        };
        self.idle_turns.store(idle.saturating_add(1), Ordering::Relaxed);
        idle < MAX_IDLE_TURNS || self.blocks()
    }

    pub(super) fn count_interruption(&self) {
        self.gaps.fetch_add(1, Ordering::Relaxed);
    }
}
