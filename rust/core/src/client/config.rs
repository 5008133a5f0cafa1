//! What a client may set.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::transport::Sid;
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
    /// Windows: SIDs the broker may run as; `None` = our own, SYSTEM, and Administrators as the owner of what its members make.
    pub server_sids: Option<Vec<Sid>>,
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
            server_sids: None,
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
        self.validate_platform(cfg!(windows))?;
        Ok(())
    }

    /// What would have no effect where this runs is refused, since it is about whom to trust.
    fn validate_platform(&self, windows: bool) -> Result<()> {
        match (&self.server_uids, &self.server_sids) {
            (Some(_), _) if windows => Err(Error::invalid(
                "server_uids",
                "has no effect on Windows, where pipes belong to SIDs; use server_sids",
            )),
            (_, Some(_)) if !windows => Err(Error::invalid("server_sids", "only Windows has SIDs; use server_uids")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_is_stated_in_the_words_of_the_system() {
        let uids = ClientConfig {
            server_uids: Some(vec![0]),
            ..ClientConfig::default()
        };
        let sids = ClientConfig {
            server_sids: Some(vec![Sid::parse("server_sids", Sid::SYSTEM).unwrap()]),
            ..ClientConfig::default()
        };
        assert_eq!(uids.validate_platform(false), Ok(()));
        assert_eq!(sids.validate_platform(true), Ok(()));
        for (config, windows, field) in [(uids, true, "server_uids: "), (sids, false, "server_sids: ")] {
            let error = config.validate_platform(windows).unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }
}
