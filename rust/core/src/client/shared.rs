//! What stands behind every handle of one link, and how the parts act on each other: a connection that was lost, a new one that goes live,
//! bytes that go out, the end. Bytes that came in are next door ([`reading`](super::reading)).
//!
//! Lock order: `line`, then `inbound`, then `outbox`; none is held across a wait or while a waker runs that could come back here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use super::config::{ClientConfig, Peer};
use super::inbound::Inbound;
use super::inbox::Inbox;
use super::line::{Line, Reader, State, Unused};
use super::outbox::{Outbox, Sent, closed};
use super::unsupported;
use crate::error::Error;
use crate::lock::{Mutex, MutexGuard};
use crate::log::Limiter;
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
                Peer::Original => Outbox::closed(unsupported::no_publishing(), config.max_frame),
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

    /// Unless that connection has been lost already.
    pub(super) fn lost_unless_known(&self, stream: &Arc<Stream>, cause: Error) {
        let line = self.line.lock();
        if line.is_of(stream) {
            self.lost(line, cause, false);
        }
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
        Self::log_left_out(self.log.take_rest());
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
