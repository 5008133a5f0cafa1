//! What was read from a connection and is not processed yet.
//!
//! The buffer grows for a frame that is larger, to its size in the end, and goes with it: to whom the frame is delivered if it has come
//! alone, else it is freed. The sender decides how large a frame is, so growth may fail: that costs the connection, not the process.
//!
//! Guarantee: it grows to [`MAX_READ`], or to three times what has come at most.

#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::growth;
use crate::wire::frame;

/// The room for one read, unless a larger frame is under way.
const MAX_READ: usize = 256 * 1024;
/// The least room for one read; without memory for that the connection is given up.
const MIN_READ: usize = 4096;

/// The unprocessed bytes are those of `buf` from `start` to `end`.
#[derive(Default)]
pub(super) struct ReadBuffer {
    buf: Vec<u8>,
    start: usize,
    end: usize,
}

impl From<Vec<u8>> for ReadBuffer {
    /// All of `buf` is unprocessed.
    fn from(buf: Vec<u8>) -> Self {
        let end = buf.len();
        Self { buf, start: 0, end }
    }
}

impl ReadBuffer {
    pub(super) fn unprocessed(&self) -> &[u8] {
        self.buf.get(self.start..self.end).unwrap_or_default()
    }

    /// Room for the next read, behind the unprocessed bytes.
    pub(super) fn spare(&mut self) -> Result<&mut [u8]> {
        if self.buf.len() - self.end < MAX_READ / 4 && self.start > 0 {
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= std::mem::take(&mut self.start);
        }
        if self.buf.len() - self.end < MAX_READ / 4 {
            // A frame larger than the buffer is under way, or one as large is nearly whole, or this is the first read.
            self.grow()?;
        }
        Ok(self.buf.get_mut(self.end..).unwrap_or_default())
    }

    /// To twice the size or, if that is less, to that of the large frame under way, which then [fills](Self::take_frame) it; where there is
    /// no memory for that, by a little.
    fn grow(&mut self) -> Result<()> {
        let (len, doubled) = (self.buf.len(), (self.buf.len() * 2).max(MAX_READ));
        let frame = frame::claimed_len(self.unprocessed()).unwrap_or(0);
        let wanted = if frame > self.end {
            frame.clamp(MAX_READ, doubled)
        } else {
            doubled
        };
        for size in [wanted, self.end + MIN_READ] {
            let more = size.saturating_sub(len);
            if self.buf.try_reserve_exact(more).is_ok() {
                self.buf.resize(len + more, 0);
                return Ok(());
            }
        }
        Err(no_memory())
    }

    /// The buffer itself, if a large frame fills it: whoever keeps that needs no copy, which would be as much new memory again.
    pub(super) fn take_frame(&mut self) -> Option<Bytes> {
        let is_full = self.end > MAX_READ && self.start == 0 && self.end == self.buf.capacity();
        if !is_full || frame::claimed_len(&self.buf) != Some(self.end) {
            return None;
        }
        self.end = 0;
        Some(Bytes::from(std::mem::take(&mut self.buf)))
    }

    /// What [`take_frame`](Self::take_frame) gave could not be processed yet.
    pub(super) fn put_back(&mut self, frame: Bytes) {
        *self = Self::from(Vec::from(frame));
    }

    /// `len` bytes were read into [`spare`](Self::spare).
    pub(super) const fn advance(&mut self, len: usize) {
        self.end += len;
    }

    /// Appends what somebody else has read.
    pub(super) fn append(&mut self, data: &[u8]) -> Result<()> {
        self.buf.truncate(self.end);
        self.buf.drain(..self.start);
        (self.start, self.end) = (0, self.buf.len());
        append_read(&mut self.buf, data)?;
        self.end = self.buf.len();
        Ok(())
    }

    /// The first `len` unprocessed bytes are processed.
    pub(super) fn consume(&mut self, len: usize) {
        self.start += len;
        if self.start == self.end {
            self.clear();
            if self.buf.len() > MAX_READ {
                self.buf = Vec::new();
            }
        }
    }

    pub(super) const fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// As [`clear`](Self::clear), and frees the memory: the connection is over, and its frames may have been large.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Appends what was read; without memory for it the connection is lost.
pub(super) fn append_read(buf: &mut Vec<u8>, data: &[u8]) -> Result<()> {
    growth::append(buf, data).map_err(|_| no_memory())
}

fn no_memory() -> Error {
    Error::ConnectionLost("there is no memory for a frame of the broker".to_owned())
}
