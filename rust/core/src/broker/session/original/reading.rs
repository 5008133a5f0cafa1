//! Whether a peer of the original reads what it is sent.
//!
//! Its client does all the time. Its broker, when it has dialled us, reads one frame after each of its checks and no other, and hangs up
//! unless that one is `PONG`. A `PONG` that nobody has asked for tells them apart and harms neither: a client reads it at once and
//! ignores it, as it does everything that is not a message; a broker leaves it where it is, and takes it for the answer to its next
//! check, whose own answer then waits for the check after that.
//!
//! So a broker never gets to the end of what it was sent: that is one `PONG` more than it has written checks. Whoever has read all of it,
//! with no check left to hear, reads by itself.

use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// It was sent no message yet, and nothing that would tell.
    Unknown,
    /// It was sent a `PONG` that it did not ask for, and has not read everything since.
    Probed {
        /// When it first checked since.
        checked: Option<Instant>,
    },
    /// It reads by itself, once and for all: a client that is slow later is still a client.
    Continuous,
    /// It reads answers only, so it is subscribed to nothing.
    AnswersOnly,
}

impl Reading {
    /// It checks its connection.
    pub(super) fn note_check(&mut self, now: Instant) {
        if let Self::Probed { checked } = self {
            checked.get_or_insert(now);
        }
    }

    /// When it will have been given the time that a client needs at most: a check, and `patience` after that.
    pub(super) fn due(self, patience: Duration) -> Option<Instant> {
        match self {
            Self::Probed { checked } => checked.map(|checked| checked + patience),
            Self::Unknown | Self::Continuous | Self::AnswersOnly => None,
        }
    }

    /// Whether its reading would change something, also with nothing to send.
    pub(super) const fn is_waited_for(self) -> bool {
        !matches!(self, Self::Unknown | Self::Continuous)
    }
}
