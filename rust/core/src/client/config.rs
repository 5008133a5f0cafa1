//! What a client may set.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::wire::auth::Token;
use crate::wire::text::{Congestion, Overflow};
use crate::wire::{Dialect, frame};

/// What is expected at the other end. Never guessed: a slow native broker must not be mistaken, nor a token sent in the original's weaker
/// form to whoever keeps silent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Peer {
    #[default]
    Native,
    Original,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ClientConfig {
    /// A name for operators; empty = none.
    pub client: String,
    pub dialect: Dialect,
    pub peer: Peer,
    pub congestion: Congestion,
    /// Policy of the broker's queue for this connection.
    pub broker_overflow: Overflow,
    /// Limits of the broker's queue for this connection; `None` = the broker's own.
    pub broker_queue_messages: Option<u64>,
    pub broker_queue_bytes: Option<u64>,
    pub send_buffer_bytes: usize,
    pub max_frame: usize,
    pub connect_timeout: Duration,
    pub publish_timeout: Duration,
    pub reconnect: bool,
    pub reconnect_initial: Duration,
    pub reconnect_max: Duration,
    /// Uids the broker may run as; `None` = our own and root.
    pub server_uids: Option<Vec<u32>>,
    pub token: Option<Token>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            client: String::new(),
            dialect: Dialect::Bincode,
            peer: Peer::Native,
            congestion: Congestion::Drop,
            broker_overflow: Overflow::DropOldest,
            broker_queue_messages: None,
            broker_queue_bytes: None,
            send_buffer_bytes: 4 * 1024 * 1024,
            max_frame: frame::DEFAULT_MAX_FRAME,
            connect_timeout: Duration::from_secs(5),
            publish_timeout: Duration::from_secs(10),
            reconnect: true,
            reconnect_initial: Duration::from_millis(50),
            reconnect_max: Duration::from_secs(5),
            server_uids: None,
            token: None,
        }
    }
}

impl ClientConfig {
    pub fn validate(&self) -> Result<()> {
        let positive = [
            ("send_buffer_bytes", self.send_buffer_bytes),
            (
                "broker_queue_messages",
                self.broker_queue_messages
                    .map_or(1, |n| usize::try_from(n).unwrap_or(1)),
            ),
            (
                "broker_queue_bytes",
                self.broker_queue_bytes.map_or(1, |n| usize::try_from(n).unwrap_or(1)),
            ),
        ];
        for (field, value) in positive {
            if value == 0 {
                return Err(Error::invalid(field, "must be at least 1"));
            }
        }
        if !(1024..=64 * 1024 * 1024).contains(&self.max_frame) {
            return Err(Error::invalid(
                "max_frame",
                format!("{} bytes is outside 1 KiB..64 MiB", self.max_frame),
            ));
        }
        self.dialect.must_be_on_connections("dialect")?;
        if self.client.len() > 256 {
            return Err(Error::invalid(
                "client",
                format!("{} bytes, at most 256", self.client.len()),
            ));
        }
        if self.reconnect_initial.is_zero() || self.reconnect_max < self.reconnect_initial {
            return Err(Error::invalid(
                "reconnect_initial",
                "must be above 0 and at most reconnect_max",
            ));
        }
        Ok(())
    }
}
