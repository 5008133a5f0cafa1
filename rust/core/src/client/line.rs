//! The connection as the supervisor and the host see it: where it stands, and what was read and not used yet.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::growth;
use crate::transport::Stream;
use crate::wire::frame;

/// State changes that are kept for somebody who does not look.
const KEPT_CHANGES: usize = 64;
/// One read takes at most this much, unless a larger frame is under way.
const READ: usize = 256 * 1024;
/// One read has room for this much, or the connection is given up.
const LEAST: usize = 4096;

/// Where a link stands. `Closed` is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Connecting,
    Connected,
    Reconnecting,
    Closed,
}

/// Who reads the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// The host, whose event loop watches the descriptor: no thread stands between the kernel and it.
    Host,
    /// The link's own thread, for hosts that cannot; what arrives together wakes its readers together.
    Link,
}

/// What the host does after [`Link::on_readable`](super::Link::on_readable).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Keep watching.
    Open,
    /// A blocking subscription is full: stop watching; the host is woken when to go on ([`Link::resume`](super::Link::resume)).
    Paused,
    /// The connection is gone; stop watching.
    Ended,
}

pub(super) struct Line {
    pub(super) stream: Option<Arc<Stream>>,
    /// Counts connections; a host that watches an older one stops.
    pub(super) generation: u64,
    pub(super) state: State,
    pub(super) changes: VecDeque<State>,
    pub(super) cause: Option<Error>,
    /// BYE was sent by us: the end of the connection is no interruption.
    pub(super) leaving: bool,
    pub(super) unused: Unused,
    pub(super) paused: bool,
}

impl Line {
    pub(super) fn new() -> Self {
        Self {
            stream: None,
            generation: 0,
            state: State::Connecting,
            changes: VecDeque::from([State::Connecting]),
            cause: None,
            leaving: false,
            unused: Unused::default(),
            paused: false,
        }
    }

    /// Whether `stream` is the present connection.
    pub(super) fn is_of(&self, stream: &Arc<Stream>) -> bool {
        self.stream.as_ref().is_some_and(|now| Arc::ptr_eq(now, stream))
    }

    pub(super) fn change(&mut self, state: State) {
        self.state = state;
        self.changes.push_back(state);
        // Somebody who never looks keeps the newest.
        if self.changes.len() > KEPT_CHANGES {
            self.changes.pop_front();
        }
    }
}

/// Bytes that were read and not used yet: those of `buf` from `used` to `filled`.
#[derive(Default)]
pub(super) struct Unused {
    buf: Vec<u8>,
    used: usize,
    filled: usize,
}

impl From<Vec<u8>> for Unused {
    /// All that was read before.
    fn from(buf: Vec<u8>) -> Self {
        let filled = buf.len();
        Self { buf, used: 0, filled }
    }
}

impl Unused {
    pub(super) fn bytes(&self) -> &[u8] {
        self.buf.get(self.used..self.filled).unwrap_or_default()
    }

    /// Room for the next read, behind what is here.
    pub(super) fn room(&mut self) -> Result<&mut [u8]> {
        if self.buf.len() - self.filled < READ / 4 && self.used > 0 {
            self.buf.copy_within(self.used..self.filled, 0);
            self.filled -= std::mem::take(&mut self.used);
        }
        if self.buf.len() - self.filled < READ / 4 {
            // A frame larger than the buffer is under way, or this is the first read.
            self.grow()?;
        }
        Ok(self.buf.get_mut(self.filled..).unwrap_or_default())
    }

    /// To twice the size or, where there is no memory for that, to what the frame under way needs.
    fn grow(&mut self) -> Result<()> {
        let twice = (self.buf.len() * 2).max(READ);
        let least = frame::claimed_len(self.bytes())
            .unwrap_or(0)
            .min(twice)
            .max(self.filled + LEAST);
        for size in [twice, least] {
            let more = size.saturating_sub(self.buf.len());
            if self.buf.try_reserve_exact(more).is_ok() {
                self.buf.resize(self.buf.len() + more, 0);
                return Ok(());
            }
        }
        Err(no_memory())
    }

    /// So many bytes were read into the [`room`](Self::room).
    pub(super) const fn read(&mut self, len: usize) {
        self.filled += len;
    }

    /// Appends what somebody else has read.
    pub(super) fn append(&mut self, data: &[u8]) -> Result<()> {
        self.buf.truncate(self.filled);
        self.buf.drain(..self.used);
        (self.used, self.filled) = (0, self.buf.len());
        keep(&mut self.buf, data)?;
        self.filled = self.buf.len();
        Ok(())
    }

    /// The first `len` bytes are done with.
    pub(super) fn use_up(&mut self, len: usize) {
        self.used += len;
        if self.used == self.filled {
            self.clear();
            if self.buf.len() > READ {
                self.buf = Vec::new();
            }
        }
    }

    pub(super) const fn clear(&mut self) {
        (self.used, self.filled) = (0, 0);
    }

    /// The same where the connection is over, whose frames may have been large.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Appends what was read. How large a frame is its sender decides, who must not end this process.
pub(super) fn keep(buf: &mut Vec<u8>, data: &[u8]) -> Result<()> {
    growth::append(buf, data).map_err(|_| no_memory())
}

fn no_memory() -> Error {
    Error::ConnectionLost("there is no memory for a frame of the broker".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(unused: &mut Unused, data: &[u8]) {
        unused.room().unwrap()[..data.len()].copy_from_slice(data);
        unused.read(data.len());
    }

    #[test]
    #[cfg_attr(miri, ignore = "a buffer of 256 KiB is filled there byte by byte, for minutes")]
    fn what_is_not_used_stays_in_front_of_what_is_read_next() {
        let mut unused = Unused::default();
        read(&mut unused, b"abcdef");
        unused.use_up(4);
        read(&mut unused, b"gh");
        assert_eq!(unused.bytes(), b"efgh");
        unused.append(b"ij").unwrap();
        assert_eq!(unused.bytes(), b"efghij");
        read(&mut unused, b"kl");
        unused.use_up(2);
        assert_eq!(unused.bytes(), b"ghijkl");
        unused.clear();
        assert_eq!(unused.bytes(), b"");
    }

    #[test]
    #[cfg_attr(miri, ignore = "a buffer of 256 KiB is filled there byte by byte, for minutes")]
    fn a_large_frame_has_room_and_its_memory_goes_with_it() {
        let mut unused = Unused::default();
        let part = [7; READ / 4];
        for parts in 1..=12 {
            read(&mut unused, &part);
            assert_eq!(unused.bytes().len(), parts * part.len());
        }
        unused.use_up(12 * part.len());
        assert!(unused.buf.capacity() <= READ);
    }
}
