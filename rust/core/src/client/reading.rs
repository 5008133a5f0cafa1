//! From the socket to the subscriptions and to those who wait for answers: whoever reads the connection (the host, the supervisor, or
//! whoever has found its end) does it here.
//!
//! Guarantee: all that came is delivered, in order, before the connection is given up for what came behind it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::connection::{Connection, Read};
use super::inbound::{ControlEvent, Inbound};
use super::outbox::Outbox;
use super::shared::Shared;
use super::ticket::Answer;
use crate::error::Error;
use crate::lock::MutexGuard;
use crate::printable::printable;
use crate::transport::{Peer, Stream};
use crate::wire::text::{FromClient, Overflow};

/// How often the broker is told at most that messages are taken, though nothing is read.
const TELL_TAKEN: Duration = Duration::from_millis(250);
/// Reads of a connection that is over: more than a kernel holds of it.
const MAX_FINAL_READS: usize = 64;

impl Shared {
    pub(super) fn read(&self) -> Read {
        self.try_read().unwrap_or(Read::Open)
    }

    /// `Err` is `WouldBlock`, and nothing else.
    pub(super) fn try_read(&self) -> io::Result<Read> {
        let mut connection = self.connection.lock();
        let Some(stream) = connection.stream.clone() else {
            return Ok(Read::Ended);
        };
        let read = match connection.read_buffer.spare() {
            Ok(room) => stream.try_read(room),
            Err(error) => {
                self.connection_lost(connection, error, false);
                return Ok(Read::Ended);
            }
        };
        let cause = match read {
            Ok(0) => self.closed_without_reason(),
            Ok(n) => {
                connection.read_buffer.advance(n);
                self.received.store(true, Ordering::Relaxed);
                return Ok(self.process_read(connection));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            Err(error) => self.read_failed(&error),
        };
        self.connection_lost(connection, cause, false);
        Ok(Read::Ended)
    }

    /// The error for a read that failed.
    pub(super) fn read_failed(&self, cause: &io::Error) -> Error {
        match cause.kind() {
            // Closed with something of ours unread.
            io::ErrorKind::ConnectionReset => self.closed_without_reason(),
            _ => Error::ConnectionLost(format!("reading from the broker: {cause}")),
        }
    }

    /// The error for an end of the stream with no ERR or BYE before it.
    pub(super) fn closed_without_reason(&self) -> Error {
        let closed = "the broker closed the connection";
        Error::ConnectionLost(match self.config.broker_overflow {
            Overflow::Disconnect if !self.is_original() => format!(
                "{closed} and could not say why, perhaps because its queue for this bus was full \
                 (broker_overflow=\"disconnect\") and nothing was read for its write_timeout; read sooner, or choose another"
            ),
            _ => closed.to_owned(),
        })
    }

    /// Processes what somebody else has read.
    pub(super) fn feed(&self, mut connection: MutexGuard<'_, Connection>, data: &[u8]) {
        if let Err(error) = connection.read_buffer.append(data) {
            return self.connection_lost(connection, error, false);
        }
        self.process_read(connection);
    }

    /// Processes what is in the read buffer.
    pub(super) fn process_read(&self, mut connection: MutexGuard<'_, Connection>) -> Read {
        let mut events = Vec::new();
        let mut inbound = self.inbound.lock();
        let frame = connection.read_buffer.take_frame();
        let data = frame.as_deref().unwrap_or(connection.read_buffer.unprocessed());
        let used = if self.is_original() {
            inbound.ingest_original(data, &mut events).map(|used| (used, false))
        } else {
            inbound.ingest(data, frame.as_ref(), &self.resume, &mut events)
        };
        drop(inbound);
        let (read, broken) = match used {
            Ok((used, paused)) => {
                match frame {
                    None => connection.read_buffer.consume(used),
                    Some(frame) if used == 0 => connection.read_buffer.put_back(frame),
                    Some(_) => {}
                }
                connection.paused = paused;
                (if paused { Read::Paused } else { Read::Open }, None)
            }
            Err(error) => (Read::Ended, Some(error)),
        };
        // Also what came before an invalid frame: it may say why.
        for event in events {
            if let Some((cause, last)) = self.handle_control(&connection, event) {
                self.connection_lost(connection, cause, last);
                return Read::Ended;
            }
        }
        if let Some(error) = broken {
            self.connection_lost(connection, error, false);
        }
        read
    }

    /// Tells the broker, from time to time, that messages are taken of the subscription that keeps the connection from being read. What was
    /// read ahead, and what the kernel holds, may last its reader for longer than the broker waits for one, which would count as stalled.
    /// Not at each message, or when one has made room: a much larger one may wait behind those that are taken.
    pub(super) fn tell_taken(&self, connection: &mut Connection, inbound: &Inbound, outbox: &mut Outbox) {
        let is_due = |told: Instant| told.elapsed() >= TELL_TAKEN;
        if connection.paused
            && connection.told_taken.is_none_or(is_due)
            && let Some(inbox) = inbound.held_inbox()
            && inbox.tell_taken(|| outbox.taken())
        {
            connection.told_taken = Some(Instant::now());
        }
    }

    /// Reads and processes what has come already. Nobody is waited for any more.
    pub(super) fn read_rest(&self, connection: MutexGuard<'_, Connection>) {
        if connection.stream.is_none() {
            return;
        }
        self.inbound.lock().begin_final_read();
        let mut read = self.process_read(connection);
        // Where the broker can still send, it must not keep us here.
        for _ in 0..MAX_FINAL_READS {
            if read != Read::Open {
                break;
            }
            read = self.try_read().unwrap_or(Read::Ended);
        }
    }

    /// The connection `stream` is found to be over while nobody reads it: what came before is processed first, as a reader would have
    /// done, and may say more of the end. True if the end has not been read yet.
    pub(super) fn final_read(&self, stream: &Arc<Stream>) -> bool {
        let connection = self.connection.lock();
        // If a reader has found it already, what follows would concern the next connection.
        if !connection.is_of(stream) {
            return false;
        }
        self.read_rest(connection);
        self.connection.lock().is_of(stream)
    }

    /// Acts on `event`. If that ends the connection: why, and whether for good.
    fn handle_control(&self, connection: &Connection, event: ControlEvent) -> Option<(Error, bool)> {
        match event {
            ControlEvent::Ping => {
                self.outbox.lock().keep_alive();
                self.flush();
                None
            }
            ControlEvent::Pong => {
                let (tickets, pinged) = self.outbox.lock().pong();
                for ticket in tickets {
                    ticket.resolve(Ok(Answer::Done));
                }
                if pinged {
                    self.flush();
                }
                None
            }
            ControlEvent::SendStats(stats) => {
                self.outbox.lock().append_text(&FromClient::Stats(stats).frame());
                self.flush();
                None
            }
            ControlEvent::SubscribeMore => {
                self.send_subs(&mut self.inbound.lock());
                self.flush();
                None
            }
            ControlEvent::Refused(err) => {
                self.note_refused(err.code, err.topic.as_deref(), err.count.unwrap_or(1), &err.message);
                None
            }
            ControlEvent::Bye(reason) => {
                let said = reason
                    .map(|reason| format!(": {}", printable(&reason)))
                    .unwrap_or_default();
                Some((
                    Error::ConnectionLost(format!("the broker said goodbye{said}")),
                    connection.closing,
                ))
            }
            ControlEvent::Error(err) => {
                let (code, reason) = (err.code, err.code.name());
                let error = err.into_error(Peer::own_uid());
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
