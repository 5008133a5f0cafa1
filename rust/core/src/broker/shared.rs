//! What all parts of one broker share, and the register of who is there.
//!
//! A queue leaves the register only together with its last numbers, under one lock, so that sums over the register and over what has
//! gone count everything exactly once.
//!
//! Locks, in this order: the patterns of a peer of the original, or the subscriptions of a bus of this process; the register; a queue,
//! or the routes that such a bus remembers; the router's table. All others are taken alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Instant;

use hashbrown::HashMap;
use tokio::sync::Notify;
use uuid::Uuid;

use super::config::BrokerConfig;
use super::connection::{Connection, batch};
use super::deliver::unwritten;
use super::failed_proofs::FailedProofs;
use super::held_back::Watch;
use super::memory;
use super::places::Places;
use super::rate::Rates;
use super::read_room::ReadRoom;
use super::rhythm::Rhythm;
use super::rights::Rights;
use super::route::Sink;
use super::router::Router;
use super::spin::Spin;
use super::statistics::{BrokerStatistics, ClientInfo, ClientKind, Counters, Refusal, Totals, Undelivered};
use crate::error::{Error, Result};
use crate::event::EventBusStatistics;
use crate::headroom::Headroom;
use crate::lock::Mutex;
use crate::queue::{Budget, DropReason, Queue};
use crate::transport::{Peer, User};

/// Trimmed besides the excess, so that a total at its limit is not trimmed for every message.
const TRIM_SLACK: usize = 64 * 1024;

/// How far a broker has come; it only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    New,
    Starting,
    Running,
    /// Nothing more is read; what has been read is routed.
    Quiescing,
    /// Who still waits for room waits no longer: the queues' own policies decide.
    Deciding,
    /// What is queued is written, then `BYE`.
    Leaving,
    Stopped,
}

/// A bus of this process and its subscriptions.
struct LocalClient {
    name: String,
    queues: HashMap<u64, Arc<Queue>>,
    /// Counted by its port.
    published: Arc<AtomicU64>,
    /// Of subscriptions that have ended.
    gone: Totals,
}

#[derive(Default)]
struct Register {
    connections: HashMap<Uuid, Arc<Connection>>,
    locals: HashMap<Uuid, LocalClient>,
    gone: Totals,
}

pub(super) struct Shared {
    pub(super) config: BrokerConfig,
    pub(super) own_uid: u32,
    pub(super) router: Router,
    pub(super) budget: Arc<Budget>,
    pub(super) headroom: Headroom,
    pub(super) read_room: Arc<ReadRoom>,
    pub(super) counters: Counters,
    /// When a peer of the original checks its connection.
    pub(super) rhythm: Rhythm,
    pub(super) rates: Rates,
    pub(super) failed_proofs: FailedProofs,
    pub(super) places: Arc<Places>,
    /// Of what buses of this process hold back.
    pub(super) watch: Watch,
    pub(super) spin: Spin,
    /// Told when a connection came a step nearer to the end.
    pub(super) progress: Arc<Notify>,
    phase: AtomicU8,
    register: Mutex<Register>,
    lost_at_end: Mutex<Undelivered>,
    created: Instant,
}

impl Shared {
    pub(super) fn new(config: BrokerConfig) -> Self {
        let own_uid = Peer::own_uid();
        let progress = Arc::new(Notify::new());
        let total_queue_bytes = memory::total_queue_bytes(&config);
        Self {
            budget: Arc::new(Budget::new(total_queue_bytes)),
            read_room: Arc::new(ReadRoom::new(total_queue_bytes, config.max_frame)),
            places: Arc::new(Places::new(&config, own_uid, Arc::clone(&progress))),
            config,
            own_uid,
            headroom: Headroom::default(),
            watch: Watch::default(),
            spin: Spin::default(),
            router: Router::default(),
            counters: Counters::new(),
            rhythm: Rhythm::default(),
            rates: Rates::default(),
            failed_proofs: FailedProofs::default(),
            progress,
            phase: AtomicU8::new(Phase::New as u8),
            register: Mutex::default(),
            lost_at_end: Mutex::default(),
            created: Instant::now(),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::New,
            1 => Phase::Starting,
            2 => Phase::Running,
            3 => Phase::Quiescing,
            4 => Phase::Deciding,
            5 => Phase::Leaving,
            _ => Phase::Stopped,
        }
    }

    /// Moves forward to `phase`; false if it was there or further already.
    pub(super) fn advance(&self, phase: Phase) -> bool {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel) < phase as u8
    }

    /// For a broker that ends before it began.
    pub(super) fn advance_from_new_to_stopped(&self) -> bool {
        self.phase
            .compare_exchange(
                Phase::New as u8,
                Phase::Stopped as u8,
                Ordering::AcqRel,
                Ordering::Acquire,
            )
            .is_ok()
    }

    /// Whether there is memory for another connection, or for what a verb may ask for: what is made of a text, and tables that grow.
    pub(super) fn has_memory(&self) -> bool {
        let (subscriptions, patterns) = self.router.subscriptions_and_patterns();
        Headroom::is_there(subscriptions + patterns + self.places.taken())
    }

    /// Whether there is memory for another subscription.
    pub(super) fn memory_for_subscription(&self) -> Result<()> {
        if self.has_memory() {
            Ok(())
        } else {
            Err(self.no_memory_for_subscription())
        }
    }

    #[cold]
    pub(super) fn no_memory_for_subscription(&self) -> Error {
        self.counters.note(Refusal::NoMemory);
        Error::SubscriptionRefused {
            reason: "there is no memory for it; make room, or try again later".to_owned(),
            limit: 0,
        }
    }

    /// What a client may not do; `None` if it may do everything.
    pub(super) fn rights(&self, user: &User, token: Option<&str>) -> Option<Arc<Rights>> {
        let config = &self.config;
        Rights::of(&config.rules, config.max_topic_depth, self.own_uid, user, token)
    }

    pub(super) fn register(&self, connection: &Arc<Connection>) {
        self.register
            .lock()
            .connections
            .insert(connection.id, Arc::clone(connection));
    }

    /// Ends a connection's subscriptions, counts what it has not got as lost, for the `reason` of each, and keeps its numbers. `waited`:
    /// messages of it that waited for others when the broker stopped waiting.
    pub(super) fn retire(&self, connection: &Connection, waited: u64, reason: impl Fn(u64) -> DropReason) {
        self.router.leave(&connection.sink);
        let discarded = connection.queue.discard(reason);
        let unsent = if self.phase() >= Phase::Leaving { discarded } else { 0 };
        self.note_lost_at_end(waited + unsent);
        let mut register = self.register.lock();
        if register.connections.remove(&connection.id).is_some() {
            register.gone.add(&connection.queue.snapshot(), false);
        }
        drop(register);
        self.progress.notify_one();
    }

    /// A peer of the original goes on with another queue. What this one held is dropped as closed; gives all that it has come to.
    pub(super) fn end_queue(&self, old: &Connection) -> Totals {
        self.router.leave(&old.sink);
        old.queue.discard(|_| DropReason::Closed);
        let mut register = self.register.lock();
        register.connections.remove(&old.id);
        register.gone.add(&old.queue.snapshot(), false);
        old.totals()
    }

    /// Why a message is lost that could not be written.
    #[cold]
    pub(super) fn note_unwritten(&self, error: &Error) -> DropReason {
        if let Error::NoMemory(bytes) = error {
            self.note_no_memory(*bytes);
        }
        unwritten(error)
    }

    /// Messages are lost for want of memory, each counted for its readers.
    #[cold]
    pub(super) fn note_no_memory(&self, bytes: usize) {
        if let Some(suppressed) = self.counters.log.due(DropReason::NoMemory.name()) {
            tracing::warn!(
                target: "daemoneye_eventbus::broker",
                reason = DropReason::NoMemory.name(), bytes, suppressed,
                "there is no memory for what was published: it is lost for its readers; give more memory, or lower queue_bytes"
            );
        }
    }

    /// All of one connection, while the broker ends.
    fn note_lost_at_end(&self, messages: u64) {
        if messages > 0 {
            let mut lost = self.lost_at_end.lock();
            lost.messages += messages;
            lost.connections += 1;
        }
    }

    /// What those who were connected when the broker ended have not got.
    pub(super) fn lost_at_end(&self) -> Undelivered {
        *self.lost_at_end.lock()
    }

    pub(super) fn connection(&self, id: Uuid) -> Option<Arc<Connection>> {
        self.register.lock().connections.get(&id).cloned()
    }

    pub(super) fn connections(&self) -> Vec<Arc<Connection>> {
        self.register.lock().connections.values().cloned().collect()
    }

    pub(super) fn register_local(&self, id: Uuid, name: String, published: Arc<AtomicU64>) {
        let client = LocalClient {
            name,
            queues: HashMap::new(),
            published,
            gone: Totals::default(),
        };
        self.register.lock().locals.insert(id, client);
    }

    /// False if that bus has been closed.
    pub(super) fn register_queue(&self, client: Uuid, sink: &Sink) -> bool {
        let mut register = self.register.lock();
        let client = register.locals.get_mut(&client);
        client.is_some_and(|client| client.queues.insert(sink.id, Arc::clone(&sink.queue)).is_none())
    }

    /// Ends one subscription of this process; what it has not handed over is dropped as closed.
    pub(super) fn retire_queue(&self, client: Uuid, sink: &Sink) {
        self.router.leave(sink);
        sink.queue.discard(|_| DropReason::Closed);
        let mut register = self.register.lock();
        let Some(client) = register.locals.get_mut(&client) else {
            return;
        };
        if let Some(queue) = client.queues.remove(&sink.id) {
            client.gone.add(&queue.snapshot(), true);
        }
    }

    /// Takes a bus of this process out; its subscriptions have been retired before.
    pub(super) fn retire_local(&self, client: Uuid) {
        let mut register = self.register.lock();
        if let Some(local) = register.locals.remove(&client) {
            let gone = &mut register.gone;
            gone.merge(&local.gone);
            for queue in local.queues.values() {
                gone.add(&queue.snapshot(), true);
            }
        }
    }

    /// Nothing more comes into the subscriptions of this process; what is there can still be taken out.
    pub(super) fn finish_locals(&self) {
        let register = self.register.lock();
        let queues: Vec<_> = register
            .locals
            .values()
            .flat_map(|client| client.queues.values().cloned())
            .collect();
        drop(register);
        for queue in queues {
            queue.finish();
        }
    }

    /// Brings all queues together under `total_queue_bytes`: the largest first, lossless ones last.
    pub(super) fn trim(&self) {
        if self.budget.excess() == 0 {
            return;
        }
        // The kernel may have room for what waits.
        batch::flush();
        if self.budget.excess() == 0 {
            return;
        }
        // Without memory for them the next one tries again.
        let Some(mut queues) = self.router.queues() else { return };
        // Lossless ones take no more than the budget allows, one message each in need.
        queues.retain_mut(|(charged, queue)| {
            *charged = std::cmp::Reverse(queue.snapshot().charged());
            !queue.is_lossless()
        });
        queues.sort_unstable_by_key(|(charged, _)| *charged);
        for (_, queue) in queues {
            let excess = self.budget.excess();
            if excess == 0 {
                break;
            }
            queue.trim(excess + TRIM_SLACK.min(self.budget.limit() / 8), DropReason::Budget);
        }
    }

    /// The five numbers that everybody may ask for, and so as often as they like: nothing is written together for them.
    pub(super) fn bus_statistics(&self) -> EventBusStatistics {
        let (subscriptions, patterns) = self.router.subscriptions_and_patterns();
        let published = self.counters.published();
        self.five(published, subscriptions, patterns, &self.totals())
    }

    fn five(&self, published: u64, subscriptions: usize, patterns: usize, totals: &Totals) -> EventBusStatistics {
        EventBusStatistics {
            messages_published: published,
            messages_delivered: totals.delivered,
            active_subscribers: subscriptions as u64,
            active_topics: patterns as u64,
            uptime_seconds: self.created.elapsed().as_secs(),
        }
    }

    fn totals(&self) -> Totals {
        let register = self.register.lock();
        let mut totals = register.gone;
        for connection in register.connections.values() {
            totals.add(&connection.queue.snapshot(), false);
        }
        for client in register.locals.values() {
            totals.merge(&client.gone);
            for queue in client.queues.values() {
                totals.add(&queue.snapshot(), true);
            }
        }
        totals
    }

    pub(super) fn statistics(&self) -> BrokerStatistics {
        // Who is gone by these numbers has its account settled in the sums below.
        let connections = self.places.taken();
        let (subscriptions, patterns) = self.router.subscriptions_and_patterns();
        let published = self.counters.published();
        let totals = self.totals();
        BrokerStatistics {
            bus: self.five(published, subscriptions, patterns, &totals),
            pending: totals.pending,
            dropped: totals.dropped(),
            refused: self.counters.refused(),
            refused_uids: self.counters.refused_uids(),
            connections,
            queued_messages: totals.messages,
            queued_bytes: totals.bytes,
            unfinished_bytes: self.read_room.used() as u64,
        }
    }

    /// In no order.
    pub(super) fn client_ids(&self) -> Vec<Uuid> {
        let register = self.register.lock();
        register
            .connections
            .keys()
            .chain(register.locals.keys())
            .copied()
            .collect()
    }

    pub(super) fn clients(&self) -> Vec<ClientInfo> {
        self.clients_where(|_| true)
    }

    pub(super) fn clients_where(&self, wanted: impl Fn(Uuid) -> bool) -> Vec<ClientInfo> {
        let register = self.register.lock();
        let remote = register.connections.values().filter(|connection| wanted(connection.id));
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
                published: connection.lasting.published.load(Ordering::Relaxed),
            }
        });
        let local = register.locals.iter().filter(|(id, _)| wanted(**id));
        let local = local.map(|(id, client)| {
            let mut totals = client.gone;
            for queue in client.queues.values() {
                totals.add(&queue.snapshot(), true);
            }
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
