//! What STATS can be asked for besides the five numbers: the broker's other totals, and its clients page by page.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// `STATS`: an id alone asks for the five numbers; the rest is told to the broker's own user and root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    pub id: u64,
    /// Also [`Detail`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub detail: bool,
    /// Also the clients, in the order of their ids, as many as one answer holds.
    #[serde(default, skip_serializing_if = "is_false")]
    pub clients: bool,
    /// Only clients with a greater id: the last of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Uuid>,
}

/// The broker's totals besides the five.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// (message, subscription) pairs that matched and were lost, by reason; only what happened.
    #[serde(default)]
    pub dropped: BTreeMap<String, u64>,
    /// Publishes, frames and connections that were not accepted, by reason; only what happened.
    #[serde(default)]
    pub refused: BTreeMap<String, u64>,
    /// How often users who may not connect have tried, by uid; the first 64 of them.
    #[serde(default)]
    pub refused_uids: BTreeMap<String, u64>,
    #[serde(default)]
    pub connections: u64,
    #[serde(default)]
    pub queued_messages: u64,
    #[serde(default)]
    pub queued_bytes: u64,
    /// Set aside for frames that have not come whole, and for what is read and waits for full queues.
    #[serde(default)]
    pub unfinished_bytes: u64,
}

/// One connection, or one bus in the broker's own process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    pub id: Uuid,
    /// What it calls itself.
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub uid: Option<u32>,
    #[serde(default)]
    pub pid: Option<u32>,
    pub dialect: String,
    /// `native`, `original` or `local`.
    pub peer: String,
    #[serde(default)]
    pub subscriptions: u64,
    #[serde(default)]
    pub queued_messages: u64,
    #[serde(default)]
    pub queued_bytes: u64,
    #[serde(default)]
    pub delivered: u64,
    #[serde(default)]
    pub dropped: BTreeMap<String, u64>,
    /// Accepted publishes.
    #[serde(default)]
    pub published: u64,
}

/// Some of the clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    pub clients: Vec<Client>,
    /// There are clients with greater ids.
    pub more: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
pub(super) const fn is_false(value: &bool) -> bool {
    !*value
}
