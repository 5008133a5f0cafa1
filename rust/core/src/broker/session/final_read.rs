//! Reading what a client had sent before the broker began to stop, and when that is all.
//!
//! A socket says so itself: there is nothing more to read. A pipe of Windows says that nothing was told to the runtime, while what lies
//! in the pipe is told only in the next turn of its event loop. There nothing more is nothing after a turn.
use std::io;
use std::time::Duration;

use super::{SCRATCH, Wait, read, ready};
use crate::transport::Stream;

/// What a stopping broker still reads of one client.
const MOST: usize = 4 * 1024 * 1024;
/// A timer rings behind the events that were there when it was due, so any length is a turn.
const TURN: Duration = Duration::from_millis(2);

#[derive(Default)]
pub(super) struct FinalRead {
    read: usize,
    /// Under way: a turn in which something may be told.
    turn: Option<Wait>,
    /// Nothing was there before the last turn.
    was_empty: bool,
}

pub(super) enum FinalReadStep {
    /// That many bytes, in the thread's buffer.
    Read(usize),
    /// Try again after [`FinalRead::turned`].
    Later,
    Nothing,
}

impl FinalRead {
    pub(super) fn step(&mut self, stream: &Stream) -> FinalReadStep {
        if self.turn.is_some() {
            return FinalReadStep::Later;
        }
        if self.read >= MOST {
            return FinalReadStep::Nothing;
        }
        match read(stream, SCRATCH) {
            Ok(len) if len > 0 => {
                self.read += len;
                self.was_empty = false;
                FinalReadStep::Read(len)
            }
            Err(error) if cfg!(windows) && !self.was_empty && error.kind() == io::ErrorKind::WouldBlock => {
                self.turn = Some(Box::pin(tokio::time::sleep(TURN)));
                FinalReadStep::Later
            }
            _ => FinalReadStep::Nothing,
        }
    }

    pub(super) const fn is_turning(&self) -> bool {
        self.turn.is_some()
    }

    /// Waits for the turn, if one is under way.
    pub(super) async fn turned(&mut self) {
        ready(&mut self.turn).await;
        self.turn = None;
        self.was_empty = true;
    }

    /// Reads nothing from now on.
    pub(super) fn give_up(&mut self) {
        self.read = MOST;
        self.turn = None;
    }
}
