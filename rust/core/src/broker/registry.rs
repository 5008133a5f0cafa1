//! Who is there: connections, and buses of this process with their subscriptions. It is changed and summed in [`members`](super::members).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use hashbrown::HashMap;
use uuid::Uuid;

use super::connection::Connection;
use super::statistics::{Totals, Undelivered};
use crate::queue::{LateLosses, Queue};

/// A bus of this process and its subscriptions.
pub(super) struct LocalClient {
    pub(super) name: String,
    pub(super) queues: HashMap<u64, Arc<Queue>>,
    /// Counted by its port.
    pub(super) published: Arc<AtomicU64>,
    /// Of subscriptions that have ended.
    pub(super) gone: Totals,
}

impl LocalClient {
    pub(super) fn totals(&self) -> Totals {
        let mut totals = self.gone;
        for queue in self.queues.values() {
            totals.add(&queue.snapshot(), true);
        }
        totals
    }

    /// The last look at a bus that has gone.
    pub(super) fn settle(&self, late: &Arc<LateLosses>) -> Totals {
        let mut totals = self.gone;
        for queue in self.queues.values() {
            totals.add(&queue.settle(late), true);
        }
        totals
    }
}

#[derive(Default)]
pub(super) struct Registry {
    pub(super) connections: HashMap<Uuid, Arc<Connection>>,
    /// How many of them the broker still reads, or has not routed what it has read.
    pub(super) unquiesced: usize,
    pub(super) locals: HashMap<Uuid, LocalClient>,
    pub(super) gone: Totals,
    /// Of what has gone since its numbers were taken.
    pub(super) late: Arc<LateLosses>,
    /// Messages that publishes of this process wait with, each as often as it has readers left; only those that are published.
    pub(super) pending_messages: u64,
    /// What those who were connected when the broker began to stop have not got.
    pub(super) lost_at_end: Undelivered,
}

impl Registry {
    /// All of one connection, while the broker ends.
    pub(super) fn note_lost_at_end(&mut self, messages: u64) {
        if messages > 0 {
            self.lost_at_end.messages += messages;
            self.lost_at_end.connections += 1;
        }
    }
}
