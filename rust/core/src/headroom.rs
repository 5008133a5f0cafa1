//! Memory that is left alone, for everything small that nobody can refuse to make: a line of the log, an answer, a place in a list.
//!
//! Model: what others send is kept only while [`HEADROOM`] would still be there behind it. To look costs a system call or two, so
//! it is looked once for every half of that.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};
use crate::growth;
use crate::queue::Run;

/// With less memory than this nothing more is taken: no message, by a broker no connection either, and no verb that may need memory. A
/// client needs it to read what is queued.
const HEADROOM: usize = 1024 * 1024;
/// A buffer that grows no further may do so without a look: what a publisher of usual messages has begun.
const SMALL: usize = 4 * 1024;
/// What keeping a run takes besides its bytes.
const PER_RUN: usize = 512;
/// What the largest table takes for each entry when it grows to twice its size.
const PER_ENTRY: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Headroom {
    /// What may be taken before the next look. Two threads at once may take the same; there is as much again behind it.
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
            None => self.look(bytes),
        }
    }

    #[cold]
    fn look(&self, bytes: usize) -> Result<()> {
        let there = growth::is_there(bytes.saturating_add(HEADROOM));
        self.left.store(if there { HEADROOM / 2 } else { 0 }, Ordering::Relaxed);
        if there { Ok(()) } else { Err(Error::NoMemory(bytes)) }
    }

    /// A copy of `messages` whole frames.
    #[inline]
    pub(crate) fn copy(&self, frames: &[u8], messages: u32) -> Option<Run> {
        self.take(frames.len() + PER_RUN).ok()?;
        Run::copy_of(frames, messages)
    }

    /// Room for `bytes` more.
    pub(crate) fn make_room(&self, buf: &mut Vec<u8>, bytes: usize) -> Result<()> {
        let needed = buf.len() + bytes;
        if needed > buf.capacity().max(SMALL) {
            self.take(bytes.max(buf.capacity()))?;
        }
        growth::make_room(buf, bytes)
    }

    /// Room for `bytes` that may still come, if there is memory for them.
    pub(crate) fn expect(&self, buf: &mut Vec<u8>, bytes: usize) {
        if self.take(bytes).is_ok() {
            let _enough = buf.try_reserve_exact(bytes);
        }
    }

    pub(crate) fn append(&self, buf: &mut Vec<u8>, data: &[u8]) -> Result<()> {
        self.make_room(buf, data.len())?;
        buf.extend_from_slice(data);
        Ok(())
    }

    /// Whether there is memory for another connection, or for what a verb may ask for, where tables have so many entries that may
    /// have to grow.
    pub(crate) fn is_there(entries: usize) -> bool {
        growth::is_there(entries.saturating_mul(PER_ENTRY).saturating_add(HEADROOM))
    }
}
