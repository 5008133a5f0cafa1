//! The memory that all queues of one broker hold together.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What a message is charged beyond its bytes: its place in the queue, with the slack of one that has grown, and an allocation of its
/// own. Short messages would otherwise take several times what they are charged.
const PER_MESSAGE: usize = 160;

/// What `messages` of `bytes` together are charged.
pub(super) const fn charged(messages: usize, bytes: usize) -> usize {
    bytes.saturating_add(messages.saturating_mul(PER_MESSAGE))
}

/// Subscriptions of a message, or in a gap, that are paid for with that.
const FREE_LISTED: usize = 8;

/// What a list of so many entries of type `T` is charged.
pub(super) const fn list_charge<T>(entries: usize) -> usize {
    entries.saturating_sub(FREE_LISTED).saturating_mul(size_of::<T>())
}

/// Charged by every queue for what it holds and given back when that leaves.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    limit: usize,
    /// False where nobody asks what is used: counting costs an atomic operation.
    is_counted: bool,
}

impl Budget {
    pub const fn new(limit: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            limit,
            is_counted: true,
        }
    }

    /// A budget that never runs out and counts nothing, for a queue that stands alone.
    pub(crate) const fn unlimited() -> Self {
        Self {
            is_counted: false,
            ..Self::new(usize::MAX)
        }
    }

    pub(super) fn charge(&self, messages: usize, bytes: usize) {
        if self.is_counted {
            self.used.fetch_add(charged(messages, bytes), Ordering::Relaxed);
        }
    }

    pub(super) fn release(&self, messages: usize, bytes: usize) {
        if self.is_counted {
            self.used.fetch_sub(charged(messages, bytes), Ordering::Relaxed);
        }
    }

    pub const fn limit(&self) -> usize {
        self.limit
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes above the limit.
    pub(crate) fn excess(&self) -> usize {
        self.used().saturating_sub(self.limit)
    }

    /// Bytes below the limit.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.used())
    }
}
