//! What a broker sends.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::detail::{Client, Detail, is_false};
use super::{Code, Parts, check_size, frame};
use crate::error::{Error, Result};
use crate::event::EventBusStatistics;

/// `INFO`: the answer to CONNECT, with what holds on this connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Info {
    /// The highest protocol that both sides speak.
    pub protocol: u32,
    /// The broker's release, for people.
    pub version: String,
    pub client_id: uuid::Uuid,
    /// The name of a [`Dialect`](crate::wire::Dialect), for both directions.
    pub dialect: String,
    /// The largest body that the broker takes, in bytes.
    pub max_frame: u64,
    /// The broker's queue for this connection, as granted, in messages.
    pub queue_messages: u64,
    /// The same, in bytes of encoded frames.
    pub queue_bytes: u64,
    pub max_patterns_per_client: u64,
    pub max_filter_terms: u64,
    /// In segments.
    pub max_topic_depth: u64,
    /// Seconds of silence after which the broker pings.
    pub ping_interval: f64,
    /// 64 hex digits, fresh for every connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// `none` or `token`.
    pub auth: String,
    /// The broker knows `TAKEN`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub taken: bool,
}

/// `OK`: to a SUB or UNSUB the id, to STATS also the numbers, to AUTH the broker's proof.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OkText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<EventBusStatistics>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Box<Detail>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<Vec<Client>>,
    /// There are more clients, with greater ids.
    #[serde(default, skip_serializing_if = "is_false")]
    pub more: bool,
}

/// `ERR`: about the request `id`, about a refused publish (`topic`, `sequence`), or about the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    pub code: Code,
    /// What happened and what to do, for people.
    #[serde(default)]
    pub message: String,
    /// Of a refused publish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The message's own sequence number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Merged refusals of the same code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The highest protocol the broker speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest: Option<u32>,
    /// The limit that was hit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

impl ErrText {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            id: None,
            code,
            message: message.into(),
            topic: None,
            sequence: None,
            count: None,
            highest: None,
            limit: None,
        }
    }
}

/// `DROPPED`: so many matches were not sent, at the very place of the gap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Subscription id to number of messages.
    pub subscriptions: BTreeMap<u64, u64>,
    pub reason: String,
}

/// `BYE`: what was queued has been sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bye {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a broker sends.
#[derive(Debug, Clone, PartialEq)]
pub enum FromBroker {
    Info(Box<Info>),
    Ok(OkText),
    Err(ErrText),
    Dropped(Dropped),
    Ping,
    Pong,
    Bye(Bye),
    /// A verb that this build does not know, cut to 64 bytes.
    Unknown(String),
}

impl FromBroker {
    /// Parses the body of a text frame.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let parts = Parts::of(body)?;
        match parts.verb {
            "INFO" => parts.object().map(|info| Self::Info(Box::new(info))),
            "OK" => parts.object_or_default().map(Self::Ok),
            "ERR" => parts.object().map(Self::Err),
            "DROPPED" => parts.object().map(Self::Dropped),
            "PING" => parts.without_object(Self::Ping),
            "PONG" => parts.without_object(Self::Pong),
            "BYE" => parts.object_or_default().map(Self::Bye),
            _ => Ok(Self::Unknown(parts.unknown())),
        }
    }

    /// The whole frame.
    pub fn frame(&self) -> Vec<u8> {
        const NONE: Option<&()> = None;
        match self {
            Self::Info(info) => frame("INFO", Some(info)),
            Self::Ok(ok) => frame("OK", Some(ok)),
            Self::Err(err) => frame("ERR", Some(err)),
            Self::Dropped(dropped) => frame("DROPPED", Some(dropped)),
            Self::Ping => frame("PING", NONE),
            Self::Pong => frame("PONG", NONE),
            Self::Bye(bye) => frame("BYE", bye.reason.is_some().then_some(bye)),
            Self::Unknown(verb) => frame(verb, NONE),
        }
    }

    /// The whole frame, unless it is above what the other side takes ([`MAX_TEXT`](crate::wire::frame::MAX_TEXT)).
    pub fn try_frame(&self) -> Result<Vec<u8>, Error> {
        check_size(self.frame())
    }
}
