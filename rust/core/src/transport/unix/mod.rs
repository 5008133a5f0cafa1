//! Unix domain sockets.
//!
//! Read in this order: [`descriptor`] (what a fork may not keep), [`stream`], then what a broker needs to listen: [`directory`]
//! (whom the way there belongs to), [`lock`] (one broker per path), [`socket_file`], [`passing`] (what peers may not
//! send along), [`listener`] (the order of it all).
mod descriptor;
mod directory;
mod listener;
mod lock;
mod passing;
mod socket_file;
mod stream;

use std::io;
use std::os::fd::RawFd;
use std::path::Path;

use rustix::io::Errno;

pub use descriptor::{close_in_forked_child, duplicate};
pub use directory::is_trusted;
pub use listener::{Listener, Prepared, given_path};
pub use socket_file::PathWatch;
#[cfg(target_os = "linux")]
pub(super) use stream::peer_credentials;
pub use stream::{Readable, Stream, dial_error};

use super::Peer;
use crate::error::Error;
use crate::printable::path_text;

/// Who is at the other end of a connected socket that is known by its number alone.
pub fn peer_of(number: RawFd) -> io::Result<Peer> {
    Peer::of(duplicate(number)?).map(|(_, peer)| peer)
}

fn refused(path: &Path, reason: impl Into<String>) -> Error {
    Error::PathRefused {
        path: path.to_path_buf(),
        reason: reason.into(),
    }
}

fn system(action: &str, path: &Path, errno: Errno) -> Error {
    Error::io(format!("{action} {}", path_text(path)), &errno.into())
}
