//! Unix domain sockets.
use std::io::{self, IoSlice};

use super::{Address, DialError, ListenOptions, PathState, Peer};
use crate::error::Result;

#[derive(Debug)]
pub struct Stream {}

impl Stream {
    /// Connects and checks the server's uid against `server_uids` before a byte is sent. `EAGAIN` (full backlog), no such file and
    /// refused are `retry`; a wrong uid or missing permission is not.
    pub fn dial(_address: &Address, _server_uids: &[u32]) -> Result<Self, DialError> {
        todo!()
    }
    pub fn peer(&self) -> Peer {
        todo!()
    }
    /// 0 = end of file.
    pub fn try_read(&self, _buf: &mut [u8]) -> io::Result<usize> {
        todo!()
    }
    pub fn try_write(&self, _bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        todo!()
    }
    /// Waits until the kernel takes bytes again. Registers for the wait only.
    pub async fn writable(&self) -> io::Result<()> {
        todo!()
    }
    /// Registers for reading with the current tokio runtime.
    pub fn readable(&self) -> io::Result<Readable> {
        todo!()
    }
    /// Ends both directions; reads and writes of other holders fail or give end of file at once.
    pub fn shut_down(&self) {
        todo!()
    }
    /// Bytes the kernel still holds unsent (SIOCOUTQ), where it can say.
    pub fn unsent(&self) -> Option<usize> {
        todo!()
    }
    /// For an event loop that watches descriptors itself.
    pub fn raw_fd(&self) -> std::os::fd::RawFd {
        todo!()
    }
}

/// A registration for read readiness.
#[derive(Debug)]
pub struct Readable {}

impl Readable {
    /// Waits until `read` (normally [`Stream::try_read`]) gives something else than `WouldBlock`.
    pub async fn read_with<T>(&self, _read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        todo!()
    }
}

#[derive(Debug)]
pub struct Listener {}

impl Listener {
    /// The start-up order of `docs/operations.md`. Must run inside a tokio runtime with I/O.
    pub async fn bind(_address: &Address, _options: &ListenOptions) -> Result<Self> {
        todo!()
    }
    /// The next connection and the kernel's word on who it is. `Err` is the listener's trouble (descriptor limit, ...), never fatal
    /// for those connected; back off and go on.
    pub async fn accept(&self) -> io::Result<(Stream, Peer)> {
        todo!()
    }
    pub fn path_state(&self) -> PathState {
        todo!()
    }
    /// Closes, removes the socket file if it is still ours, releases the lock.
    pub fn close(self) {
        todo!()
    }
}

/// In a forked child: closes every inherited listener and lock descriptor, so that the child keeps neither alive. Never
/// unlocks, never unlinks.
pub fn close_in_forked_child() {
    todo!()
}
