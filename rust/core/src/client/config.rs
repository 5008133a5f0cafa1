//! What a client may set.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::limits::{MAX_FRAME_RANGE, check_positive_time, check_range, check_time};
use crate::transport::Sid;
use crate::wire::auth::Token;
use crate::wire::text::{Congestion, MAX_CLIENT_NAME, Overflow};
use crate::wire::{Dialect, frame};

/// What is expected at the other end. Never guessed: a slow native broker must not be mistaken, nor a token sent in the original's weaker
/// form to whoever keeps silent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Peer {
    #[default]
    Native,
    Original,
}

/// The default of each field is in [`ClientConfig::default`]. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientConfig {
    /// A name for operators, of at most [`MAX_CLIENT_NAME`] bytes; empty = none.
    pub client: String,
    /// In which messages are written and read; the broker translates where others have another.
    pub dialect: Dialect,
    pub peer: Peer,
    /// What the broker does about a full queue that this client publishes to.
    pub congestion: Congestion,
    /// Policy of the broker's queue for this connection.
    pub broker_overflow: Overflow,
    /// Limits of the broker's queue for this connection; `None` = the broker's own.
    pub broker_queue_messages: Option<u64>,
    pub broker_queue_bytes: Option<u64>,
    /// Messages that were accepted and are not with the kernel; one is always taken, however large.
    pub send_buffer_bytes: usize,
    /// Of the largest frame body that is written or read; the broker's own limit holds if that is less.
    pub max_frame: usize,
    /// To the first connection, over however many attempts; then the link ends with [`Error::ConnectTimeout`].
    pub connect_timeout: Duration,
    /// How long a host lets a publish wait for room. Kept for the host: nothing here waits.
    pub publish_timeout: Duration,
    /// Whether a connection that broke is dialled again.
    pub reconnect: bool,
    /// Before the first attempt to dial again at most; twice as long each time, up to `reconnect_max`.
    pub reconnect_initial: Duration,
    pub reconnect_max: Duration,
    /// Uids the broker may run as; `None` = our own and root.
    pub server_uids: Option<Vec<u32>>,
    /// Windows: SIDs the broker may run as; `None` = our own, SYSTEM, and Administrators as the owner of what its members make.
    pub server_sids: Option<Vec<Sid>>,
    /// What both ends prove to each other that they hold.
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
        for (field, value) in [
            ("send_buffer_bytes", Some(self.send_buffer_bytes as u64)),
            ("broker_queue_messages", self.broker_queue_messages),
            ("broker_queue_bytes", self.broker_queue_bytes),
        ] {
            if value == Some(0) {
                return Err(Error::invalid(field, "must be at least 1"));
            }
        }
        check_range("max_frame", self.max_frame, MAX_FRAME_RANGE)?;
        self.dialect.must_be_on_connections("dialect")?;
        check_range("client", self.client.len(), 0..=MAX_CLIENT_NAME)?;
        check_time("connect_timeout", self.connect_timeout)?;
        check_time("publish_timeout", self.publish_timeout)?;
        check_positive_time("reconnect_initial", self.reconnect_initial)?;
        check_positive_time("reconnect_max", self.reconnect_max)?;
        if self.reconnect_max < self.reconnect_initial {
            return Err(Error::invalid("reconnect_initial", "must be at most reconnect_max"));
        }
        self.validate_platform(cfg!(windows))
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
    fn no_setting_is_beyond_what_clocks_and_brokers_take() {
        let refused = |set: &dyn Fn(&mut ClientConfig)| {
            let mut config = ClientConfig::default();
            set(&mut config);
            config.validate().unwrap_err().to_string()
        };
        let forever = Duration::MAX;
        for (error, field) in [
            (refused(&|config| config.client = "x".repeat(257)), "client: "),
            (refused(&|config| config.max_frame = 1023), "max_frame: "),
            (refused(&|config| config.send_buffer_bytes = 0), "send_buffer_bytes: "),
            (
                refused(&|config| config.broker_queue_bytes = Some(0)),
                "broker_queue_bytes: ",
            ),
            (refused(&|config| config.connect_timeout = forever), "connect_timeout: "),
            (refused(&|config| config.publish_timeout = forever), "publish_timeout: "),
            (
                refused(&|config| config.reconnect_initial = Duration::ZERO),
                "reconnect_initial: ",
            ),
            (refused(&|config| config.reconnect_max = forever), "reconnect_max: "),
            (
                refused(&|config| config.reconnect_max = Duration::from_millis(1)),
                "reconnect_initial: ",
            ),
        ] {
            assert!(error.starts_with(field), "{error}");
        }
        assert_eq!(ClientConfig::default().validate(), Ok(()));
    }

    #[test]
    fn trust_is_stated_in_uids_or_sids_as_the_system_has_them() {
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
