//! Whether a flush is scheduled for the end of the loop's turn, so that many publishes of a turn ask for one.
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Default)]
pub(crate) struct FlushScheduled(AtomicBool);

impl FlushScheduled {
    /// Marks it as scheduled; true if it was already. Reads first: only the first publish of a turn needs the swap, which is expensive.
    pub(crate) fn schedule(&self) -> bool {
        self.0.load(Ordering::Relaxed) || self.0.swap(true, Ordering::Relaxed)
    }

    /// The flush has begun, or will not come.
    pub(crate) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
