//! What was read from a connection and is not processed yet.
//!
//! The buffer grows for a frame that is larger, and gives the memory back with it. The sender decides how large a frame is, so growth may
//! fail: that costs the connection, not the process.

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
            // A frame larger than the buffer is under way, or this is the first read.
            self.grow()?;
        }
        Ok(self.buf.get_mut(self.end..).unwrap_or_default())
    }

    /// To twice the size or, where there is no memory for that, to what the frame under way needs.
    fn grow(&mut self) -> Result<()> {
        let doubled = (self.buf.len() * 2).max(MAX_READ);
        let needed = frame::claimed_len(self.unprocessed())
            .unwrap_or(0)
            .min(doubled)
            .max(self.end + MIN_READ);
        for size in [doubled, needed] {
            let more = size.saturating_sub(self.buf.len());
            if self.buf.try_reserve_exact(more).is_ok() {
                self.buf.resize(self.buf.len() + more, 0);
                return Ok(());
            }
        }
        Err(no_memory())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(read_buffer: &mut ReadBuffer, data: &[u8]) {
        read_buffer.spare().unwrap()[..data.len()].copy_from_slice(data);
        read_buffer.advance(data.len());
    }

    #[test]
    #[cfg_attr(miri, ignore = "a buffer of 256 KiB is filled there byte by byte, for minutes")]
    fn unprocessed_bytes_stay_in_front_of_what_is_read_next() {
        let mut read_buffer = ReadBuffer::default();
        read(&mut read_buffer, b"abcdef");
        read_buffer.consume(4);
        read(&mut read_buffer, b"gh");
        assert_eq!(read_buffer.unprocessed(), b"efgh");
        read_buffer.append(b"ij").unwrap();
        assert_eq!(read_buffer.unprocessed(), b"efghij");
        read(&mut read_buffer, b"kl");
        read_buffer.consume(2);
        assert_eq!(read_buffer.unprocessed(), b"ghijkl");
        read_buffer.clear();
        assert_eq!(read_buffer.unprocessed(), b"");
    }

    #[test]
    #[cfg_attr(miri, ignore = "a buffer of 256 KiB is filled there byte by byte, for minutes")]
    fn a_large_frame_has_room_and_its_memory_goes_with_it() {
        let mut read_buffer = ReadBuffer::default();
        let part = [7; MAX_READ / 4];
        for parts in 1..=12 {
            read(&mut read_buffer, &part);
            assert_eq!(read_buffer.unprocessed().len(), parts * part.len());
        }
        read_buffer.consume(12 * part.len());
        assert!(read_buffer.buf.capacity() <= MAX_READ);
    }
}
