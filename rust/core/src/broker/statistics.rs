//! What the broker counts, and how the counts add up.
//!
//! The unit is (message, subscription): at every quiet moment `matched = delivered + dropped(by reason) + pending`. Delivered means
//! handed to the kernel, or standing in or taken out of an in-process queue; what such a queue drops later moves from delivered to
//! dropped, so that the sum holds. The numbers of a connection that ends are kept in [`Totals`]: nothing vanishes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use uuid::Uuid;

use crate::event::EventBusStatistics;
use crate::lock::Mutex;
use crate::log::Limiter;
use crate::queue::{DropReason, LateLosses, Snapshot};
use crate::wire::Dialect;
use crate::wire::text::Code;

/// Foreign users are many; counters for them are not.
const MAX_UIDS: usize = 64;

macro_rules! refusals {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why the broker refused or closed something. One counter each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Refusal {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Refusal {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

refusals! {
    /// A user who is neither the broker's own nor listed.
    NotPermitted = "not_permitted",
    /// `max_connections` reached.
    Busy = "busy",
    /// `max_connections_per_uid` reached.
    BusyUid = "busy_uid",
    /// `max_original_peers` reached.
    BusyOriginal = "busy_original",
    /// A connection above `connects_per_second` of a rate limit.
    ConnectRate = "connect_rate",
    /// The listener could not accept: descriptors used up, for example.
    Accept = "accept",
    /// No whole first frame within `handshake_timeout`.
    HandshakeTimeout = "handshake_timeout",
    /// Ended before its handshake did.
    HandshakeIncomplete = "handshake_incomplete",
    /// No proof, or a wrong one.
    AuthenticationFailed = "authentication_failed",
    /// A protocol version that this broker does not speak.
    UnsupportedVersion = "unsupported_version",
    /// A dialect that this broker does not speak.
    UnsupportedDialect = "unsupported_dialect",
    /// A frame that cannot be, or at a moment when it cannot be.
    Protocol = "protocol",
    /// A message that is not one whole message.
    Decode = "decode",
    /// A length prefix above `max_frame`.
    FrameTooLarge = "frame_too_large",
    /// A connection, or a verb or an unfinished frame of one, that there was no memory for.
    NoMemory = "no_memory",
    /// A frame begun and not completed within `frame_timeout`.
    FrameTimeout = "frame_timeout",
    /// A frame begun and not completed soon, while others waited for the room that it took.
    UnfinishedFrame = "unfinished_frame",
    /// No frame of any kind within `ping_timeout`.
    PingTimeout = "ping_timeout",
    /// A closing connection that did not read what it was owed within `write_timeout`.
    WriteTimeout = "write_timeout",
    /// A connection that the system did not let be written to, though its peer was there.
    WriteFailed = "write_failed",
    /// A full queue whose owner had asked for `disconnect`.
    SlowConsumer = "slow_consumer",
    /// `disconnect_client`.
    Operator = "disconnected_by_operator",
    /// A publish to something that is no topic.
    Topic = "topic",
    /// A publish of a type that its topic does not take, or that is taken from no client.
    MessageType = "message_type",
    /// A publish or a subscription against the rules.
    Rights = "rights",
    /// A publish above a rate limit, of a publisher who does not wait.
    RateLimit = "rate_limit",
    /// A subscription whose pattern is none.
    Pattern = "pattern",
    /// A subscription above a limit, without pattern, or with an id in use.
    Subscription = "subscription_refused",
    /// A payload without envelope from a peer of the original; it was skipped.
    Bare = "bare_payload",
    /// A publish of a peer of the original that had not proved the token yet.
    Unproven = "unproven",
    /// UNSUB of an id that is not subscribed.
    UnknownSubscription = "unknown_subscription",
    /// A verb of a newer protocol, or of none.
    UnknownVerb = "unknown_verb",
    /// A connection ended by a defect of the broker; please report it.
    Panic = "panic",
}

impl Refusal {
    /// Of an error that ends a connection or answers a verb.
    pub(super) const fn of(code: Code) -> Self {
        match code {
            Code::Busy => Self::Busy,
            Code::NotPermitted => Self::NotPermitted,
            Code::AuthenticationFailed => Self::AuthenticationFailed,
            Code::UnsupportedVersion => Self::UnsupportedVersion,
            Code::UnsupportedDialect => Self::UnsupportedDialect,
            Code::DisconnectedByOperator => Self::Operator,
            Code::Decode => Self::Decode,
            Code::FrameTooLarge => Self::FrameTooLarge,
            Code::HandshakeTimeout => Self::HandshakeTimeout,
            Code::FrameTimeout => Self::FrameTimeout,
            Code::PingTimeout => Self::PingTimeout,
            Code::SlowConsumer => Self::SlowConsumer,
            Code::Topic => Self::Topic,
            Code::MessageType => Self::MessageType,
            Code::Rights => Self::Rights,
            Code::RateLimit => Self::RateLimit,
            Code::Pattern => Self::Pattern,
            Code::SubscriptionRefused => Self::Subscription,
            Code::UnknownSubscription => Self::UnknownSubscription,
            Code::UnknownVerb => Self::UnknownVerb,
            _ => Self::Protocol,
        }
    }
}

/// Counters that any thread moves.
pub(super) struct Counters {
    published: AtomicU64,
    refused: Vec<AtomicU64>,
    uids: Mutex<HashMap<u32, u64>>,
    pub(super) log: Limiter,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            published: AtomicU64::new(0),
            refused: Refusal::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            uids: Mutex::default(),
            log: Limiter::default(),
        }
    }

    pub(super) fn note_published(&self, messages: u64) {
        self.published.fetch_add(messages, Ordering::Relaxed);
    }

    pub(super) fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    pub(super) fn note(&self, reason: Refusal) {
        if let Some(counter) = self.refused.get(reason as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts, and says whether a line in the log is due: then how many were left out since the last.
    pub(super) fn note_and_log(&self, reason: Refusal) -> Option<u64> {
        self.note(reason);
        self.log.due(reason.name())
    }

    pub(super) fn note_uid(&self, uid: u32) {
        let mut uids = self.uids.lock();
        if uids.len() < MAX_UIDS || uids.contains_key(&uid) {
            *uids.entry(uid).or_default() += 1;
        }
    }

    pub(super) fn refused(&self) -> BTreeMap<&'static str, u64> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Refusal::ALL
            .iter()
            .zip(&self.refused)
            .map(|(reason, counter)| (reason.name(), count(counter)))
            .collect()
    }

    pub(super) fn refused_uids(&self) -> BTreeMap<u32, u64> {
        self.uids.lock().iter().map(|(uid, count)| (*uid, *count)).collect()
    }
}

/// Sums over queues, living or gone.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) delivered: u64,
    pub(super) pending: u64,
    pub(super) dropped: [u64; DropReason::ALL.len()],
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

impl Totals {
    pub(super) fn add(&mut self, queue: &Snapshot, local: bool) {
        self.delivered += queue.delivered;
        if local {
            self.delivered += queue.pending;
        } else {
            self.pending += queue.pending;
        }
        for (sum, count) in self.dropped.iter_mut().zip(queue.dropped) {
            *sum += count;
        }
        self.messages += queue.messages as u64;
        self.bytes += queue.bytes as u64;
    }

    pub(super) fn add_late(&mut self, late: &LateLosses) {
        for (sum, count) in self.dropped.iter_mut().zip(late.counts()) {
            *sum += count;
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.pending += other.pending;
        for (sum, count) in self.dropped.iter_mut().zip(other.dropped) {
            *sum += count;
        }
        self.messages += other.messages;
        self.bytes += other.bytes;
    }

    pub(super) fn dropped(&self) -> BTreeMap<&'static str, u64> {
        DropReason::ALL
            .iter()
            .map(|reason| reason.name())
            .zip(self.dropped)
            .collect()
    }
}

/// One look at a broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrokerStatistics {
    /// The five that every client may ask for.
    pub bus: EventBusStatistics,
    /// (message, subscription) pairs that matched and wait in the queues of connections.
    pub pending: u64,
    /// (message, subscription) pairs that matched and were lost, by [`DropReason::name`].
    pub dropped: BTreeMap<&'static str, u64>,
    /// By [`Refusal::name`].
    pub refused: BTreeMap<&'static str, u64>,
    /// How often which foreign uid was refused; the first 64 of them.
    pub refused_uids: BTreeMap<u32, u64>,
    pub connections: usize,
    /// In all queues, those of this process included.
    pub queued_messages: u64,
    pub queued_bytes: u64,
    /// Set aside for frames that have not come whole, and for what is read and waits for full queues.
    pub unfinished_bytes: u64,
}

/// What kind of client it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientKind {
    Native,
    Original,
    /// A bus of this process.
    Local,
}

impl ClientKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Original => "original",
            Self::Local => "local",
        }
    }
}

/// One look at a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInfo {
    pub id: Uuid,
    /// What it calls itself.
    pub name: String,
    pub uid: u32,
    pub pid: Option<u32>,
    pub dialect: Dialect,
    pub kind: ClientKind,
    pub subscriptions: usize,
    pub queued_messages: u64,
    pub queued_bytes: u64,
    pub delivered: u64,
    pub dropped: BTreeMap<&'static str, u64>,
    /// Accepted publishes, with or without a reader.
    pub published: u64,
}

/// What a shutdown could not deliver, whoever's doing that was: the deadline's, or that of a peer who did not read or went away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Undelivered {
    /// Messages that were dropped with the queues of connections, or that a publisher waited with.
    pub messages: u64,
    /// Connections that had some of them.
    pub connections: usize,
}
