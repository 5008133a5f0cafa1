//! What a client sends.
use serde::{Deserialize, Serialize};

use super::{Bye, PROTOCOL, Parts, Stats, check_size, frame, render};
use crate::error::{Error, Result};
use crate::event::map::{MAX_ENTRIES, optional_list};
use crate::event::{CorrelationFilter, EventFilter, EventSubscription, SourceCaps, Text};

/// What happens to a publisher whose messages find a full queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Congestion {
    /// Nobody waits: the queue's own policy applies.
    #[default]
    Drop,
    /// The publisher waits until there is room.
    Block,
}

/// What happens to a connection's queue that is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    #[default]
    DropOldest,
    DropNewest,
    /// The connection is closed.
    Disconnect,
}

/// The longest name that a client may give itself, in bytes.
pub const MAX_CLIENT_NAME: usize = 256;

/// `CONNECT`: the first frame of a native client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connect {
    /// The highest protocol that the client speaks.
    pub protocol: u32,
    /// The lowest; absent: the same as `protocol`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_protocol: Option<u32>,
    /// A name for operators, of at most [`MAX_CLIENT_NAME`] bytes; decides nothing.
    #[serde(default)]
    pub client: String,
    /// The name of a [`Dialect`](crate::wire::Dialect), for both directions; default `bincode`.
    #[serde(default = "default_dialect")]
    pub dialect: String,
    /// Of this client's own publishes; default `drop`.
    #[serde(default)]
    pub congestion: Congestion,
    /// Of the broker's queue for this connection; default `drop_oldest`.
    #[serde(default)]
    pub overflow: Overflow,
    /// Of the broker's queue for this connection, in messages; absent: the broker's own limit, which also caps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_messages: Option<u64>,
    /// The same, in bytes of encoded frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_bytes: Option<u64>,
    /// The largest body that the client takes, in bytes; absent: the broker's. The smaller of both sides holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_frame: Option<u64>,
    /// 64 hex digits, fresh for every connection; needed where the broker asks for a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

fn default_dialect() -> String {
    crate::wire::Dialect::Bincode.name().to_owned()
}

impl Default for Connect {
    fn default() -> Self {
        Self {
            protocol: PROTOCOL,
            min_protocol: None,
            client: String::new(),
            dialect: default_dialect(),
            congestion: Congestion::default(),
            overflow: Overflow::default(),
            queue_messages: None,
            queue_bytes: None,
            max_frame: None,
            nonce: None,
        }
    }
}

/// `AUTH`: only if INFO said `token`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Auth {
    /// [`Token::proof`](crate::wire::auth::Token::proof) in the role of the client.
    pub proof: String,
}

/// `SUB`: an [`EventSubscription`] under a number. Everything but `id` may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sub {
    /// Chosen by the client; one counter per connection for SUB and STATS.
    pub id: u64,
    #[serde(default)]
    pub subscriber_id: Text,
    #[serde(default)]
    pub capabilities: SourceCaps,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_filter: Option<EventFilter>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_filter: Option<CorrelationFilter>,
    /// Absent: derived from `capabilities.event_types`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "optional_list")]
    pub topic_patterns: Option<Vec<Text>>,
    /// Default true; false: a wildcard in `topic_patterns` is refused.
    #[serde(default = "default_true")]
    pub enable_wildcards: bool,
    /// Default false.
    #[serde(default)]
    pub include_control: bool,
}

fn default_true() -> bool {
    true
}

impl Default for Sub {
    fn default() -> Self {
        Self::new(0, EventSubscription::default())
    }
}

impl Sub {
    pub fn new(id: u64, subscription: EventSubscription) -> Self {
        Self {
            id,
            subscriber_id: subscription.subscriber_id,
            capabilities: subscription.capabilities,
            event_filter: subscription.event_filter,
            correlation_filter: subscription.correlation_filter,
            topic_patterns: subscription.topic_patterns,
            enable_wildcards: subscription.enable_wildcards,
            include_control: subscription.include_control,
        }
    }

    /// The whole frame for `asked`, or the refusal of what no broker takes: above [`MAX_TEXT`](crate::wire::frame::MAX_TEXT) bytes, or
    /// above [`MAX_ENTRIES`] in a map. In the broker's process nothing is sent, and the same is refused.
    pub fn frame_of(id: u64, asked: &EventSubscription) -> Result<Vec<u8>> {
        let sub = FromClient::Sub(Box::new(Self::new(id, asked.clone())));
        sub.try_frame().map_err(|error| {
            let (reason, limit) = match error {
                Error::TextTooLarge { size, limit } => (
                    format!(
                        "its name, patterns and filters take {size} bytes, and {limit} are the limit; ask for less at once"
                    ),
                    limit,
                ),
                Error::Protocol(reason) => (reason, MAX_ENTRIES),
                other => return other,
            };
            Error::SubscriptionRefused {
                reason,
                limit: u64::try_from(limit).unwrap_or(u64::MAX),
            }
        })
    }

    /// The subscription without its number.
    pub fn into_subscription(self) -> EventSubscription {
        EventSubscription {
            subscriber_id: self.subscriber_id,
            capabilities: self.capabilities,
            event_filter: self.event_filter,
            correlation_filter: self.correlation_filter,
            topic_patterns: self.topic_patterns,
            enable_wildcards: self.enable_wildcards,
            include_control: self.include_control,
        }
    }
}

/// `UNSUB`: a number alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Id {
    pub id: u64,
}

/// What a client sends.
#[derive(Debug, Clone, PartialEq)]
pub enum FromClient {
    Connect(Connect),
    Auth(Auth),
    Sub(Box<Sub>),
    Unsub(Id),
    Ping,
    /// The original's `PING:HEX`, its proof of a token: what stands behind the colon.
    PingProof(String),
    Pong,
    /// Its program takes messages out of a full queue on its side, behind which the connection is not read.
    Taken,
    Stats(Stats),
    Bye,
    /// A verb that this build does not know, cut to 64 bytes.
    Unknown(String),
}

impl FromClient {
    /// Parses the body of a text frame.
    pub fn parse(body: &[u8]) -> Result<Self> {
        let parts = Parts::of(body)?;
        match parts.verb {
            "CONNECT" => parts.object().map(Self::Connect),
            "AUTH" => parts.object().map(Self::Auth),
            "SUB" => parts.object().map(|sub| Self::Sub(Box::new(sub))),
            "UNSUB" => parts.object().map(Self::Unsub),
            "STATS" => parts.object().map(Self::Stats),
            "PING" => parts.without_object(Self::Ping),
            "PONG" => parts.without_object(Self::Pong),
            "TAKEN" => parts.without_object(Self::Taken),
            "BYE" => parts.object_or_default::<Bye>().map(|_| Self::Bye),
            verb => Ok(match (verb.strip_prefix("PING:"), parts.object) {
                (Some(proof), None) => Self::PingProof(proof.to_owned()),
                _ => Self::Unknown(parts.unknown()),
            }),
        }
    }

    /// The id of a SUB whose other fields are not what they should be: it can be answered all the same.
    pub fn sub_id(body: &[u8]) -> Option<u64> {
        let parts = Parts::of(body).ok()?;
        let id: Id = (parts.verb == "SUB").then(|| parts.object().ok()).flatten()?;
        Some(id.id)
    }

    /// The whole frame. A SUB can hold more than the broker takes; see [`try_frame`](Self::try_frame).
    pub fn frame(&self) -> Vec<u8> {
        const NONE: Option<&()> = None;
        match self {
            Self::Connect(connect) => frame("CONNECT", Some(connect)),
            Self::Auth(auth) => frame("AUTH", Some(auth)),
            Self::Sub(sub) => frame("SUB", Some(sub)),
            Self::Unsub(id) => frame("UNSUB", Some(id)),
            Self::Stats(stats) => frame("STATS", Some(stats)),
            Self::Ping => frame("PING", NONE),
            Self::PingProof(proof) => frame(&format!("PING:{proof}"), NONE),
            Self::Pong => frame("PONG", NONE),
            Self::Taken => frame("TAKEN", NONE),
            Self::Bye => frame("BYE", NONE),
            Self::Unknown(verb) => frame(verb, NONE),
        }
    }

    /// The whole frame, unless it is above what the other side takes: [`MAX_TEXT`](crate::wire::frame::MAX_TEXT) bytes, [`MAX_ENTRIES`] in
    /// a map.
    pub fn try_frame(&self) -> Result<Vec<u8>> {
        match self {
            Self::Sub(sub) => render("SUB", Some(sub)).and_then(check_size),
            _ => check_size(self.frame()),
        }
    }
}
