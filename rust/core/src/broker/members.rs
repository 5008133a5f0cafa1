//! Who enters and leaves a broker, and what they have come to: what is done to the [`registry`](super::registry).
//!
//! A queue leaves the registry only together with its last numbers, under one lock, so that sums over the registry and over what has
//! gone count everything exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use uuid::Uuid;

use super::connection::Connection;
use super::registry::LocalClient;
use super::route::Sink;
use super::shared::{Phase, Shared};
use super::statistics::{ClientInfo, ClientKind, Totals, Undelivered};
use crate::queue::DropReason;

impl Shared {
    pub(super) fn register(&self, connection: &Arc<Connection>) {
        let mut registry = self.registry.lock();
        registry.unquiesced += usize::from(!connection.is_quiesced());
        registry.connections.insert(connection.id, Arc::clone(connection));
    }

    /// The broker has routed all that was read of it, and reads no more.
    pub(super) fn quiesce(&self, connection: &Connection) {
        let mut registry = self.registry.lock();
        if connection.set_quiesced() && registry.connections.contains_key(&connection.id) {
            registry.unquiesced -= 1;
        }
        drop(registry);
        self.progress.notify_one();
    }

    pub(super) fn is_quiesced(&self) -> bool {
        self.registry.lock().unquiesced == 0
    }

    pub(super) fn has_no_connections(&self) -> bool {
        self.registry.lock().connections.is_empty()
    }

    /// Ends a connection's subscriptions, counts what it has not got as lost, for the `reason` of each, and keeps its numbers. `before`:
    /// messages that the end of the broker had cost it until now.
    pub(super) fn retire(&self, connection: &Connection, before: u64, reason: impl Fn(u64) -> DropReason) {
        self.change_readers().leave(&connection.sink);
        connection.queue.break_off();
        let dropped = connection.queue.discard(reason);
        let mut registry = self.registry.lock();
        registry.note_lost_at_end(before + self.undelivered(dropped));
        if registry.connections.remove(&connection.id).is_some() {
            registry.unquiesced -= usize::from(!connection.is_quiesced());
            let settled = connection.queue.settle(&registry.late);
            registry.gone.add(&settled, false);
        }
        drop(registry);
        self.progress.notify_one();
    }

    /// A peer of the original will go on with another queue. What this one held is dropped as closed; gives all that it has come to.
    pub(super) fn end_queue(&self, old: &Connection) -> Totals {
        self.change_readers().leave(&old.sink);
        old.queue.discard(|_| DropReason::Closed);
        old.totals()
    }

    /// Puts `new` in the place of `old`, whose queue has ended. In one step: whoever looks for the peer meanwhile finds it.
    pub(super) fn replace(&self, old: &Connection, new: &Arc<Connection>) {
        let mut registry = self.registry.lock();
        registry.connections.insert(new.id, Arc::clone(new));
        let settled = old.queue.settle(&registry.late);
        registry.gone.add(&settled, false);
    }

    /// How many of the messages that were dropped with a connection, or with its subscriptions, a shutdown could not deliver: all of
    /// them, once one has begun.
    pub(super) fn undelivered(&self, dropped: u64) -> u64 {
        if self.phase() >= Phase::Quiescing { dropped } else { 0 }
    }

    /// What those who were connected when the broker began to stop have not got, and what publishes of this process still wait with: no
    /// queue takes anything any more.
    pub(super) fn lost_at_end(&self) -> Undelivered {
        let registry = self.registry.lock();
        let Undelivered { messages, connections } = registry.lost_at_end;
        Undelivered {
            messages: messages + registry.pending_messages,
            connections,
        }
    }

    /// A publish of this process waits with `now` messages instead of `before`, and `lost` of them are.
    pub(super) fn note_pending(&self, before: u64, now: u64, lost: u64) {
        let mut registry = self.registry.lock();
        registry.pending_messages = registry.pending_messages.saturating_sub(before) + now;
        registry.lost_at_end.messages += self.undelivered(lost);
    }

    pub(super) fn connection(&self, id: Uuid) -> Option<Arc<Connection>> {
        self.registry.lock().connections.get(&id).cloned()
    }

    pub(super) fn connections(&self) -> Vec<Arc<Connection>> {
        self.registry.lock().connections.values().cloned().collect()
    }

    /// Whether `id` is a bus of this process.
    pub(super) fn has_local(&self, id: Uuid) -> bool {
        self.registry.lock().locals.contains_key(&id)
    }

    pub(super) fn register_local(&self, id: Uuid, name: String, published: Arc<AtomicU64>) {
        let client = LocalClient {
            name,
            queues: HashMap::new(),
            published,
            gone: Totals::default(),
        };
        self.registry.lock().locals.insert(id, client);
    }

    /// False if that bus has been closed.
    pub(super) fn register_queue(&self, client: Uuid, sink: &Sink) -> bool {
        let mut registry = self.registry.lock();
        let client = registry.locals.get_mut(&client);
        client.is_some_and(|client| client.queues.insert(sink.id, Arc::clone(&sink.queue)).is_none())
    }

    /// Ends one subscription of this process; what it has not handed over is dropped as closed.
    pub(super) fn retire_queue(&self, client: Uuid, sink: &Sink) {
        self.change_readers().leave(sink);
        sink.queue.discard(|_| DropReason::Closed);
        let mut registry = self.registry.lock();
        let late = Arc::clone(&registry.late);
        let Some(client) = registry.locals.get_mut(&client) else {
            return;
        };
        if let Some(queue) = client.queues.remove(&sink.id) {
            client.gone.add(&queue.settle(&late), true);
        }
    }

    /// Takes a bus of this process out; its subscriptions have been retired before, unless somebody else is about to.
    pub(super) fn retire_local(&self, client: Uuid) {
        let registry = self.registry.lock();
        let left = registry.locals.get(&client).map(|local| local.queues.clone());
        drop(registry);
        for queue in left.iter().flat_map(|queues| queues.values()) {
            queue.discard(|_| DropReason::Closed);
        }
        let mut registry = self.registry.lock();
        if let Some(local) = registry.locals.remove(&client) {
            let settled = local.settle(&registry.late);
            registry.gone.merge(&settled);
        }
    }

    /// Nothing more comes into the subscriptions of this process; what is there can still be taken out.
    pub(super) fn finish_locals(&self) {
        let registry = self.registry.lock();
        let queues: Vec<_> = registry
            .locals
            .values()
            .flat_map(|client| client.queues.values().cloned())
            .collect();
        drop(registry);
        for queue in queues {
            queue.finish();
        }
    }

    /// Over the registry and what has gone.
    pub(super) fn totals(&self) -> Totals {
        let registry = self.registry.lock();
        let mut totals = registry.gone;
        totals.add_late(&registry.late);
        for connection in registry.connections.values() {
            totals.add(&connection.queue.snapshot(), false);
        }
        for client in registry.locals.values() {
            totals.merge(&client.totals());
        }
        totals
    }

    /// In no order.
    pub(super) fn client_ids(&self) -> Vec<Uuid> {
        let registry = self.registry.lock();
        registry
            .connections
            .keys()
            .chain(registry.locals.keys())
            .copied()
            .collect()
    }

    pub(super) fn clients(&self) -> Vec<ClientInfo> {
        self.clients_where(|_| true)
    }

    pub(super) fn clients_where(&self, wanted: impl Fn(Uuid) -> bool) -> Vec<ClientInfo> {
        self.flush_watchdog.hand_on(self);
        let registry = self.registry.lock();
        let remote = registry.connections.values().filter(|connection| wanted(connection.id));
        let remote = remote.map(|connection| {
            let totals = connection.totals();
            ClientInfo {
                id: connection.id,
                name: connection.name.clone(),
                uid: connection.peer.uid,
                pid: connection.peer.pid,
                dialect: connection.sink.dialect,
                kind: connection.kind(),
                subscriptions: self.router.subscriptions_of(&connection.sink),
                queued_messages: totals.messages,
                queued_bytes: totals.bytes,
                delivered: totals.delivered,
                dropped: totals.dropped(),
                published: connection.client_state.published.load(Ordering::Relaxed),
            }
        });
        let local = registry.locals.iter().filter(|(id, _)| wanted(**id));
        let local = local.map(|(id, client)| {
            let totals = client.totals();
            ClientInfo {
                id: *id,
                name: client.name.clone(),
                uid: self.own_uid,
                pid: Some(std::process::id()),
                dialect: self.config.dialect,
                kind: ClientKind::Local,
                subscriptions: client.queues.len(),
                queued_messages: totals.messages,
                queued_bytes: totals.bytes,
                delivered: totals.delivered,
                dropped: totals.dropped(),
                published: client.published.load(Ordering::Relaxed),
            }
        });
        remote.chain(local).collect()
    }
}
