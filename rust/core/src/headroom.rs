//! A reserve of memory for everything small that cannot be refused: a log line, an answer, an entry in a list.
//!
//! Model: what others send is kept only while [`HEADROOM`] would still be available besides. A probe costs a system call or two, so there
//! is one for every half of that.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::growth;
use crate::queue::Run;

/// With less memory than this nothing more is taken: no message, by a broker no connection either, and no verb that may need memory. A
/// client needs it to read what is queued.
const HEADROOM: usize = 1024 * 1024;
/// Buffers up to this size grow without a probe: it is what ordinary publishers leave unfinished.
const MAX_UNCHECKED: usize = 4 * 1024;
/// What keeping a run takes besides its bytes.
const PER_RUN: usize = 512;
/// What the largest table takes for each entry when it grows to twice its size.
const PER_ENTRY: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Headroom {
    /// What may be taken before the next probe. Two threads at once may take the same bytes: the other half is still there.
    left: AtomicUsize,
}

impl Headroom {
    #[inline]
    fn take(&self, bytes: usize) -> Result<()> {
        match self.left.load(Ordering::Relaxed).checked_sub(bytes) {
            Some(left) => {
                self.left.store(left, Ordering::Relaxed);
                Ok(())
            }
            None => self.probe(bytes),
        }
    }

    #[cold]
    fn probe(&self, bytes: usize) -> Result<()> {
        let available = growth::is_available(bytes.saturating_add(HEADROOM));
        self.left
            .store(if available { HEADROOM / 2 } else { 0 }, Ordering::Relaxed);
        if available { Ok(()) } else { Err(Error::NoMemory(bytes)) }
    }

    /// A copy of `messages` whole frames.
    #[inline]
    pub(crate) fn copy(&self, frames: &[u8], messages: u32) -> Option<Run> {
        self.take(frames.len() + PER_RUN).ok()?;
        Run::copy_of(frames, messages)
    }

    /// A large frame in memory of its own, which was taken without asking what is left. Whoever reads it makes as much of it twice: a frame
    /// of his own, and its text. (This probe is also the largest piece that comes and goes, by which glibc judges how much free memory it
    /// keeps from the kernel: with less, large messages in a row cost hundreds of page faults each.)
    pub(crate) fn keep(&self, frame: &Bytes) -> Option<Run> {
        self.take(2 * frame.len() + PER_RUN).ok()?;
        Some(Run::frames(Bytes::clone(frame), 1))
    }

    /// Room for `bytes` more.
    pub(crate) fn reserve(&self, buf: &mut Vec<u8>, bytes: usize) -> Result<()> {
        let needed = buf.len() + bytes;
        if needed > buf.capacity().max(MAX_UNCHECKED) {
            self.take(bytes.max(buf.capacity()))?;
        }
        growth::reserve(buf, bytes)
    }

    /// Room for `bytes` that may still come, if there is memory for them.
    pub(crate) fn try_reserve(&self, buf: &mut Vec<u8>, bytes: usize) {
        if self.take(bytes).is_ok() {
            let _enough = buf.try_reserve_exact(bytes);
        }
    }

    pub(crate) fn append(&self, buf: &mut Vec<u8>, data: &[u8]) -> Result<()> {
        self.reserve(buf, data.len())?;
        buf.extend_from_slice(data);
        Ok(())
    }

    /// Whether there is memory for another connection, or for what a verb may ask for, where tables have so many entries that may
    /// have to grow.
    pub(crate) fn is_available(entries: usize) -> bool {
        growth::is_available(entries.saturating_mul(PER_ENTRY).saturating_add(HEADROOM))
    }
}
