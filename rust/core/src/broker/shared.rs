//! What all parts of one broker share, and the register of who is there.
//!
//! A queue leaves the register only together with its last numbers, under one lock, so that sums over the register and over what has
//! gone count everything exactly once. Locks: the register's, then a queue's; never the other way round.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use super::config::BrokerConfig;
use super::connection::{Connection, batch};
use super::rate::Rates;
use super::rights::Rights;
use super::router::{Router, Sink};
use super::session::Rhythm;
use super::statistics::{BrokerStatistics, ClientInfo, ClientKind, Counters, Refusal, Totals, Undelivered};
use crate::event::EventBusStatistics;
use crate::queue::{Budget, DropReason, Queue};
use crate::transport::{Peer, User};

/// Trimmed besides the excess, so that a total at its limit is not trimmed for every message.
const TRIM_SLACK: usize = 64 * 1024;

/// Before a refused proof is answered: guessing costs time, and the time tells nothing.
const BACK_OFF: Duration = Duration::from_millis(100);
/// Short enough for a client to learn why it was refused.
const LONGEST_BACK_OFF: Duration = Duration::from_millis(1600);
/// Without another failure for so long a uid begins anew.
const FORGIVEN: Duration = Duration::from_secs(60);
const MOST_FAILED: usize = 1024;

struct Failures {
    count: u32,
    last: Instant,
}

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
pub(super) struct LocalClient {
    pub(super) name: String,
    pub(super) queues: HashMap<u64, Arc<Queue>>,
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
    pub(super) counters: Counters,
    /// When a peer of the original checks its connection.
    pub(super) rhythm: Rhythm,
    pub(super) rates: Rates,
    failures: Mutex<HashMap<u32, Failures>>,
    /// Told when a connection came a step nearer to the end.
    pub(super) progress: Notify,
    phase: AtomicU8,
    connected: AtomicUsize,
    /// Peers of the original by uid.
    originals: Mutex<HashMap<u32, usize>>,
    per_uid: Mutex<HashMap<u32, usize>>,
    register: Mutex<Register>,
    lost_at_end: Mutex<Undelivered>,
    created: Instant,
}

impl Shared {
    pub(super) fn new(config: BrokerConfig) -> Self {
        Self {
            budget: Arc::new(Budget::new(config.total_queue_bytes)),
            config,
            own_uid: Peer::own_uid(),
            router: Router::default(),
            counters: Counters::new(),
            rhythm: Rhythm::default(),
            rates: Rates::default(),
            failures: Mutex::default(),
            progress: Notify::new(),
            phase: AtomicU8::new(Phase::New as u8),
            connected: AtomicUsize::new(0),
            originals: Mutex::default(),
            per_uid: Mutex::default(),
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

    /// Takes one of the places for connections, or says which limit is reached.
    pub(super) fn take_place(self: &Arc<Self>, uid: u32) -> Result<Place, Refusal> {
        let mut per_uid = self.per_uid.lock();
        if self.connected.load(Ordering::Relaxed) >= self.config.max_connections {
            return Err(Refusal::Busy);
        }
        let of_uid = per_uid.entry(uid).or_default();
        // However few places there are, one uid leaves one.
        let others = self.config.max_connections.saturating_sub(1).max(1);
        if uid != self.own_uid && *of_uid >= self.config.max_connections_per_uid.min(others) {
            return Err(Refusal::BusyUid);
        }
        *of_uid += 1;
        self.connected.fetch_add(1, Ordering::Relaxed);
        Ok(Place {
            shared: Arc::clone(self),
            uid,
        })
    }

    /// One of the places for peers of the original, if one is free. Of these too one uid other than ours leaves one: whoever connects
    /// and says nothing sits in one.
    pub(super) fn take_seat(self: &Arc<Self>, uid: u32) -> Option<Seat> {
        let most = self.config.max_original_peers;
        let mut seats = self.originals.lock();
        if seats.values().sum::<usize>() >= most {
            return None;
        }
        let of_uid = seats.entry(uid).or_default();
        if uid != self.own_uid && *of_uid >= most.saturating_sub(1).max(1) {
            return None;
        }
        *of_uid += 1;
        Some(Seat {
            shared: Arc::clone(self),
            uid,
        })
    }

    /// What a client may not do; `None` if it may do everything.
    pub(super) fn rights(&self, user: &User, token: Option<&str>) -> Option<Arc<Rights>> {
        Rights::of(&self.config, self.own_uid, user, token)
    }

    /// How long the next refusal of this uid's proof is to be held back: longer with each in a row. Who has the token is answered at
    /// once, so that nobody can lock out those who share the uid.
    pub(super) fn note_failed_proof(&self, uid: u32) -> Duration {
        let now = Instant::now();
        let mut failures = self.failures.lock();
        failures.retain(|_, of_uid| now.duration_since(of_uid.last) < FORGIVEN);
        if failures.len() >= MOST_FAILED && !failures.contains_key(&uid) {
            return LONGEST_BACK_OFF;
        }
        let of_uid = failures.entry(uid).or_insert(Failures { count: 0, last: now });
        let delay = (BACK_OFF * 2_u32.saturating_pow(of_uid.count)).min(LONGEST_BACK_OFF);
        of_uid.count = of_uid.count.saturating_add(1).min(16);
        of_uid.last = now;
        delay
    }

    pub(super) fn register(&self, connection: &Arc<Connection>) {
        self.register
            .lock()
            .connections
            .insert(connection.id, Arc::clone(connection));
    }

    /// Ends a connection's subscriptions, counts what it has not got as lost, and keeps its numbers.
    pub(super) fn retire(&self, connection: &Connection) {
        self.router.leave(&connection.sink);
        let lost = connection.queue.discard(DropReason::Disconnected);
        if self.phase() >= Phase::Leaving {
            self.note_lost_at_end(lost);
        }
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
        old.queue.discard(DropReason::Closed);
        let mut register = self.register.lock();
        register.connections.remove(&old.id);
        register.gone.add(&old.queue.snapshot(), false);
        old.totals()
    }

    /// Of one connection, while the broker ends.
    pub(super) fn note_lost_at_end(&self, messages: u64) {
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
        sink.queue.discard(DropReason::Closed);
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
        let mut queues: Vec<_> = self
            .router
            .queues()
            .into_iter()
            // These take no more than the budget allows, one message each in need.
            .filter(|queue| !queue.is_lossless())
            .map(|queue| (std::cmp::Reverse(queue.snapshot().bytes), queue))
            .collect();
        queues.sort_unstable_by_key(|(bytes, _)| *bytes);
        for (_, queue) in queues {
            let excess = self.budget.excess();
            if excess == 0 {
                break;
            }
            queue.trim(
                excess + TRIM_SLACK.min(self.config.total_queue_bytes / 8),
                DropReason::Budget,
            );
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
        let connections = self.connected.load(Ordering::Acquire);
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
                published: connection.published.load(Ordering::Relaxed),
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

/// A place among the peers of the original, given back when dropped.
pub(super) struct Seat {
    shared: Arc<Shared>,
    uid: u32,
}

impl Drop for Seat {
    fn drop(&mut self) {
        give_back(&mut self.shared.originals.lock(), self.uid);
    }
}

/// A place among the connections, given back when dropped.
pub(super) struct Place {
    shared: Arc<Shared>,
    uid: u32,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut per_uid = self.shared.per_uid.lock();
        self.shared.connected.fetch_sub(1, Ordering::AcqRel);
        give_back(&mut per_uid, self.uid);
        drop(per_uid);
        self.shared.progress.notify_one();
    }
}

/// One of those that `uid` has.
fn give_back(of_uids: &mut HashMap<u32, usize>, uid: u32) {
    if let Some(of_uid) = of_uids.get_mut(&uid) {
        *of_uid -= 1;
        if *of_uid == 0 {
            of_uids.remove(&uid);
        }
    }
}
