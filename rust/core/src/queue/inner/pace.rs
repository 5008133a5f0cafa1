//! How the reader keeps up with those who feed the queue: whether it has stalled, and whether it should be let run.
use std::time::Instant;

use super::Inner;

/// What its reader is to those who wait for room.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Nobody has found too little room, or the reader has made room since, or the queue has been empty.
    Room,
    /// Since somebody found too little room, or since the reader last took something, if there is too little still.
    ShortSince(Instant),
    /// It took nothing for the stall timeout, and has not brought its queue down to half since.
    Stalled,
}

impl Inner {
    pub(super) fn is_full(&self) -> bool {
        self.messages >= self.limits.messages || self.bytes >= self.limits.bytes
    }

    fn below_half(&self) -> bool {
        self.messages <= self.limits.messages / 2 && self.bytes <= self.limits.bytes / 2
    }

    pub(super) fn is_short(&self) -> bool {
        self.is_full() || self.keeps_producers_waiting()
    }

    pub(super) fn has_stalled(&mut self) -> bool {
        if let (Pace::ShortSince(since), Some(stall)) = (self.pace, self.stall)
            && since.elapsed() >= stall
        {
            // Who found too little room may have given up.
            self.pace = if self.is_short() { Pace::Stalled } else { Pace::Room };
        }
        self.pace == Pace::Stalled
    }

    /// The reader took something, which is off the counts already: its stall clock starts anew, or ends. What was dropped is no
    /// progress of the reader's, however much room it makes.
    pub(in crate::queue) fn note_progress(&mut self) {
        self.backlog_told = false;
        self.pace = match self.pace {
            Pace::Room => return,
            Pace::Stalled if !self.below_half() => return,
            Pace::ShortSince(_) if self.is_short() => Pace::ShortSince(Instant::now()),
            Pace::ShortSince(_) | Pace::Stalled => Pace::Room,
        };
    }

    /// True where the reader is to be told that the queue is more than half full. Not where those who feed it wait for room anyway.
    pub(in crate::queue) fn take_backlog(&mut self) -> bool {
        !self.below_half() && !self.is_lossless() && !std::mem::replace(&mut self.backlog_told, true)
    }
}
