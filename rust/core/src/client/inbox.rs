//! What the broker sent for one subscription and nobody has taken yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::event::EventSubscription;
use crate::filter::Filters;
use crate::queue::{Budget, Limits, Overflow, Queue, Subscriptions, Wake};
use crate::topic::Pattern;

/// A subscriber that waits for its own consumer is never counted as stalled; the broker judges the connection instead.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

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
                NEVER,
                Arc::new(Budget::unlimited()),
                reader,
            ),
            subscription,
            patterns,
            filters,
            block: options.block,
            account: Arc::from([0]),
            gaps: AtomicU64::new(0),
        }
    }

    /// How often the connection was interrupted under this subscription.
    pub fn gaps(&self) -> u64 {
        self.gaps.load(Ordering::Relaxed)
    }

    pub(super) fn interrupted(&self) {
        self.gaps.fetch_add(1, Ordering::Relaxed);
    }
}
