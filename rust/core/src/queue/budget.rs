//! The bytes that all queues of one broker hold together.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Charged by every queue for what it holds and given back when that leaves.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    limit: usize,
    /// False where nobody asks what is used: counting has its price.
    counts: bool,
}

impl Budget {
    pub const fn new(limit: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            limit,
            counts: true,
        }
    }

    /// A budget that never runs out and counts nothing, for a queue that stands alone.
    pub const fn unlimited() -> Self {
        Self {
            counts: false,
            ..Self::new(usize::MAX)
        }
    }

    pub(super) fn charge(&self, bytes: usize) {
        if self.counts {
            self.used.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub(super) fn release(&self, bytes: usize) {
        if self.counts {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    pub const fn limit(&self) -> usize {
        self.limit
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes above the limit.
    pub fn excess(&self) -> usize {
        self.used().saturating_sub(self.limit)
    }

    /// Bytes below the limit.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.used())
    }

    pub fn is_used_up(&self) -> bool {
        self.room() == 0
    }
}
