//! What a producer wants of a queue, and what it gets.

use std::sync::Arc;
use std::time::Instant;

use super::Wake;

/// What a producer does about a full queue.
#[derive(Clone, Copy)]
pub enum OnFull<'a> {
    /// The queue's policy applies at once.
    Overflow,
    /// Nothing is dropped: what does not fit is left with the producer, who is woken when there is room again. A stalled queue's
    /// policy applies all the same.
    Wait(&'a Arc<dyn Wake>),
    /// What fits is taken; the rest is left with the producer, whom nobody wakes. Nothing is dropped, and no stall clock starts.
    /// `block`: for a producer who will wait for the rest, and so minds the budget.
    Try { block: bool },
    /// As `Try { block: true }`, for a producer who comes with `Wait` for the rest at once: what it gets counts as its turn among those
    /// who wait.
    TryFirst(&'a Arc<dyn Wake>),
    /// Taken whatever the limits say, unless the queue has stalled: for a producer that asked [`accepts`](super::Queue::accepts) of several
    /// queues a moment ago and must not be left with half a delivery; then they are exceeded by what racing producers asked for, at most
    /// once each. Also for what a connection that is over has left in the kernel, which is bounded: once, until the queue is within its
    /// limits again.
    /// `block`: for a producer who waits where there is no room.
    Exceed { block: bool },
}

impl<'a> OnFull<'a> {
    /// The waker of a producer who waits, or will.
    pub(super) const fn waker(self) -> Option<&'a Arc<dyn Wake>> {
        match self {
            Self::Wait(waker) | Self::TryFirst(waker) => Some(waker),
            Self::Overflow | Self::Try { .. } | Self::Exceed { .. } => None,
        }
    }
}

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// Taken, or dropped and counted by policy.
    Done,
    /// The first `taken` messages are in; try the rest when woken, or at `retry_at` at the latest.
    Full { taken: u32, retry_at: Instant },
    /// The subscriptions changed since the target was looked up; look again.
    Stale,
    /// The queue is closed or its reader is being cut: nothing more is taken, and what came is counted as lost.
    Closed,
}
