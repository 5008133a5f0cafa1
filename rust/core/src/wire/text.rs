//! Control texts: `VERB` or `VERB {json}`. One struct per verb and direction; unknown JSON fields are ignored.
//!
//! Each struct renders itself as a whole frame and is parsed from a body; nothing here does I/O.
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::event::{CorrelationFilter, EventBusStatistics, EventFilter, SourceCaps, Text};

pub const PROTOCOL: u32 = 1;

/// The reason codes of `ERR`, one to one with [`Error`] kinds; lower_snake_case on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    Busy,
    NotPermitted,
    AuthenticationFailed,
    UnsupportedVersion,
    UnsupportedDialect,
    DisconnectedByOperator,
    Protocol,
    Decode,
    FrameTooLarge,
    HandshakeTimeout,
    FrameTimeout,
    PingTimeout,
    SlowConsumer,
    Topic,
    MessageType,
    Rights,
    RateLimit,
    Pattern,
    SubscriptionRefused,
    UnknownSubscription,
    UnknownVerb,
    Shutdown,
    /// A code of a newer peer.
    #[serde(other)]
    Unknown,
}

impl Code {
    /// After these the client does not dial again.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::NotPermitted | Self::AuthenticationFailed | Self::UnsupportedVersion | Self::DisconnectedByOperator
        )
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Congestion {
    #[default]
    Drop,
    Block,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    #[default]
    DropOldest,
    DropNewest,
    Disconnect,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connect {
    pub protocol: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_protocol: Option<u32>,
    #[serde(default)]
    pub client: String,
    #[serde(default = "default_dialect")]
    pub dialect: String,
    #[serde(default)]
    pub congestion: Congestion,
    #[serde(default)]
    pub overflow: Overflow,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_messages: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_frame: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

fn default_dialect() -> String {
    "bincode".to_owned()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Info {
    pub protocol: u32,
    pub version: String,
    pub client_id: uuid::Uuid,
    pub dialect: String,
    pub max_frame: u64,
    pub queue_messages: u64,
    pub queue_bytes: u64,
    pub max_patterns_per_client: u64,
    pub max_filter_terms: u64,
    pub max_topic_depth: u64,
    /// Seconds of silence after which the broker pings.
    pub ping_interval: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// `none` or `token`.
    pub auth: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Auth {
    pub proof: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sub {
    pub id: u64,
    pub subscriber_id: Text,
    pub capabilities: SourceCaps,
    pub event_filter: Option<EventFilter>,
    pub correlation_filter: Option<CorrelationFilter>,
    pub topic_patterns: Option<Vec<Text>>,
    #[serde(default = "yes")]
    pub enable_wildcards: bool,
    pub include_control: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Id {
    pub id: u64,
}

/// `OK`: to a SUB or UNSUB the id, to STATS also the numbers, to AUTH the broker's proof.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ok {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<EventBusStatistics>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Err {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    pub code: Code,
    #[serde(default)]
    pub message: String,
    /// Of a refused publish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Merged refusals of the same code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The highest protocol the broker speaks, or the limit that was hit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    pub subscriptions: std::collections::BTreeMap<u64, u64>,
    pub reason: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bye {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a client sends.
#[derive(Debug, Clone, PartialEq)]
pub enum FromClient {
    Connect(Connect),
    Auth(Auth),
    Sub(Box<Sub>),
    Unsub(Id),
    Ping,
    Pong,
    Stats(Id),
    Bye,
    Unknown(String),
}

/// What a broker sends.
#[derive(Debug, Clone, PartialEq)]
pub enum FromBroker {
    Info(Box<Info>),
    Ok(Ok),
    Err(Err),
    Dropped(Dropped),
    Ping,
    Pong,
    Bye(Bye),
    Unknown(String),
}

impl FromClient {
    /// Parses the body of a text frame.
    pub fn parse(_body: &[u8]) -> Result<Self, Error> {
        todo!()
    }
    /// The whole frame.
    pub fn frame(&self) -> Vec<u8> {
        todo!()
    }
}

impl FromBroker {
    pub fn parse(_body: &[u8]) -> Result<Self, Error> {
        todo!()
    }
    pub fn frame(&self) -> Vec<u8> {
        todo!()
    }
}
impl Err {
    pub fn into_error(self) -> Error {
        todo!()
    }
}
