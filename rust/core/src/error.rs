//! The errors of the bus: one kind per thing that a caller can do about it.
//!
//! A kind carries its facts as fields and renders them in its message, which ends in what to do. The bindings have one
//! Python exception for each kind, which some share; the wire one [`Code`](crate::wire::text::Code) for each that crosses it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::printable::{path_text, printable};

/// The result of whatever the bus may refuse.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a call of the bus fails with.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The caller closed this bus itself.
    #[error("the connection is closed: {0}")]
    ConnectionClosed(String),
    /// The call does not fit where a broker or bus of this process stands: not started, started already, or shut down.
    #[error("{0}")]
    Lifecycle(&'static str),
    /// It broke and will not be dialled again.
    #[error("the connection to the broker was lost: {0}")]
    ConnectionLost(String),
    #[error("the subscription {0:?} is closed")]
    SubscriptionClosed(String),
    #[error("{}", connect_timeout_text(.path, *.timeout, .cause, *.busy))]
    ConnectTimeout {
        path: PathBuf,
        timeout: Duration,
        cause: String,
        /// A broker is there, and has no room.
        busy: bool,
    },
    /// What the broker says; that ends in what to do.
    #[error("the broker is busy: {0}")]
    BrokerBusy(String),
    #[error("{}", already_running_text(.path, *.pid, *.silent))]
    BrokerAlreadyRunning {
        path: PathBuf,
        pid: Option<u32>,
        /// It takes connections, or has too many waiting, and does not say that it is one.
        silent: bool,
    },
    #[error("refused to use {}: {}", printable_path(.path), printable(.reason))]
    PathRefused { path: PathBuf, reason: String },
    /// `reason` names the uid where it is about one, and `topic` what was to be published on, if it is about that.
    #[error("not permitted: {}", printable(.reason))]
    PermissionRefused {
        uid: u32,
        reason: String,
        topic: Option<String>,
    },
    /// Why, and what to do, as this side knows it; a broker tells nobody more than that it failed.
    #[error("authentication failed: {0}")]
    AuthenticationFailed(&'static str),
    #[error("protocol error: {0}")]
    Protocol(String),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("frame of {size} bytes is above the limit of {limit}; send less at once or raise max_frame on both sides")]
    FrameTooLarge { size: usize, limit: usize },
    #[error("control text of {size} bytes is above the limit of {limit}, which no setting raises; say less at once")]
    TextTooLarge { size: usize, limit: usize },
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// `limit` is 0 where the refusal is not about a number.
    #[error("subscription refused: {reason}")]
    SubscriptionRefused { reason: String, limit: u64 },
    #[error("nothing could be sent for {0:?}; the broker does not take what is published")]
    PublishTimeout(Duration),
    #[error("publishing is not supported: {0}")]
    PublishNotSupported(String),
    #[error("{0}: there is no room now; await publish(), which waits for some, or try again later")]
    WouldBlock(&'static str),
    #[error("this object belongs to process {owner}, and this is process {current}; create a new one after fork")]
    ForkedProcess { owner: u32, current: u32 },
    #[error("{0}")]
    WrongLoop(String),
    #[error("there is no memory for {0} more bytes; publish less at once, or make room")]
    NoMemory(usize),
    /// A setting or argument out of range: names the field, the limit and what to do.
    #[error("{field}: {reason}")]
    Invalid { field: &'static str, reason: String },
    /// What the operating system said, with what was being done.
    #[error("{}: {cause}", printable(.action))]
    Io {
        action: String,
        cause: String,
        errno: Option<i32>,
    },
}

/// Bytes that are not what they should be. `offset` counts from the start of the decoded bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot decode {dialect} at offset {offset}: {reason}")]
pub struct DecodeError {
    pub dialect: &'static str,
    /// Where the item that is wrong or cut short begins, its length included; of text that is not UTF-8 the first wrong byte.
    pub offset: usize,
    pub reason: String,
}

/// Why a topic was refused; the wording is the original's where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Topic error: {kind}: {}", .topic.escape_debug())]
pub struct TopicError {
    /// At most 256 bytes of the refused topic.
    pub topic: String,
    pub kind: String,
}

/// Why a pattern was refused; the wording is the original's where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Topic error: {kind}: {}", .pattern.escape_debug())]
pub struct PatternError {
    /// At most 256 bytes of the refused pattern.
    pub pattern: String,
    pub kind: String,
}

impl Error {
    /// Wraps what the operating system said, with what was being done.
    pub fn io(action: impl Into<String>, cause: &std::io::Error) -> Self {
        Self::Io {
            action: action.into(),
            cause: cause.to_string(),
            errno: cause.raw_os_error(),
        }
    }

    /// Refuses a setting or argument; `reason` says what the limit is and what to do.
    pub fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            reason: reason.into(),
        }
    }
}

/// A path may hold terminal escapes, or nothing visible.
fn printable_path(path: &Path) -> String {
    if path.as_os_str().is_empty() {
        return "\"\"".to_owned();
    }
    printable(&path_text(path))
}

fn connect_timeout_text(path: &Path, timeout: Duration, cause: &str, busy: bool) -> String {
    let path = printable_path(path);
    if busy {
        format!("no connection to the broker at {path} within {timeout:?}; last cause: {cause}")
    } else {
        format!(
            "no broker answered at {path} within {timeout:?}; start one there, or check the path; last cause: {cause}"
        )
    }
}

fn already_running_text(path: &Path, pid: Option<u32>, silent: bool) -> String {
    let who = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    let path = printable_path(path);
    if silent {
        format!(
            "something listens at {path}{who} and does not answer: a broker that is stopped or hangs, or another program; \
             find out what that process is and end it, or choose another path"
        )
    } else {
        format!("a broker is already running at {path}{who}; stop it, or choose another path")
    }
}
