//! What came for queues whose numbers had been taken for good: whoever publishes may hold on to a message for a reader that has gone since.

use std::sync::atomic::{AtomicU64, Ordering};

use super::DropReason;

/// Of all queues that were [settled](super::Queue::settle) with it: (message, subscription) pairs, by reason.
#[derive(Debug, Default)]
pub(crate) struct LateLosses([AtomicU64; DropReason::ALL.len()]);

impl LateLosses {
    pub(super) fn add(&self, reason: DropReason, pairs: u64) {
        if let Some(count) = self.0.get(reason as usize) {
            count.fetch_add(pairs, Ordering::Relaxed);
        }
    }

    /// In the order of [`DropReason::ALL`].
    pub(crate) fn counts(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|count| count.load(Ordering::Relaxed))
    }
}
