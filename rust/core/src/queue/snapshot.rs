//! What a queue holds and has done, at one moment.

use super::DropReason;
use super::budget;

/// One consistent look at a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub messages: usize,
    pub bytes: usize,
    /// Bytes of long lists of subscriptions, which a [`Budget`](super::Budget) counts besides.
    pub lists: usize,
    /// (message, subscription) pairs.
    pub pending: u64,
    pub delivered: u64,
    pub dropped: [u64; DropReason::ALL.len()],
}

impl Snapshot {
    /// Adds what another queue has delivered and dropped; what waits in it is not added.
    pub fn add_settled(&mut self, other: &Self) {
        self.delivered += other.delivered;
        for (sum, count) in self.dropped.iter_mut().zip(other.dropped) {
            *sum = sum.saturating_add(count);
        }
    }

    /// What waits, as a [`Budget`](super::Budget) counts it.
    pub(crate) const fn charged(&self) -> usize {
        budget::charged(self.messages, self.bytes).saturating_add(self.lists)
    }

    /// Over all reasons.
    pub fn lost(&self) -> u64 {
        self.dropped.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Each reason with its count.
    pub fn dropped(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL.into_iter().zip(self.dropped)
    }
}
