//! What came from the broker, on its way to the subscriptions and to those who asked: whoever reads the connection, a host, a supervisor or
//! somebody who has found its end, does it here.
//!
//! Guarantee: all that came is handed over, in order, before the connection is lost for what came behind it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::inbound::Happening;
use super::line::{Line, Read};
use super::shared::Shared;
use super::ticket::Answer;
use crate::error::Error;
use crate::lock::MutexGuard;
use crate::printable::printable;
use crate::transport::Stream;
use crate::wire::text::{FromClient, Overflow};

/// Reads of a connection that is over: more than a kernel holds of it.
const MOST_LAST_READS: usize = 64;

impl Shared {
    pub(super) fn read(&self) -> Read {
        self.try_read().unwrap_or(Read::Open)
    }

    /// `Err` is `WouldBlock`, and nothing else.
    pub(super) fn try_read(&self) -> io::Result<Read> {
        let mut line = self.line.lock();
        let Some(stream) = line.stream.clone() else {
            return Ok(Read::Ended);
        };
        let read = match line.unused.room() {
            Ok(room) => stream.try_read(room),
            Err(error) => {
                self.lost(line, error, false);
                return Ok(Read::Ended);
            }
        };
        let cause = match read {
            Ok(0) => self.closed_without_a_word(),
            Ok(n) => {
                line.unused.read(n);
                self.heard.store(true, Ordering::Relaxed);
                return Ok(self.use_up(line));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            // Closed with something of ours unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => self.closed_without_a_word(),
            Err(error) => Error::ConnectionLost(format!("reading from the broker: {error}")),
        };
        self.lost(line, cause, false);
        Ok(Read::Ended)
    }

    /// The end of the stream, and no ERR or BYE before it.
    pub(super) fn closed_without_a_word(&self) -> Error {
        let closed = "the broker closed the connection";
        Error::ConnectionLost(match self.config.broker_overflow {
            Overflow::Disconnect => format!(
                "{closed} and could not say why, perhaps because its queue for this bus was full \
                 (broker_overflow=\"disconnect\") and nothing was read for its write_timeout; read sooner, or choose another"
            ),
            _ => closed.to_owned(),
        })
    }

    /// Hands over what somebody else has read.
    pub(super) fn feed(&self, mut line: MutexGuard<'_, Line>, data: &[u8]) {
        if let Err(error) = line.unused.append(data) {
            return self.lost(line, error, false);
        }
        self.use_up(line);
    }

    /// Hands over what is in the read buffer.
    pub(super) fn use_up(&self, mut line: MutexGuard<'_, Line>) -> Read {
        let mut happened = Vec::new();
        let mut inbound = self.inbound.lock();
        let data = line.unused.bytes();
        let used = if self.is_original() {
            inbound.ingest_original(data, &mut happened).map(|used| (used, false))
        } else {
            inbound.ingest(data, &self.resume, &mut happened)
        };
        drop(inbound);
        let (read, broken) = match used {
            Ok((used, paused)) => {
                line.unused.use_up(used);
                line.paused = paused;
                (if paused { Read::Paused } else { Read::Open }, None)
            }
            Err(error) => (Read::Ended, Some(error)),
        };
        // Also what came before a frame that cannot be: it may say why.
        for happening in happened {
            if let Some((cause, last)) = self.happened(&line, happening) {
                self.lost(line, cause, last);
                return Read::Ended;
            }
        }
        if let Some(error) = broken {
            self.lost(line, error, false);
        }
        read
    }

    /// Hands over what has come already.
    pub(super) fn read_rest(&self, line: MutexGuard<'_, Line>) {
        if line.stream.is_none() {
            return;
        }
        let mut read = self.use_up(line);
        // Where the broker can still send, it must not keep us here.
        for _ in 0..MOST_LAST_READS {
            if read != Read::Open {
                break;
            }
            read = self.try_read().unwrap_or(Read::Ended);
        }
    }

    /// The connection `stream` is found to be over while nobody reads it: what came before is handed over first, as whoever reads would
    /// have done, and may say more of the end. True if the end has not been read yet.
    pub(super) fn read_last(&self, stream: &Arc<Stream>) -> bool {
        let line = self.line.lock();
        // Or whoever reads has found it, and what is said here would hold for the next.
        if !line.is_of(stream) {
            return false;
        }
        self.inbound.lock().begin_last();
        self.read_rest(line);
        self.line.lock().is_of(stream)
    }

    /// Acts on what the stream said. If that ends the connection: why, and whether for good.
    fn happened(&self, line: &Line, happening: Happening) -> Option<(Error, bool)> {
        match happening {
            Happening::Ping => {
                self.outbox.lock().sign_of_life();
                self.push_out();
                None
            }
            Happening::Pong => {
                let (tickets, pinged) = self.outbox.lock().pong();
                for ticket in tickets {
                    ticket.resolve(Ok(Answer::Done));
                }
                if pinged {
                    self.push_out();
                }
                None
            }
            Happening::Asks(stats) => {
                self.outbox.lock().text(&FromClient::Stats(stats).frame());
                self.push_out();
                None
            }
            Happening::Room => {
                self.send_subs(&mut self.inbound.lock());
                self.push_out();
                None
            }
            Happening::Refused(err) => {
                self.note_refused(err.code, err.topic.as_deref(), err.count.unwrap_or(1), &err.message);
                None
            }
            Happening::Bye(reason) => {
                let said = reason
                    .map(|reason| format!(": {}", printable(&reason)))
                    .unwrap_or_default();
                Some((
                    Error::ConnectionLost(format!("the broker said goodbye{said}")),
                    line.leaving,
                ))
            }
            Happening::Error(err) => {
                let (code, reason) = (err.code, err.code.name());
                let error = err.into_error();
                if let Some(suppressed) = self.log.due(reason) {
                    let does = if code.ends_connection() {
                        "ends this connection"
                    } else {
                        "says"
                    };
                    tracing::warn!(
                        target: "daemoneye_eventbus::client",
                        reason, suppressed, "the broker {does}: {error}"
                    );
                }
                let cause = match error {
                    error if code.is_final() => error,
                    Error::ConnectionLost(_) => error,
                    error => Error::ConnectionLost(error.to_string()),
                };
                // What would be read behind it is the end of file, which says less.
                code.ends_connection().then_some((cause, code.is_final()))
            }
        }
    }
}
