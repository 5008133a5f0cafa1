//! Reads a peer that is not known yet, within a time limit.
//!
//! What counts is the time in which the broker listens to it: not that in which the broker itself sleeps (stopped, suspended), nor that in
//! which others have all the room for what it sends. While others wait for room that it has, it is given [`GRACE`] like everybody.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::read;
use crate::broker::read_room::{Claim, FREE, GRACE};
use crate::transport::{Readable, Stream};

/// Read at once before anybody is known.
const FIRST_READ: usize = FREE;
/// How often somebody is looked at who has room: so much at most is taken for the peer's time that the broker has slept.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// Why nothing was read.
pub(super) enum ReadFailure {
    Closed,
    TimedOut,
    /// Others wait for the room that its frame takes.
    BlocksOthers,
}

pub(super) struct HandshakeReader {
    left: Duration,
    /// With room that others may wait for.
    grace: Duration,
}

impl HandshakeReader {
    pub(super) const fn new(limit: Duration) -> Self {
        Self {
            left: limit,
            grace: GRACE,
        }
    }

    /// What it says next: so many bytes, in the thread's buffer.
    pub(super) async fn read(
        &mut self,
        stream: &Stream,
        readable: &Readable,
        claim: &mut Claim,
    ) -> Result<usize, ReadFailure> {
        loop {
            if self.left.is_zero() {
                return Err(ReadFailure::TimedOut);
            }
            if self.grace.is_zero() && claim.blocks_others() {
                return Err(ReadFailure::BlocksOthers);
            }
            let look = if claim.has_room() {
                LOOK.min(self.left)
            } else {
                self.left
            };
            let began = Instant::now();
            let got = timeout(look, readable.read_with(|| read(stream, FIRST_READ))).await;
            let heard = began.elapsed().min(look);
            self.left -= heard;
            if claim.has_room() {
                self.grace = self.grace.saturating_sub(heard);
            }
            match got {
                Ok(Ok(len)) if len > 0 => return Ok(len),
                Ok(_) => return Err(ReadFailure::Closed),
                Err(_) => {}
            }
        }
    }
}
