//! What stands behind every handle of one link, and how the parts act on each other: bytes that came in, a connection that was lost, a new
//! one that goes live, the end.
//!
//! Lock order: `line`, then `inbound`, then `outbox`; none is held across a wait or while a waker runs that could come back here.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use super::config::{ClientConfig, Peer};
use super::inbound::{Happening, Inbound};
use super::inbox::Inbox;
use super::line::{Line, Read, Reader, State, Unused};
use super::original;
use super::outbox::{Outbox, Sent, closed};
use super::ticket::Answer;
use crate::error::Error;
use crate::lock::{Mutex, MutexGuard};
use crate::log::Limiter;
use crate::queue::Wake;
use crate::shown::shown;
use crate::transport::{Address, Stream};
use crate::wire::text::{Code, FromClient, Id, Overflow, Sub};

const CONNECTED: &str = "connected";
/// Reads of a connection that is over: more than a kernel holds of it.
const MOST_LAST_READS: usize = 64;

pub(super) struct Shared {
    pub(super) address: Address,
    pub(super) config: ClientConfig,
    pub(super) reader: Reader,
    pub(super) host: Arc<dyn Wake>,
    pub(super) resume: Arc<dyn Wake>,
    pub(super) line: Mutex<Line>,
    pub(super) inbound: Mutex<Inbound>,
    pub(super) outbox: Mutex<Outbox>,
    /// Tells the supervisor to look: lost, leaving, closed, flush or writability wanted.
    pub(super) notify: Notify,
    /// Something was read since the last publish, which may be what that answers.
    pub(super) heard: AtomicBool,
    pub(super) refused: AtomicU64,
    pub(super) reconnects: AtomicU64,
    /// Shared with the receiving half, so that one place tells what either left out.
    pub(super) log: Arc<Limiter>,
}

/// Wakes the host when a blocking inbox has room again.
struct Resume(std::sync::Weak<Shared>);

impl Wake for Resume {
    fn wake(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.host.wake();
        }
    }
}

impl Shared {
    pub(super) fn new(address: Address, config: ClientConfig, reader: Reader, host: Arc<dyn Wake>) -> Arc<Self> {
        let log = Arc::new(Limiter::default());
        Arc::new_cyclic(|weak: &std::sync::Weak<Shared>| Shared {
            line: Mutex::new(Line::new()),
            inbound: Mutex::new(Inbound::new(config.dialect, config.max_frame, Arc::clone(&log))),
            outbox: Mutex::new(match config.peer {
                Peer::Native => Outbox::new(config.send_buffer_bytes, config.max_frame),
                Peer::Original => Outbox::closed(original::no_publishing(), config.max_frame),
            }),
            notify: Notify::new(),
            heard: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            log,
            resume: Arc::new(Resume(weak.clone())),
            address,
            config,
            reader,
            host,
        })
    }

    pub(super) fn is_original(&self) -> bool {
        self.config.peer == Peer::Original
    }

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

    /// Unless that connection has been lost already.
    pub(super) fn lost_unless_known(&self, stream: &Arc<Stream>, cause: Error) {
        let line = self.line.lock();
        if line.is_of(stream) {
            self.lost(line, cause, false);
        }
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
                let said = reason.map(|reason| format!(": {}", shown(&reason))).unwrap_or_default();
                Some((
                    Error::ConnectionLost(format!("the broker said goodbye{said}")),
                    line.leaving,
                ))
            }
            Happening::Error(err) => {
                let (code, reason) = (err.code, err.code.name());
                let error = err.into_error();
                if let Some(suppressed) = self.log.due(reason) {
                    let does = if code.is_last_word() {
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
                code.is_last_word().then_some((cause, code.is_final()))
            }
        }
    }

    /// The connection is over: closes it, tells every subscription, and unless this is the `last` one has the supervisor dial again.
    pub(super) fn lost(&self, mut line: MutexGuard<'_, Line>, cause: Error, last: bool) {
        let Some(stream) = line.stream.clone() else { return };
        let last = last || line.leaving || !self.config.reconnect;
        // Said before anything is done: a log that panics leaves a connection that is found lost once more.
        if !last && let Some(suppressed) = self.log.due("connection_lost") {
            tracing::warn!(
                target: "daemoneye_eventbus::client",
                reason = "connection_lost", path = %self.address.path().display(), suppressed,
                "the connection broke and is dialled again: {cause}"
            );
        }
        line.stream = None;
        stream.shut_down();
        line.unused.reset();
        line.paused = false;
        if last {
            let cause = (!line.leaving).then_some(cause);
            return self.end_locked(line, cause);
        }
        line.cause = Some(cause);
        line.change(State::Reconnecting);
        let mut inbound = self.inbound.lock();
        inbound.unsend_all();
        let gone = inbound.give_up_answers();
        drop(inbound);
        let mut outbox = self.outbox.lock();
        let flushes = outbox.lose();
        for ticket in flushes {
            outbox.ping(Some(ticket));
        }
        drop((outbox, line));
        for ticket in gone {
            // An UNSUB is done when the connection is; a question about statistics has lost its answer.
            ticket.resolve(Err(Error::ConnectionLost(
                "the connection broke before the answer came".to_owned(),
            )));
        }
        self.host.wake();
        self.notify.notify_one();
    }

    /// The supervisor has a connection and the broker's word; messages may go out and the host may read.
    pub(super) fn go_live(&self, stream: Arc<Stream>, leftover: Vec<u8>) {
        let mut line = self.line.lock();
        if line.state == State::Closed {
            self.outbox.lock().forsake();
            return stream.shut_down();
        }
        if line.state == State::Reconnecting {
            self.reconnects.fetch_add(1, Ordering::Relaxed);
        }
        line.stream = Some(stream);
        line.generation += 1;
        line.cause = None;
        line.unused = Unused::from(leftover);
        line.change(State::Connected);
        if let Some(suppressed) = self.log.due(CONNECTED) {
            tracing::info!(
                target: "daemoneye_eventbus::client",
                path = %self.address.path().display(), suppressed, "connected"
            );
        }
        let mut inbound = self.inbound.lock();
        let mut outbox = self.outbox.lock();
        let (too_large, max_frame) = (outbox.go_live(), outbox.max_frame);
        drop(outbox);
        self.send_subs(&mut inbound);
        let unsaid = inbound.leaving.say_unsaid();
        drop(inbound);
        // Before any answer to what goes out can be read.
        if too_large > 0 {
            let message = format!("kept over the reconnect, and above the limit of {max_frame} bytes that it has now");
            self.note_refused(Code::FrameTooLarge, None, too_large, &message);
        }
        for id in unsaid {
            self.outbox.lock().text(&unsub(id));
        }
        self.push_out();
        self.use_up(line);
        self.host.wake();
    }

    fn note_refused(&self, code: Code, topic: Option<&str>, messages: u64, why: &str) {
        // A broker says how many, and may say any number.
        let more = |refused: u64| Some(refused.saturating_add(messages));
        let _before = self.refused.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        if let Some(suppressed) = self.log.due(code.name()) {
            tracing::warn!(
                target: "daemoneye_eventbus::client",
                reason = code.name(), topic, messages, suppressed, "the broker refused what was published: {why}"
            );
        }
    }

    /// Appends SUB for the subscriptions that the present connection does not know and has room for.
    pub(super) fn send_subs(&self, inbound: &mut Inbound) {
        if self.is_original() {
            return inbound.confirm_all();
        }
        let mut outbox = self.outbox.lock();
        for frame in subs(inbound.send_some()) {
            outbox.text(&frame);
        }
    }

    /// What keeps a connection from being dialled again lasts, as far as anybody knows.
    pub(super) fn log_unreachable(&self, cause: &Error) {
        if let Some(suppressed) = self.log.due("unreachable") {
            tracing::warn!(
                target: "daemoneye_eventbus::client",
                reason = "unreachable", path = %self.address.path().display(), suppressed,
                "the broker cannot be dialled now: {cause}"
            );
        }
    }

    /// What the log left out, where no later line will tell it soon.
    pub(super) fn log_left_out(left_out: Vec<(&'static str, u64)>) {
        for (reason, suppressed) in left_out {
            // That it worked again is no warning.
            if reason == CONNECTED {
                tracing::info!(target: "daemoneye_eventbus::client", suppressed, "connected, and said so once");
            } else {
                tracing::warn!(
                    target: "daemoneye_eventbus::client",
                    reason, suppressed, "more of the same, each counted and not logged"
                );
            }
        }
    }

    /// Ends the link for good; `cause` is `None` when its owner closed it.
    pub(super) fn end(&self, cause: Option<Error>) {
        let mut line = self.line.lock();
        if let Some(stream) = line.stream.take() {
            stream.shut_down();
        }
        self.end_locked(line, cause);
    }

    /// Ends the link for a panic that happened; another one here is stopped here, since it would end the process, or cost other links.
    pub(super) fn end_by_defect(&self) {
        let cause = Error::ConnectionLost("by a defect of this client; please report it".to_owned());
        let _reported = catch_unwind(AssertUnwindSafe(|| self.end(Some(cause))));
    }

    fn end_locked(&self, mut line: MutexGuard<'_, Line>, cause: Option<Error>) {
        if line.state == State::Closed {
            return;
        }
        line.cause = cause;
        line.change(State::Closed);
        let error = closed(line.cause.as_ref());
        let mut inbound = self.inbound.lock();
        let mut tickets = inbound.give_up_answers();
        for id in inbound.entries.ids() {
            if let Some(entry) = inbound.remove(id) {
                inbound.settle(&entry.inbox, None);
                entry.inbox.starve();
                tickets.extend(entry.ticket);
            }
        }
        drop(inbound);
        let mut outbox = self.outbox.lock();
        tickets.extend(outbox.lose());
        outbox.close(error.clone());
        let waiting = outbox.take_waiting();
        drop((outbox, line));
        for ticket in tickets {
            ticket.resolve(Err(error.clone()));
        }
        for waker in waiting {
            waker.wake();
        }
        self.host.wake();
        self.notify.notify_one();
        // Last, when all have been told: a log may panic.
        Self::log_left_out(self.log.rest());
    }

    pub(super) fn write(&self, outbox: &mut Outbox) -> Sent {
        let Some(stream) = outbox.stream.clone() else {
            return Sent::Waiting;
        };
        match outbox.write_to(|slices| stream.try_write(slices)) {
            Ok(sent) => sent,
            Err(_) => {
                // Judged by the reader, who may find an ERR that explains it; the supervisor sees to it that somebody reads.
                self.notify.notify_one();
                Sent::Waiting
            }
        }
    }

    /// Writes what is buffered; the wait for the kernel, if there is one, is the supervisor's.
    pub(super) fn push_out(&self) {
        let mut outbox = self.outbox.lock();
        if self.write_and_wake(&mut outbox) == Sent::Blocked {
            outbox.disarm();
            self.notify.notify_one();
        }
    }

    pub(super) fn write_and_wake(&self, outbox: &mut Outbox) -> Sent {
        let sent = self.write(outbox);
        for waker in outbox.take_room() {
            waker.wake();
        }
        sent
    }
}

/// The text that ends it.
pub(super) fn unsub(id: u64) -> Vec<u8> {
    FromClient::Unsub(Id { id }).frame()
}

/// The texts that ask for them.
pub(super) fn subs(asked: Vec<(u64, Arc<Inbox>)>) -> impl Iterator<Item = Vec<u8>> {
    let ask = |(id, inbox): (u64, Arc<Inbox>)| Sub::new(id, inbox.subscription.clone());
    let frame = |sub| FromClient::Sub(Box::new(sub)).frame();
    asked.into_iter().map(ask).map(frame)
}
