//! What a peer of the original is sent, and when: one frame in one write, and the next when the peer has read everything before.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Instant;

use super::Original;
use crate::broker::connection::Connection;
use crate::broker::session::{SCRATCH, Stage, WRITE_RETRY, Wait, read};
use crate::queue::One;
use crate::wire::text::FromBroker;

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
        if connection.queue.snapshot().messages == 0 && !connection.queue.arm_reader() {
            return Ok(());
        }
        self.quiet_until = self.pace.quiet_until(Instant::now());
        if self.quiet_until.is_some() || self.waiting.is_some() {
            return Ok(());
        }
        if self.clear {
            self.listen();
            if self.stage == Stage::Ended || self.connect.is_some() {
                return Ok(());
            }
            if self.pongs == 0 {
                self.send_message(&connection)?;
            } else {
                self.send_pongs()?;
            }
        }
        self.wait(Until::Read);
        Ok(())
    }

    /// Hears what the peer has said up to now: if that is a check, the next frame must be its answer.
    fn listen(&mut self) {
        if self.reads() {
            match read(&self.reader.stream, SCRATCH) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                got => self.on_read(got),
            }
        }
    }

    pub(super) fn send_message(&mut self, connection: &Connection) -> Result<(), Blocked> {
        self.clear = false;
        self.unread.get_or_insert_with(Instant::now);
        let sent = connection
            .queue
            .write_one(|bytes| self.stream.try_write(&[IoSlice::new(bytes)]));
        match sent {
            Ok(One::Sent | One::Nothing) => Ok(()),
            Ok(One::Blocked) => Err(self.wait(Until::Writable)),
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
        if self.clear {
            self.unread = None;
        }
    }

    /// Says once what an operator can do about a peer that checks and reads nothing else: a broker of the original that has dialled us
    /// takes the message that it has not read for the answer.
    pub(super) fn mind_reading(&mut self) {
        let patience = self.shared.config.stall_timeout;
        if self.unread.take_if(|since| since.elapsed() >= patience).is_some() {
            tracing::warn!(
                target: "daemoneye_eventbus::broker",
                client = %self.id,
                pid = self.stream.peer().pid,
                "a peer of the original reads no messages; if it is a broker, take them from it: subscribe_client(client, ())"
            );
        }
    }

    fn wait(&mut self, until: Until) -> Blocked {
        let stream = Arc::clone(&self.stream);
        let wait: Wait = Box::pin(async move {
            let waited = match until {
                Until::Read => stream.drained().await,
                Until::Writable => stream.writable().await,
            };
            if waited.is_err() {
                // No descriptor is left to wait with; trying again at once would only spin.
                tokio::time::sleep(WRITE_RETRY).await;
            }
        });
        self.waiting = Some((until, wait));
        Blocked::Waits
    }
}
