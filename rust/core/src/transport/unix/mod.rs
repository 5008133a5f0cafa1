//! Unix domain sockets.
//!
//! Read in this order: [`descriptor`] (what a fork may not keep), [`stream`], then what a broker needs to listen: [`directory`]
//! (whom the way there belongs to), [`lock`] (one broker per path), [`place`] (the socket file), [`listener`] (the order of it all).
mod descriptor;
mod directory;
mod listener;
mod lock;
mod place;
mod stream;

use std::path::Path;

use rustix::io::Errno;

pub use descriptor::{close_in_forked_child, duplicate};
pub use directory::is_trusted;
pub use listener::{Listener, Prepared, given_path};
pub use place::PathWatch;
pub use stream::{Readable, Stream};

use crate::error::Error;

fn refused(path: &Path, reason: impl Into<String>) -> Error {
    Error::PathRefused {
        path: path.to_path_buf(),
        reason: reason.into(),
    }
}

fn system(action: &str, path: &Path, errno: Errno) -> Error {
    Error::io(format!("{action} {}", path.display()), &errno.into())
}
