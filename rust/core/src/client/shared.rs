//! The shared state of one link, and how its parts act on each other: a connection is lost, a new one goes live, bytes are written, the
//! link ends. What is done with received bytes is in [`reading`](super::reading).
//!
//! Lock order: `connection`, then `inbound`, then `outbox`; none is held across a wait or while a waker runs that could come back here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::config::{ClientConfig, Peer};
use super::connection::{Connection, Reader, State};
use super::inbound::Inbound;
use super::inbox::Inbox;
use super::outbox::{Outbox, Sent, closed};
use super::read_buffer::ReadBuffer;
use super::ticket::Answer;
use super::unsupported;
use crate::error::Error;
use crate::lock::{Mutex, MutexGuard};
use crate::log::Limiter;
use crate::printable::path_text;
use crate::queue::Wake;
use crate::transport::{Address, Stream};
use crate::wire::text::{Code, FromClient, Id, Sub};

const CONNECTED: &str = "connected";

pub(super) struct Shared {
    pub(super) address: Address,
    pub(super) config: ClientConfig,
    pub(super) reader: Reader,
    pub(super) host: Arc<dyn Wake>,
    pub(super) resume: Arc<dyn Wake>,
    pub(super) connection: Mutex<Connection>,
    pub(super) inbound: Mutex<Inbound>,
    pub(super) outbox: Mutex<Outbox>,
    /// Tells the supervisor to look: lost, closing, closed, flush or writability wanted.
    pub(super) notify: Notify,
    /// Something was read since the last publish, to which the next may be the reply.
    pub(super) received: AtomicBool,
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
            connection: Mutex::new(Connection::new(config.connect_timeout)),
            inbound: Mutex::new(Inbound::new(config.dialect, config.max_frame, Arc::clone(&log))),
            outbox: Mutex::new(match config.peer {
                Peer::Native => Outbox::new(config.send_buffer_bytes, config.max_frame),
                Peer::Original => Outbox::closed(unsupported::no_publishing(), config.max_frame),
            }),
            notify: Notify::new(),
            received: AtomicBool::new(false),
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

    /// The connection is over: closes it, tells every subscription, and unless this is the `last` one has the supervisor dial again.
    pub(super) fn connection_lost(&self, mut connection: MutexGuard<'_, Connection>, cause: Error, last: bool) {
        let Some(stream) = connection.stream.clone() else {
            return;
        };
        let last = last || connection.closing || !self.config.reconnect;
        // Logged first: if the log panics, the connection is still in place, and is found lost again.
        if !last && let Some(suppressed) = self.log.due("connection_lost") {
            tracing::warn!(
                target: "daemoneye_eventbus::client",
                reason = "connection_lost", path = %path_text(self.address.path()), suppressed,
                "the connection broke and is dialled again: {cause}"
            );
        }
        connection.stream = None;
        stream.shut_down();
        connection.read_buffer.reset();
        connection.paused = false;
        if last {
            let cause = (!connection.closing).then_some(cause);
            return self.end_locked(connection, cause);
        }
        connection.cause = Some(cause);
        connection.change(State::Reconnecting);
        let mut inbound = self.inbound.lock();
        inbound.forget_connection();
        let gone = inbound.take_unanswered();
        drop(inbound);
        let mut outbox = self.outbox.lock();
        let flushes = outbox.connection_lost();
        for ticket in flushes {
            outbox.ping(Some(ticket));
        }
        // What the broken connection has taken along has left room, maybe the last until there is another.
        let room = outbox.take_room();
        drop((outbox, connection));
        for waker in room {
            waker.wake();
        }
        for ticket in gone {
            // Whoever ends a subscription is content with that: it ended with the connection. Statistics have lost their answer.
            ticket.resolve(Err(Error::ConnectionLost(
                "the connection broke before the answer came".to_owned(),
            )));
        }
        self.host.wake();
        self.notify.notify_one();
    }

    /// As [`connection_lost`](Self::connection_lost), unless `stream` is lost already.
    pub(super) fn connection_lost_if_current(&self, stream: &Arc<Stream>, cause: Error) {
        let connection = self.connection.lock();
        if connection.is_of(stream) {
            self.connection_lost(connection, cause, false);
        }
    }

    /// The supervisor has a connection on which all is confirmed; messages may go out and the host may read.
    pub(super) fn go_live(&self, stream: Arc<Stream>, leftover: Vec<u8>) {
        let mut connection = self.connection.lock();
        if connection.state == State::Closed {
            self.outbox.lock().detach();
            return stream.shut_down();
        }
        if connection.state == State::Reconnecting {
            self.reconnects.fetch_add(1, Ordering::Relaxed);
        }
        connection.stream = Some(stream);
        connection.generation += 1;
        connection.cause = None;
        connection.read_buffer = ReadBuffer::from(leftover);
        connection.change(State::Connected);
        if let Some(suppressed) = self.log.due(CONNECTED) {
            tracing::info!(
                target: "daemoneye_eventbus::client",
                path = %path_text(self.address.path()), suppressed, "connected"
            );
        }
        let mut inbound = self.inbound.lock();
        let mut outbox = self.outbox.lock();
        let (too_large, max_frame) = (outbox.go_live(), outbox.max_frame);
        drop(outbox);
        self.send_subs(&mut inbound);
        let deferred = inbound.unsubscribes.take_deferred();
        drop(inbound);
        // Before any answer to what goes out can be read.
        if too_large > 0 {
            let message = format!("kept over the reconnect, and above the limit of {max_frame} bytes that it has now");
            self.note_refused(Code::FrameTooLarge, None, too_large, &message);
        }
        for id in deferred {
            self.outbox.lock().append_text(&unsub_frame(id));
        }
        self.flush();
        // Not taken before: after a panic above, the end of the link tells them.
        for ticket in connection.awaiting.take_all() {
            ticket.resolve(Ok(Answer::Done));
        }
        self.process_read(connection);
        self.host.wake();
    }

    /// An attempt failed, and others may follow. Told to those whose time is over, and to all if time does not change it (`lasts`).
    pub(super) fn attempt_failed(&self, cause: Error, lasts: bool) {
        let mut connection = self.connection.lock();
        if connection.state == State::Closed {
            return;
        }
        if lasts {
            for ticket in connection.awaiting.take_all() {
                ticket.resolve(Err(cause.clone()));
            }
        }
        connection.cause = Some(cause);
        drop(connection);
        self.give_up_late(Instant::now());
    }

    /// Those whose time was over at `now` wait no longer. The link ends if none has ever come to a connection, and nobody is left.
    pub(super) fn give_up_late(&self, now: Instant) {
        let mut connection = self.connection.lock();
        let cause = connection.cause.as_ref();
        let error = Error::ConnectTimeout {
            path: self.address.path().to_owned(),
            timeout: self.config.connect_timeout,
            cause: cause.map_or_else(|| "an attempt is still under way".to_owned(), Error::to_string),
            busy: matches!(cause, Some(Error::BrokerBusy(_))),
        };
        for ticket in connection.awaiting.take_late(now) {
            ticket.resolve(Err(error.clone()));
        }
        if connection.state == State::Connecting && connection.awaiting.give_up() <= now {
            self.end_locked(connection, Some(error));
        }
    }

    pub(super) fn note_refused(&self, code: Code, topic: Option<&str>, messages: u64, why: &str) {
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

    /// Appends the SUBs that are to be sent now.
    pub(super) fn send_subs(&self, inbound: &mut Inbound) {
        if self.is_original() {
            return inbound.confirm_all();
        }
        let mut outbox = self.outbox.lock();
        for frame in sub_frames(inbound.take_unsent()) {
            outbox.append_text(&frame);
        }
    }

    /// Redialling fails for a reason that may last.
    pub(super) fn log_unreachable(&self, cause: &Error) {
        if let Some(suppressed) = self.log.due("unreachable") {
            tracing::warn!(
                target: "daemoneye_eventbus::client",
                reason = "unreachable", path = %path_text(self.address.path()), suppressed,
                "the broker cannot be dialled now: {cause}"
            );
        }
    }

    /// Reports suppressed lines that no later line will soon report.
    pub(super) fn log_suppressed(left_out: Vec<(&'static str, u64)>) {
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

    /// Ends the link for its owner, without a wait. What the kernel has for it is processed first.
    pub(super) fn close(&self) {
        // An original broker is read by the supervisor, which may have a part of it in its hands.
        if !self.is_original() {
            let mut connection = self.connection.lock();
            // If its end is found here, this side has caused it.
            connection.closing = true;
            #[cfg(target_os = "linux")]
            if let Some(stream) = &connection.stream {
                stream.stop_receiving();
            }
            self.read_rest(connection);
        }
        self.end(None);
    }

    /// The same for an owner that has forgotten it, and so cannot ask what was not sent.
    pub(super) fn close_forgotten(&self) {
        // Before: one that the kernel has in part counts as written at the end of its connection.
        let unsent = self.outbox.lock().unsent();
        self.close();
        if unsent > 0 {
            tracing::warn!(
                target: "daemoneye_eventbus::client",
                messages = unsent, path = %path_text(self.address.path()),
                "published messages were not sent: their bus was forgotten; shut it down, or use async with"
            );
        }
    }

    /// Ends the link for good; `cause` is `None` when its owner closed it.
    pub(super) fn end(&self, cause: Option<Error>) {
        let mut connection = self.connection.lock();
        if let Some(stream) = connection.stream.take() {
            stream.shut_down();
        }
        self.end_locked(connection, cause);
    }

    /// Ends the link after a panic. Another one is caught here: it would end the process, or other links.
    pub(super) fn end_after_panic(&self) {
        let cause = Error::ConnectionLost("by a defect of this client; please report it".to_owned());
        let _reported = catch_unwind(AssertUnwindSafe(|| self.end(Some(cause))));
    }

    fn end_locked(&self, mut connection: MutexGuard<'_, Connection>, cause: Option<Error>) {
        if connection.state == State::Closed {
            return;
        }
        connection.cause = cause;
        connection.change(State::Closed);
        let error = closed(connection.cause.as_ref());
        let mut inbound = self.inbound.lock();
        let mut tickets = connection.awaiting.take_all();
        tickets.extend(inbound.take_unanswered());
        for id in inbound.subscriptions.ids() {
            if let Some(entry) = inbound.remove(id) {
                inbound.close_inbox(&entry.inbox, None);
                entry.inbox.detach();
                tickets.extend(entry.ticket);
            }
        }
        drop(inbound);
        let mut outbox = self.outbox.lock();
        tickets.extend(outbox.connection_lost());
        outbox.close(error.clone());
        let waiting = outbox.take_all_waiters();
        drop((outbox, connection));
        for ticket in tickets {
            ticket.resolve(Err(error.clone()));
        }
        for waker in waiting {
            waker.wake();
        }
        self.host.wake();
        self.notify.notify_one();
        // Last, when all have been told: a log may panic.
        Self::log_suppressed(self.log.take_rest());
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
    pub(super) fn flush(&self) {
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

/// The UNSUB of subscription `id`.
pub(super) fn unsub_frame(id: u64) -> Vec<u8> {
    FromClient::Unsub(Id { id }).frame()
}

/// The SUBs of these subscriptions.
pub(super) fn sub_frames(asked: Vec<(u64, Arc<Inbox>)>) -> impl Iterator<Item = Vec<u8>> {
    let ask = |(id, inbox): (u64, Arc<Inbox>)| Sub::new(id, inbox.subscription.clone());
    let frame = |sub| FromClient::Sub(Box::new(sub)).frame();
    asked.into_iter().map(ask).map(frame)
}
