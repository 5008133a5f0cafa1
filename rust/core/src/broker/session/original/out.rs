//! What a peer of the original is sent, and when: one frame in one write, and the next when the peer has read everything before.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Instant;

use super::Original;
use super::reading::Reading;
use crate::broker::connection::Connection;
use crate::broker::session::{SCRATCH, Stage, Wait, read};
use crate::broker::shared::Phase;
use crate::queue::WrittenOne;
use crate::wire::text::FromBroker;

/// Reads in a row before others have their turn. More than a client of the original can leave unread.
const MAX_READS: usize = 4;

/// What is waited for before more is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// The peer has read everything.
    Read,
    /// The kernel takes more.
    Writable,
}

pub(super) enum Blocked {
    Waits,
    Broken,
}

/// Waits for a future that may not be there; then it is not polled again.
pub(super) async fn ready(waiting: &mut Option<(Until, Wait)>) -> Until {
    let Some((until, wait)) = waiting else {
        return Until::Writable;
    };
    let until = *until;
    wait.await;
    *waiting = None;
    until
}

impl Original {
    /// Sends what may be sent now: the rest of a message, then answers, then the next message if its time has come.
    pub(super) fn pump(&mut self) {
        self.quiet_until = None;
        if let Err(Blocked::Broken) = self.try_pump() {
            self.stage = Stage::Ended;
        }
    }

    fn try_pump(&mut self) -> Result<(), Blocked> {
        let connection = self.reader.connection.clone();
        if let Some(connection) = &connection
            && connection.queue.is_partial()
        {
            self.send_message(connection)?;
        }
        self.send_pongs()?;
        let Some(connection) = connection else { return Ok(()) };
        let idle = connection.queue.snapshot().messages == 0 && !connection.queue.arm_reader();
        if idle && !self.reading.is_waited_for() {
            return Ok(());
        }
        self.quiet_until = self.pace.quiet_until(Instant::now());
        if self.quiet_until.is_some() || self.waiting.is_some() {
            return Ok(());
        }
        if self.clear {
            let read_all = self.read_pending();
            if self.stage == Stage::Ended || self.connect.is_some() {
                return Ok(());
            }
            self.answer_or_send(&connection, read_all)?;
        }
        // With nothing sent and no room for what it says, room is what is waited for.
        if !(self.clear && self.claim.waits()) {
            self.wait(Until::Read);
        }
        Ok(())
    }

    /// It has read everything.
    fn answer_or_send(&mut self, connection: &Connection, read_all: bool) -> Result<(), Blocked> {
        if self.pongs > 0 {
            return self.send_pongs();
        }
        // Then no check comes any more that a message could be taken for the answer to.
        let ends = self.shared.phase() >= Phase::Quiescing;
        match self.reading {
            Reading::Continuous => self.send_message(connection),
            Reading::Unknown if ends => {
                self.reading = Reading::Probed { checked: None };
                self.send_message(connection)
            }
            // The peer is read before anything else happens here.
            _ if !read_all && !ends => Ok(()),
            Reading::Unknown => {
                self.reading = Reading::Probed { checked: None };
                self.pongs = 1;
                self.send_pongs()
            }
            Reading::Probed { .. } | Reading::AnswersOnly => {
                self.note_reading();
                self.send_message(connection)
            }
        }
    }

    /// Hears what the peer has said up to now: if that is a check, the next frame must be its answer. Whether that was all.
    fn read_pending(&mut self) -> bool {
        for _ in 0..MAX_READS {
            if !self.reads() || self.connect.is_some() || self.pongs > 0 {
                break;
            }
            match read(&self.reader.stream, SCRATCH) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                got => self.on_read(got),
            }
        }
        false
    }

    pub(super) fn send_message(&mut self, connection: &Connection) -> Result<(), Blocked> {
        self.clear = false;
        let sent = connection
            .queue
            .write_one(|bytes| self.stream.try_write(&[IoSlice::new(bytes)]));
        match sent {
            Ok(WrittenOne::Sent | WrittenOne::Nothing) => Ok(()),
            Ok(WrittenOne::Blocked) => Err(self.wait(Until::Writable)),
            Err(_) => Err(Blocked::Broken),
        }
    }

    pub(super) fn send_pongs(&mut self) -> Result<(), Blocked> {
        let frame = FromBroker::Pong.frame();
        while self.pongs > 0 {
            let rest = frame
                .get(frame.len().saturating_sub(self.pong_left)..)
                .unwrap_or_default();
            let rest = if self.pong_left == 0 { frame.as_slice() } else { rest };
            self.clear = false;
            match self.stream.try_write(&[IoSlice::new(rest)]) {
                Ok(written) => {
                    self.pong_left = rest.len().saturating_sub(written);
                    self.pongs -= usize::from(self.pong_left == 0);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(self.wait(Until::Writable)),
                Err(_) => return Err(Blocked::Broken),
            }
        }
        Ok(())
    }

    /// What was waited for has come.
    pub(super) fn go_on(&mut self, until: Until) {
        // The wait may have been cut short.
        self.clear = until == Until::Read && self.stream.unsent().is_none_or(|unread| unread == 0);
    }

    fn wait(&mut self, until: Until) -> Blocked {
        let stream = Arc::clone(&self.stream);
        let wait: Wait = Box::pin(async move {
            // However it ends, it is tried again.
            let _tried = match until {
                Until::Read => stream.drained().await,
                Until::Writable => stream.writable().await,
            };
        });
        self.waiting = Some((until, wait));
        Blocked::Waits
    }
}
