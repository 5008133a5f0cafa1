//! Local sockets and pipes: bytes in, bytes out, and who is there. The only module that may hold `unsafe`: in `unix/descriptor`, for
//! closing what a fork inherits, for registering with the reactor, and for copying a descriptor that somebody else opened; in
//! `unix/stream.rs`, for asking what a peer has not read yet and who it is; in `unix/passing.rs`, for an option that no library knows;
//! and in `windows`, for the system's calls about access lists and identities, which has no safe ones.
//!
//! [`Stream`] is a connection whose `try_read` and `try_write` work from any thread and never block. On Unix it is a close-on-exec
//! descriptor without a reactor, never raises SIGPIPE, and never relies on the descriptor's O_NONBLOCK flag (a foreign event loop may
//! share it). Waiting is separate ([`Readable`], [`Stream::writable`]), so that nobody is woken by readiness it did not ask for.

mod address;
mod identity;
mod sid;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::path::Path;

pub use address::Address;
pub use identity::{Peer, User};
pub use sid::Sid;
#[cfg(unix)]
pub use unix::{
    Listener, PathWatch, Prepared, Readable, Stream, close_in_forked_child, dial_error, duplicate, given_path,
    is_trusted, peer_of,
};
#[cfg(windows)]
pub use windows::{Listener, PathWatch, Prepared, Readable, Stream, close_in_forked_child, own_sid};

/// How a listener is made.
#[derive(Debug, Clone)]
pub struct ListenOptions {
    /// 0o600, or 0o660 with `group`. Unix only.
    pub mode: u32,
    /// Unix only.
    pub group: Option<u32>,
    /// Who may connect besides our own user and SYSTEM. Windows only.
    pub allowed_sids: Vec<Sid>,
    /// How long a socket found at the path is probed before it counts as live. Unix only.
    pub probe_timeout: std::time::Duration,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            mode: 0o600,
            group: None,
            allowed_sids: Vec::new(),
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

/// Whether a write failed because nobody is left who takes anything. What the peer has sent before may still be there to read.
pub(crate) fn is_gone(failed: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    matches!(failed.kind(), BrokenPipe | ConnectionReset | NotConnected)
}

/// Another program has the path; `why` says how that shows, and what to do.
pub(crate) fn no_broker(path: &Path, pid: Option<u32>, why: &str) -> crate::Error {
    let who = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    crate::Error::PathRefused {
        path: path.to_path_buf(),
        reason: format!("who listens there{who} is no broker: {why}"),
    }
}

/// Why dialling failed, and whether trying again may help.
#[derive(Debug, Clone, PartialEq)]
pub struct DialError {
    pub error: crate::Error,
    pub retry: Retry,
}

impl Retry {
    /// That it failed because of `error`.
    pub const fn because(self, error: crate::Error) -> DialError {
        DialError { error, retry: self }
    }
}

impl DialError {
    /// Whether the system says that this user may not.
    pub(crate) fn is_denied(&self) -> bool {
        self.retry == Retry::OnceConnected && matches!(self.error, crate::Error::PermissionRefused { .. })
    }
}

/// Whether another try at dialling may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It may pass: nobody is there yet, or is busy.
    Yes,
    /// This machine gave no connection: a mode, what stands at the path, descriptors used up. Where there never was one that is somebody's
    /// mistake; where there was, it may pass like anything else.
    OnceConnected,
    /// Whoever is there refused us, or is not whom we trust.
    No,
}
