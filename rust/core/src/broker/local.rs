//! A subscription of a bus in the broker's own process.

use std::sync::Arc;

use hashbrown::HashMap;
use uuid::Uuid;

use super::route::Sink;
use super::shared::Shared;
use super::subscription::Load;
use crate::lock::Mutex;
use crate::queue::{Popped, Queue, Subscriptions};
use crate::topic::Pattern;

/// The one subscription of a local queue.
pub(super) const ONLY: u64 = 0;

/// The subscriptions of one port.
#[derive(Default)]
pub(super) struct Held {
    /// Each with what it comes to.
    pub(super) sinks: HashMap<u64, (Arc<Sink>, Load)>,
}

/// One subscription of a [`Port`](super::Port); dropping it unsubscribes.
pub struct LocalSubscription {
    pub queue: Arc<Queue>,
    /// What it is subscribed to, each once.
    pub patterns: Vec<Pattern>,
    pub(super) client: Uuid,
    pub(super) sink: Arc<Sink>,
    pub(super) shared: Arc<Shared>,
    pub(super) held: Arc<Mutex<Held>>,
}

impl std::fmt::Debug for LocalSubscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalSubscription")
            .field("id", &self.sink.id)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

impl LocalSubscription {
    /// Takes back what was just taken out; see [`Queue::put_back`].
    pub fn put_back(&self, popped: Popped<&[u8]>) {
        self.queue.put_back(popped, &Subscriptions::One(ONLY));
    }

    /// Unsubscribes; what has not been taken out is dropped as `closed`. Idempotent.
    pub fn close(&self) {
        let mut held = self.held.lock();
        if held.sinks.remove(&self.sink.id).is_some() {
            drop(held);
            self.shared.retire_queue(self.client, &self.sink);
        }
    }
}

impl Drop for LocalSubscription {
    fn drop(&mut self) {
        self.close();
    }
}
