//! When small writes are held back to share one system call and one wake-up of the reader.
//!
//! A write some time after the last one goes out at once, from whoever has it. Closer ones share the next flush, which the host's loop
//! does at the end of its turn. While turn after turn has something, they share one as long as it comes soon enough; while turn after turn
//! is full, the writes between two flushes are rarer still. A turn that adds nothing ends either at once.

use std::time::Duration;

use crate::event::Timestamp;

/// A write this long after the last one goes to the socket at once; closer ones share the next flush.
const CORK: Duration = Duration::from_micros(50);
/// The same while a publisher fills turn after turn of its loop: what it adds meanwhile shares one write, one wake-up of the broker and
/// one of each reader.
const STREAM_CORK: Duration = Duration::from_micros(500);
/// Messages between two flushes from which on it counts as doing so.
const STREAM_MESSAGES: u64 = 48;
/// Turns in a row with something to write from which on they share a write: a collector that publishes one event in each turn of its loop.
const ROW: u32 = 8;
/// Bytes that are written without waiting for the flush: about what a broker's socket takes at once, by Linux's default (208 KiB with what
/// the kernel needs beside them).
const MAX_CORKED: usize = 192 * 1024;

/// What waits longer than this, and at most twice as long, is written by others: the host's loop stands still, or was stopped before the
/// turn that was to write it.
pub(crate) const LATE: Duration = Duration::from_millis(5);

pub(crate) struct Cork {
    /// By the wall clock, which a publish has read anyway; if that is set back or forth, one write comes early.
    last_write: Timestamp,
    /// Messages ever taken, at the end of the last turn.
    taken_before: u64,
    /// The last turn was full of messages.
    streaming: bool,
    /// Turns in a row that had any.
    row: u32,
}

impl Cork {
    pub(crate) const fn new() -> Self {
        Self {
            last_write: Timestamp { secs: 0, nanos: 0 },
            taken_before: 0,
            streaming: false,
            row: 0,
        }
    }

    /// True if `pending` bytes wait for the end of the turn.
    pub(crate) fn holds(&self, now: Timestamp, pending: usize) -> bool {
        let cork = if self.streaming { STREAM_CORK } else { CORK };
        pending < MAX_CORKED && now.since(self.last_write).is_some_and(|passed| passed < cork)
    }

    /// The end of a turn, with `taken` messages so far. True if what it had may wait for that of the next.
    pub(crate) const fn end_turn(&mut self, taken: u64) -> bool {
        let added = taken - self.taken_before;
        self.taken_before = taken;
        self.streaming = added >= STREAM_MESSAGES;
        self.row = if added > 0 { self.row.saturating_add(1) } else { 0 };
        self.streaming || self.row >= ROW
    }

    pub(crate) const fn note_write(&mut self, now: Timestamp) {
        self.last_write = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u32) -> Timestamp {
        Timestamp {
            secs: 1_800_000_000,
            nanos: micros * 1000,
        }
    }

    #[test]
    fn turns_in_a_row_share_a_write_and_one_without_messages_ends_it() {
        let mut cork = Cork::new();
        assert!((1..u64::from(ROW)).all(|taken| !cork.end_turn(taken)));
        assert!(cork.end_turn(8) && cork.end_turn(9));
        cork.note_write(at(0));
        assert!(cork.holds(at(49), 1) && !cork.holds(at(50), 1));
        assert!(!cork.holds(at(49), MAX_CORKED));
        assert!(!cork.end_turn(9));
        assert!(!cork.end_turn(10));
    }

    #[test]
    fn full_turns_share_one_for_longer() {
        let mut cork = Cork::new();
        cork.note_write(at(0));
        assert!(cork.end_turn(STREAM_MESSAGES));
        assert!(cork.holds(at(499), 1) && !cork.holds(at(500), 1));
        assert!(!cork.end_turn(STREAM_MESSAGES));
        assert!(!cork.holds(at(499), 1));
    }
}
