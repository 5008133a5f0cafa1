//! Named pipes.
//!
//! Read in this order: [`security`] (who somebody is, and who may do what), [`pipe`] (one end of a pipe, and what becomes of it),
//! [`stream`], [`listener`].
//!
//! Where Unix has a lock file, here the first instance of a name is asked for: nobody else can have one. Where Unix asks for the peer's
//! uid, here the pipe's access list decides before anybody connects, and the client asks who owns the pipe.
#![expect(
    unsafe_code,
    reason = "the system's calls about access lists and identities have no safe ones"
)]
mod listener;
mod pipe;
mod security;
mod stream;

use std::ffi::OsStr;
use std::os::windows::ffi::OsStrExt;
use std::path::Path;

pub use listener::{Listener, PathWatch, Prepared};
pub use security::own_sid;
pub use stream::{Readable, Stream};

pub(super) use security::own_uid;

use crate::error::Error;

/// Windows does not fork.
pub const fn close_in_forked_child() {}

fn refused(path: &Path, reason: impl Into<String>) -> Error {
    Error::PathRefused {
        path: path.to_path_buf(),
        reason: reason.into(),
    }
}

/// As the system's functions take text: UTF-16 with a NUL behind it.
fn wide(text: impl AsRef<OsStr>) -> Vec<u16> {
    text.as_ref().encode_wide().chain(Some(0)).collect()
}
