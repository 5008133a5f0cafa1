//! What all parts of one broker share: its settings, its limits, its numbers, and how far it has come.
//!
//! Locks, outermost first; who holds one takes only those behind it:
//!
//! 1. the patterns of a peer of the original, or the subscriptions of a bus of this process;
//! 2. the [`registry`](super::registry);
//! 3. what such a bus keeps from one publish to the next ([`publish_state`](super::publish_state)), or the list of the
//!    [`FlushWatchdog`];
//! 4. what such a bus [holds back](super::held_back);
//! 5. a queue;
//! 6. the router's table.
//!
//! All others are innermost: nothing more is taken under one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use tokio::sync::Notify;

use super::config::BrokerConfig;
use super::connection::batch;
use super::connection_limits::ConnectionLimits;
use super::deliver::unwritten;
use super::failed_proofs::FailedProofs;
use super::held_back::FlushWatchdog;
use super::memory;
use super::original_timing::OriginalTiming;
use super::rate::Rates;
use super::read_room::ReadRoom;
use super::registry::Registry;
use super::rights::Rights;
use super::router::{ReaderChange, Router};
use super::spin::Spin;
use super::statistics::{BrokerStatistics, Counters, Refusal, Totals};
use crate::error::{Error, Result};
use crate::event::EventBusStatistics;
use crate::headroom::Headroom;
use crate::lock::Mutex;
use crate::queue::{Budget, DropReason};
use crate::transport::{Peer, User};

/// Trimmed besides the excess, so that a total at its limit is not trimmed for every message.
const TRIM_SLACK: usize = 64 * 1024;

pub(super) const SHUT_DOWN: &str = "the broker was shut down; start a new one";

/// How far a broker has come; it only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    New,
    Starting,
    Running,
    /// Nothing more is read; what has been read is routed.
    Quiescing,
    /// Who still waits for room behind a socket waits no longer: what it waits with is lost.
    Deciding,
    /// What is queued is written, then `BYE`.
    Leaving,
    Stopped,
}

pub(super) struct Shared {
    pub(super) config: BrokerConfig,
    pub(super) own_uid: u32,
    pub(super) router: Router,
    pub(super) budget: Arc<Budget>,
    pub(super) headroom: Headroom,
    read_room: Arc<ReadRoom>,
    /// The same for publishers who wait for full queues.
    wait_room: Arc<ReadRoom>,
    pub(super) counters: Counters,
    /// When a peer of the original checks its connection.
    pub(super) original_timing: OriginalTiming,
    pub(super) rates: Rates,
    pub(super) failed_proofs: FailedProofs,
    pub(super) connection_limits: Arc<ConnectionLimits>,
    /// Of what buses of this process hold back.
    pub(super) flush_watchdog: FlushWatchdog,
    pub(super) spin: Spin,
    /// Told when a connection came a step nearer to the end.
    pub(super) progress: Arc<Notify>,
    phase: AtomicU8,
    pub(super) registry: Mutex<Registry>,
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
            wait_room: Arc::new(ReadRoom::new(total_queue_bytes, config.max_frame)),
            connection_limits: Arc::new(ConnectionLimits::new(&config, own_uid, Arc::clone(&progress))),
            config,
            own_uid,
            headroom: Headroom::default(),
            flush_watchdog: FlushWatchdog::default(),
            spin: Spin::default(),
            router: Router::default(),
            counters: Counters::new(),
            original_timing: OriginalTiming::default(),
            rates: Rates::default(),
            failed_proofs: FailedProofs::default(),
            progress,
            phase: AtomicU8::new(Phase::New as u8),
            registry: Mutex::default(),
            created: Instant::now(),
        }
    }

    /// The room for what a publisher sends: `waits` says whether it waits for full queues.
    pub(super) const fn room_of(&self, waits: bool) -> &Arc<ReadRoom> {
        if waits { &self.wait_room } else { &self.read_room }
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
        self.exchange(Phase::New, Phase::Stopped)
    }

    /// For a start that came to nothing: the only way back.
    pub(super) fn retract_start(&self) -> bool {
        self.exchange(Phase::Starting, Phase::New)
    }

    fn exchange(&self, from: Phase, to: Phase) -> bool {
        self.phase
            .compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Whether there is memory for another connection, or for what a verb may ask for: what is made of a text, and tables that grow.
    pub(super) fn has_memory(&self) -> bool {
        let (subscriptions, patterns) = self.router.subscriptions_and_patterns();
        Headroom::is_available(subscriptions + patterns + self.connection_limits.in_use())
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

    /// Every change of who reads what goes through here: what buses of this process have gathered was published before it, so it goes to
    /// those who read it until now. To be asked for before the lock of any queue is taken.
    pub(super) fn change_readers(&self) -> ReaderChange<'_> {
        self.flush_watchdog.hand_on(self);
        self.router.change()
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

    pub(super) fn statistics(&self) -> BrokerStatistics {
        self.flush_watchdog.hand_on(self);
        // Who is gone by these numbers has its account settled in the sums below.
        let connections = self.connection_limits.in_use();
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
            unfinished_bytes: (self.read_room.used() + self.wait_room.used()) as u64,
        }
    }
}
