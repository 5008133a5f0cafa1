//! What a broker may be told, and which settings go together.
//!
//! All fields are checked at once before anything is opened; a refusal names the field, its limit and what to do.

use std::time::Duration;

use super::rate::{Per, RateLimit};
use super::rights::Rule;
use crate::error::{Error, Result};
use crate::limits::{MAX_FRAME_RANGE, check_positive_time, check_range};
use crate::queue::{Limits, Overflow};
use crate::topic::{self, DEFAULT_MAX_DEPTH, MAX_TOPIC_BYTES};
use crate::transport::{ListenOptions, Peer, Sid};
use crate::wire::Dialect;
use crate::wire::auth::Token;
use crate::wire::frame::DEFAULT_MAX_FRAME;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// A TiB, or whatever can be addressed.
const MAX_QUEUE_BYTES: usize = match 1_usize.checked_shl(40) {
    Some(tib) => tib,
    None => usize::MAX,
};
/// What the kernel shows where a user has no number of its own; several users may hide behind it.
const OVERFLOW_UID: u32 = 65_534;

/// The default of each field is in [`BrokerConfig::default`].
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// Bytes of the largest frame body that is taken; a connection may ask for less.
    pub max_frame: usize,
    /// Connections of all users together.
    pub max_connections: usize,
    /// Connections of one uid; the broker's own uid is exempt.
    pub max_connections_per_uid: usize,
    /// Users who may connect besides the broker's own. Root is none of them unless listed.
    pub allowed_uids: Vec<u32>,
    /// 0600, or 0660 with `socket_group`.
    pub socket_mode: u32,
    /// The gid that the socket is given to.
    pub socket_group: Option<u32>,
    /// Windows: users and groups who may connect besides the broker's own user and SYSTEM.
    pub allowed_sids: Vec<Sid>,
    /// From accept to the first whole frame, and from `INFO` to the proof of a token.
    pub handshake_timeout: Duration,
    /// From a frame's first byte to its last.
    pub frame_timeout: Duration,
    /// How long a connection that is being closed may take to read what it is still owed.
    pub write_timeout: Duration,
    /// How long a full queue may lose nothing to its reader before nobody waits for it.
    pub stall_timeout: Duration,
    /// Silence after which a client is pinged.
    pub ping_interval: Duration,
    /// Silence after which a client counts as dead.
    pub ping_timeout: Duration,
    /// Messages in the queue of one connection; a connection may ask for less.
    pub queue_messages: usize,
    /// Bytes in the queue of one connection; a connection may ask for less.
    pub queue_bytes: usize,
    /// Bytes in all queues together; above it the largest queue is trimmed first.
    pub total_queue_bytes: usize,
    /// The policy of queues whose readers cannot ask for one.
    pub overflow: Overflow,
    /// Patterns of all subscriptions of one client together.
    pub max_patterns_per_client: usize,
    /// Terms in the filters of one subscription; those of one client have 16 times as many.
    pub max_filter_terms: usize,
    /// Segments of a topic or a pattern.
    pub max_topic_depth: usize,
    /// Of readers in the broker's own process. Each connection names its own.
    pub dialect: Dialect,
    /// Whether peers of the original are served: clients of it, and brokers of it that dial.
    pub original_peers: bool,
    /// Of `max_connections`, how many such peers may have.
    pub max_original_peers: usize,
    /// What such a peer is sent until [`Broker::subscribe_client`](super::Broker::subscribe_client) says otherwise.
    pub original_patterns: Vec<String>,
    /// In which it is spoken to until it has said something.
    pub original_dialect: Dialect,
    /// Whether it has to prove a token, in the original's weaker form.
    pub original_auth: bool,
    /// Empty: no token is asked for. Several are valid at once during rotation.
    pub tokens: Vec<Token>,
    /// Of those that name a client, the first that matches a topic decides; see [`Rule`].
    pub rules: Vec<Rule>,
    /// At most one of each kind.
    pub rate_limits: Vec<RateLimit>,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            max_frame: DEFAULT_MAX_FRAME,
            max_connections: 256,
            max_connections_per_uid: 64,
            allowed_uids: Vec::new(),
            socket_mode: 0o600,
            socket_group: None,
            allowed_sids: Vec::new(),
            handshake_timeout: Duration::from_secs(2),
            frame_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(90),
            queue_messages: 65_536,
            queue_bytes: 8 * MIB,
            total_queue_bytes: 256 * MIB,
            overflow: Overflow::DropOldest,
            max_patterns_per_client: 1024,
            max_filter_terms: 256,
            max_topic_depth: DEFAULT_MAX_DEPTH,
            dialect: Dialect::Bincode,
            original_peers: true,
            max_original_peers: 16,
            original_patterns: vec!["events.#".to_owned()],
            original_dialect: Dialect::Postcard,
            original_auth: false,
            tokens: Vec::new(),
            rules: Vec::new(),
            rate_limits: Vec::new(),
        }
    }
}

impl BrokerConfig {
    /// Checks every field, and the fields against each other.
    pub fn validate(&self) -> Result<()> {
        check_range("max_frame", self.max_frame, MAX_FRAME_RANGE)?;
        check_range("max_connections", self.max_connections, 1..=65_536)?;
        check_range("max_connections_per_uid", self.max_connections_per_uid, 1..=65_536)?;
        check_range("queue_messages", self.queue_messages, 1..=1 << 30)?;
        check_range("queue_bytes", self.queue_bytes, 1..=MAX_QUEUE_BYTES)?;
        check_range("total_queue_bytes", self.total_queue_bytes, 1..=MAX_QUEUE_BYTES)?;
        check_range("max_patterns_per_client", self.max_patterns_per_client, 1..=1 << 20)?;
        check_range("max_filter_terms", self.max_filter_terms, 0..=1 << 20)?;
        // A segment takes two bytes with its dot.
        check_range("max_topic_depth", self.max_topic_depth, 1..=MAX_TOPIC_BYTES / 2)?;
        check_range("max_original_peers", self.max_original_peers, 0..=65_536)?;
        check_positive_time("handshake_timeout", self.handshake_timeout)?;
        check_positive_time("frame_timeout", self.frame_timeout)?;
        check_positive_time("write_timeout", self.write_timeout)?;
        check_positive_time("stall_timeout", self.stall_timeout)?;
        check_positive_time("ping_interval", self.ping_interval)?;
        check_positive_time("ping_timeout", self.ping_timeout)?;
        if self.ping_timeout <= self.ping_interval {
            return Err(Error::invalid(
                "ping_timeout",
                format!(
                    "must be above ping_interval ({:?}), got {:?}, or silent clients would be cut before they can answer; raise it",
                    self.ping_interval, self.ping_timeout
                ),
            ));
        }
        for (field, dialect) in [("dialect", self.dialect), ("original_dialect", self.original_dialect)] {
            dialect.must_be_on_connections(field)?;
        }
        self.validate_platform(cfg!(windows))?;
        self.validate_socket()?;
        self.validate_rights()?;
        self.validate_original()
    }

    /// What would have no effect where this runs is refused, since it is about who may connect.
    pub(super) fn validate_platform(&self, windows: bool) -> Result<()> {
        let sockets = [
            ("allowed_uids", self.allowed_uids.is_empty()),
            ("socket_mode", self.socket_mode == 0o600),
            ("socket_group", self.socket_group.is_none()),
        ];
        if !windows && !self.allowed_sids.is_empty() {
            return Err(Error::invalid(
                "allowed_sids",
                "only Windows has SIDs; use allowed_uids with socket_mode and socket_group",
            ));
        }
        match sockets.iter().find(|(_, unset)| windows && !unset) {
            Some((field, _)) => Err(Error::invalid(
                field,
                "has no effect on Windows, where pipes have access lists; use allowed_sids",
            )),
            None => Ok(()),
        }
    }

    fn validate_socket(&self) -> Result<()> {
        if self.socket_mode & 0o007 != 0 {
            return Err(Error::invalid(
                "socket_mode",
                format!(
                    "{:04o} lets every user in, which is refused always; use 0600, or 0660 with socket_group and allowed_uids",
                    self.socket_mode
                ),
            ));
        }
        match (self.socket_mode, self.socket_group) {
            (0o600, None) | (0o660, Some(_)) => {}
            (0o660, None) => {
                return Err(Error::invalid(
                    "socket_group",
                    "socket_mode 0660 needs the group that it lets in; name it, or use mode 0600",
                ));
            }
            (0o600, Some(_)) => {
                return Err(Error::invalid(
                    "socket_group",
                    "has no effect with socket_mode 0600; use mode 0660, or leave the group out",
                ));
            }
            (mode, _) => {
                return Err(Error::invalid(
                    "socket_mode",
                    format!("{mode:04o} is neither 0600 nor 0660; use one of them"),
                ));
            }
        }
        // Root passes every mode.
        let own = Peer::own_uid();
        let foreign = self.allowed_uids.iter().find(|uid| **uid != own && **uid != 0);
        match foreign {
            Some(uid) if self.socket_mode == 0o600 => Err(Error::invalid(
                "allowed_uids",
                format!("uid {uid} could not pass socket_mode 0600; use mode 0660 and a socket_group that it is in"),
            )),
            _ => Ok(()),
        }
    }

    fn validate_rights(&self) -> Result<()> {
        let rules = &mut self.rules.iter();
        rules.try_for_each(|rule| rule.validate(&self.tokens, self.max_topic_depth))?;
        self.rate_limits.iter().try_for_each(RateLimit::validate)?;
        for per in [Per::Client, Per::Uid] {
            if self.rate_limits.iter().filter(|limit| limit.per == per).count() > 1 {
                return Err(Error::invalid(
                    "rate_limit",
                    "holds two limits of the same kind; give one per client and one per uid at most",
                ));
            }
        }
        Ok(())
    }

    fn validate_original(&self) -> Result<()> {
        if self.original_auth && self.tokens.is_empty() {
            return Err(Error::invalid(
                "original_auth",
                "needs a token to compare with; set token, or turn it off",
            ));
        }
        if self.original_auth && !self.original_peers {
            return Err(Error::invalid(
                "original_auth",
                "has no effect without original_peers; turn one of them over",
            ));
        }
        for pattern in &self.original_patterns {
            topic::original::pattern(pattern, self.max_topic_depth)
                .map_err(|error| Error::invalid("original_patterns", error.to_string()))?;
        }
        check_range(
            "original_patterns",
            self.original_patterns.len(),
            0..=self.max_patterns_per_client,
        )
    }

    /// Whether a connection that does not say CONNECT may be a peer of the original.
    pub(super) fn serves_originals(&self) -> bool {
        self.original_peers && (self.tokens.is_empty() || self.original_auth)
    }

    /// Whether the kernel's word on who somebody is lets them in. On Windows it has let in nobody else.
    pub(super) fn admits(&self, uid: u32, own: u32) -> bool {
        cfg!(windows) || (uid == own && uid != OVERFLOW_UID) || self.allowed_uids.contains(&uid)
    }

    /// What somebody is told whom `admits` does not let in.
    pub(super) fn stranger(uid: u32, own: u32) -> String {
        if uid == own {
            format!(
                "uid {uid} is the broker's own, and also what the kernel shows for every user without a number; \
                 run the broker as a user of its own, or list it in allowed_uids"
            )
        } else {
            format!("uid {uid} is not in the broker's allowed_uids")
        }
    }

    pub(super) fn queue_limits(&self, messages: Option<u64>, bytes: Option<u64>) -> Limits {
        let capped = |asked: Option<u64>, most: usize| {
            asked.map_or(most, |asked| {
                usize::try_from(asked).unwrap_or(usize::MAX).clamp(1, most)
            })
        };
        Limits {
            messages: capped(messages, self.queue_messages),
            bytes: capped(bytes, self.queue_bytes),
        }
    }

    pub(super) fn listen_options(&self) -> ListenOptions {
        ListenOptions {
            mode: self.socket_mode,
            group: self.socket_group,
            allowed_sids: self.allowed_sids.clone(),
            ..ListenOptions::default()
        }
    }
}
