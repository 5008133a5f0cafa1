//! Python's frozen configuration dataclasses, read field by field into the core's. This runs no Python code: the fields are slots, and
//! their values are what the dataclasses' own checks have put there.
use std::time::Duration;

use daemoneye_eventbus_core::broker::{BrokerConfig, Per, RateLimit, Rule};
use daemoneye_eventbus_core::client::{ClientConfig, Peer};
use daemoneye_eventbus_core::queue::{Limits, Overflow};
use daemoneye_eventbus_core::transport::Sid;
use daemoneye_eventbus_core::wire::Dialect;
use daemoneye_eventbus_core::wire::auth::Token;
use daemoneye_eventbus_core::wire::text::Congestion;
use daemoneye_eventbus_core::{Error, Result};
use pyo3::prelude::*;

/// `daemoneye_eventbus.ClientConfig`, whose own checks have run.
#[derive(FromPyObject)]
pub(crate) struct ClientConfigFields {
    client: Option<String>,
    dialect: String,
    peer: String,
    congestion: String,
    broker_overflow: String,
    broker_queue_messages: Option<u64>,
    broker_queue_bytes: Option<u64>,
    send_buffer_bytes: usize,
    max_frame: usize,
    connect_timeout: f64,
    publish_timeout: f64,
    reconnect: bool,
    reconnect_initial: f64,
    reconnect_max: f64,
    server_uids: Option<Vec<u32>>,
    server_sids: Option<Vec<String>>,
    token: Option<Vec<u8>>,
}

impl ClientConfigFields {
    pub(crate) fn into_core(self) -> Result<ClientConfig> {
        Ok(ClientConfig {
            client: self.client.unwrap_or_default(),
            dialect: dialect("dialect", &self.dialect)?,
            peer: if self.peer == "original" {
                Peer::Original
            } else {
                Peer::Native
            },
            congestion: congestion(&self.congestion)?,
            broker_overflow: overflow("broker_overflow", &self.broker_overflow)?,
            broker_queue_messages: self.broker_queue_messages,
            broker_queue_bytes: self.broker_queue_bytes,
            send_buffer_bytes: self.send_buffer_bytes,
            max_frame: self.max_frame,
            connect_timeout: seconds("connect_timeout", self.connect_timeout)?,
            publish_timeout: seconds("publish_timeout", self.publish_timeout)?,
            reconnect: self.reconnect,
            reconnect_initial: seconds("reconnect_initial", self.reconnect_initial)?,
            reconnect_max: seconds("reconnect_max", self.reconnect_max)?,
            server_uids: self.server_uids,
            server_sids: self.server_sids.map(|given| sids("server_sids", &given)).transpose()?,
            token: self.token.map(Token::new),
        })
    }
}

/// `daemoneye_eventbus.BrokerConfig`, whose own checks have run.
#[derive(FromPyObject)]
pub(crate) struct BrokerConfigFields {
    max_frame: usize,
    max_connections: usize,
    max_connections_per_uid: usize,
    allowed_uids: Vec<u32>,
    socket_mode: u32,
    socket_group: Option<u32>,
    allowed_sids: Vec<String>,
    handshake_timeout: f64,
    frame_timeout: f64,
    write_timeout: f64,
    stall_timeout: f64,
    ping_interval: f64,
    ping_timeout: f64,
    queue_messages: usize,
    queue_bytes: usize,
    total_queue_bytes: usize,
    overflow: String,
    max_patterns_per_client: usize,
    max_filter_terms: usize,
    max_topic_depth: usize,
    dialect: String,
    original_peers: bool,
    max_original_peers: usize,
    original_patterns: Vec<String>,
    original_dialect: String,
    original_auth: bool,
    token: Option<Vec<TokenField>>,
    rules: Vec<RuleFields>,
    rate_limit: Option<RateLimitField>,
}

/// One of the tokens in `BrokerConfig.token`.
#[derive(FromPyObject)]
enum TokenField {
    Named(String, Vec<u8>),
    Bare(Vec<u8>),
}

impl TokenField {
    fn into_core(self) -> Token {
        match self {
            Self::Named(name, secret) => Token::named(name, secret),
            Self::Bare(secret) => Token::new(secret),
        }
    }
}

/// `daemoneye_eventbus.Rule`.
#[derive(FromPyObject)]
struct RuleFields {
    uids: Option<Vec<u32>>,
    sids: Option<Vec<String>>,
    tokens: Option<Vec<String>>,
    publish: Vec<String>,
    subscribe: Vec<String>,
    allow: bool,
}

impl RuleFields {
    fn into_core(self) -> Result<Rule> {
        Ok(Rule {
            uids: self.uids,
            sids: self.sids.map(|given| sids("rules", &given)).transpose()?,
            tokens: self.tokens,
            publish: self.publish,
            subscribe: self.subscribe,
            allow: self.allow,
        })
    }
}

/// `daemoneye_eventbus.RateLimit`.
#[derive(FromPyObject)]
struct RateLimitFields {
    per: String,
    messages_per_second: Option<f64>,
    bytes_per_second: Option<f64>,
    connects_per_second: Option<f64>,
    burst: f64,
}

/// `BrokerConfig.rate_limit`.
#[derive(FromPyObject)]
enum RateLimitField {
    One(RateLimitFields),
    Several(Vec<RateLimitFields>),
}

impl RateLimitField {
    fn into_core(self) -> Vec<RateLimit> {
        let several = match self {
            Self::One(limit) => vec![limit],
            Self::Several(limits) => limits,
        };
        several.into_iter().map(RateLimitFields::into_core).collect()
    }
}

impl RateLimitFields {
    fn into_core(self) -> RateLimit {
        RateLimit {
            per: if self.per == "uid" { Per::Uid } else { Per::Client },
            messages_per_second: self.messages_per_second,
            bytes_per_second: self.bytes_per_second,
            connects_per_second: self.connects_per_second,
            burst: self.burst,
        }
    }
}

impl BrokerConfigFields {
    pub(crate) fn into_core(self) -> Result<BrokerConfig> {
        Ok(BrokerConfig {
            max_frame: self.max_frame,
            max_connections: self.max_connections,
            max_connections_per_uid: self.max_connections_per_uid,
            allowed_uids: self.allowed_uids,
            socket_mode: self.socket_mode,
            socket_group: self.socket_group,
            allowed_sids: sids("allowed_sids", &self.allowed_sids)?,
            handshake_timeout: seconds("handshake_timeout", self.handshake_timeout)?,
            frame_timeout: seconds("frame_timeout", self.frame_timeout)?,
            write_timeout: seconds("write_timeout", self.write_timeout)?,
            stall_timeout: seconds("stall_timeout", self.stall_timeout)?,
            ping_interval: seconds("ping_interval", self.ping_interval)?,
            ping_timeout: seconds("ping_timeout", self.ping_timeout)?,
            queue_messages: self.queue_messages,
            queue_bytes: self.queue_bytes,
            total_queue_bytes: self.total_queue_bytes,
            overflow: overflow("overflow", &self.overflow)?,
            max_patterns_per_client: self.max_patterns_per_client,
            max_filter_terms: self.max_filter_terms,
            max_topic_depth: self.max_topic_depth,
            dialect: dialect("dialect", &self.dialect)?,
            original_peers: self.original_peers,
            max_original_peers: self.max_original_peers,
            original_patterns: self.original_patterns,
            original_dialect: dialect("original_dialect", &self.original_dialect)?,
            original_auth: self.original_auth,
            tokens: self.token.into_iter().flatten().map(TokenField::into_core).collect(),
            rules: self
                .rules
                .into_iter()
                .map(RuleFields::into_core)
                .collect::<Result<_>>()?,
            rate_limits: self.rate_limit.map(RateLimitField::into_core).unwrap_or_default(),
        })
    }
}

fn sids(field: &'static str, given: &[String]) -> Result<Vec<Sid>> {
    given.iter().map(|sid| Sid::parse(field, sid)).collect()
}

fn dialect(field: &'static str, name: &str) -> Result<Dialect> {
    Dialect::for_connection(name).map_err(|known| Error::invalid(field, format!("{name:?} is not one of {known}")))
}

pub(crate) fn congestion(name: &str) -> Result<Congestion> {
    match name {
        "drop" => Ok(Congestion::Drop),
        "block" => Ok(Congestion::Block),
        _ => Err(Error::invalid(
            "congestion",
            format!("{name:?} is neither \"drop\" nor \"block\""),
        )),
    }
}

pub(crate) fn overflow(field: &'static str, name: &str) -> Result<Overflow> {
    match name {
        "drop_oldest" => Ok(Overflow::DropOldest),
        "drop_newest" => Ok(Overflow::DropNewest),
        "disconnect" => Ok(Overflow::Disconnect),
        _ => Err(Error::invalid(
            field,
            format!("{name:?} is not one of \"drop_oldest\", \"drop_newest\", \"disconnect\""),
        )),
    }
}

pub(crate) fn seconds(field: &'static str, value: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(value).map_err(|_| Error::invalid(field, format!("{value} is not a number of seconds")))
}

/// `daemoneye_eventbus._queue_options.QueueOptions`: the options of a subscription's queue, as given to `subscribe`.
#[derive(FromPyObject)]
pub(crate) struct QueueOptionsFields {
    queue_messages: usize,
    queue_bytes: usize,
    overflow: String,
}

impl QueueOptionsFields {
    /// The limits, the policy, and whether a full queue stops reading instead.
    pub(crate) fn into_core(self) -> Result<(Limits, Overflow, bool)> {
        for (field, value) in [
            ("queue_messages", self.queue_messages),
            ("queue_bytes", self.queue_bytes),
        ] {
            if value == 0 {
                return Err(Error::invalid(field, "must be at least 1"));
            }
        }
        let limits = Limits {
            messages: self.queue_messages,
            bytes: self.queue_bytes,
        };
        match self.overflow.as_str() {
            "block" => Ok((limits, Overflow::DropOldest, true)),
            "drop_oldest" => Ok((limits, Overflow::DropOldest, false)),
            "drop_newest" => Ok((limits, Overflow::DropNewest, false)),
            other => Err(Error::invalid(
                "overflow",
                format!("{other:?} is not one of \"drop_oldest\", \"drop_newest\", \"block\""),
            )),
        }
    }
}
