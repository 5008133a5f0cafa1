//! Local sockets: bytes in, bytes out, and who is there. The only room that may hold `unsafe`: in `unix/descriptor.rs`, for closing
//! what a fork inherits, for registering with the reactor, and for copying a descriptor that somebody else opened; in
//! `unix/stream.rs`, for asking what a peer has not read yet.
//!
//! [`Stream`] is a connected, non-blocking, close-on-exec descriptor without a reactor: `try_read` and `try_write` work from any
//! thread and never block, never raise SIGPIPE, and never rely on the descriptor's O_NONBLOCK flag (a foreign event loop may
//! share it). Waiting is separate ([`Readable`], [`Stream::writable`]), so that nobody is woken by readiness it did not ask for.

mod address;
mod identity;
#[cfg(unix)]
mod unix;

pub use address::Address;
pub use identity::Peer;
#[cfg(unix)]
pub use unix::{Listener, Readable, Stream, close_in_forked_child, duplicate, given_path, is_trusted};

/// How a listener is made.
#[derive(Debug, Clone)]
pub struct ListenOptions {
    /// 0o600, or 0o660 with `group`.
    pub mode: u32,
    pub group: Option<u32>,
    /// How long a socket found at the path is probed before it counts as live.
    pub probe_timeout: std::time::Duration,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            mode: 0o600,
            group: None,
            probe_timeout: std::time::Duration::from_secs(1),
        }
    }
}

/// Whether the socket file is still ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathState {
    Ours,
    /// Removed or replaced; connected peers go on, new ones cannot come.
    Lost,
}

/// Why dialling failed, and whether trying again may help.
#[derive(Debug, Clone, PartialEq)]
pub struct DialError {
    pub error: crate::Error,
    pub retry: bool,
}
