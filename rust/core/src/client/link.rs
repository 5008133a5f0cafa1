//! The handle that buses, subscriptions, the host's event loop and the supervisor share.
//!
//! Lock order: `line`, then `inbound`, then `outbox`; none is held across a wait or while a waker runs that could come back here.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::config::ClientConfig;
use super::inbound::{Happening, Inbound};
use super::inbox::Inbox;
use super::outbox::{Outbox, Sent, closed};
use super::ticket::{Answer, Ticket};
use super::{runtime, supervisor};
use crate::error::{Error, Result};
use crate::queue::{DropReason, Snapshot, Wake};
use crate::transport::{Address, Stream};
use crate::wire::text::{FromClient, Id, Sub};
use crate::wire::{self, Draft};

/// One read takes at most this much.
const READ: usize = 256 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Connecting,
    Connected,
    Reconnecting,
    Closed,
}

/// What the host does after [`Link::on_readable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Keep watching.
    Open,
    /// A blocking subscription is full: stop watching; the host is woken when to go on ([`Link::resume`]).
    Paused,
    /// The connection is gone; stop watching.
    Ended,
}

/// What the host does after a flush.
pub type Flushed = Sent;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LocalStatistics {
    pub published: u64,
    /// What the subscriptions handed over and lost, those that ended included.
    pub account: Snapshot,
    /// Refused by the broker: topic, type, rights.
    pub refused: u64,
    /// Written to connections, never confirmed.
    pub unconfirmed: u64,
    pub reconnects: u64,
    pub decode_errors: u64,
    /// Accepted and not with the kernel yet.
    pub unsent: u64,
}

/// The connection itself, as the supervisor and the host see it.
pub(super) struct Line {
    pub(super) stream: Option<Arc<Stream>>,
    /// Counts connections; a host that watches an older one stops.
    generation: u64,
    pub(super) state: State,
    changes: VecDeque<State>,
    pub(super) cause: Option<Error>,
    /// BYE was sent by us: the end of the connection is no interruption.
    leaving: bool,
    /// Bytes read and not used yet.
    buf: Vec<u8>,
    filled: usize,
    paused: bool,
}

pub(super) struct Shared {
    pub(super) address: Address,
    pub(super) config: ClientConfig,
    host: Arc<dyn Wake>,
    resume: Arc<dyn Wake>,
    pub(super) line: Mutex<Line>,
    pub(super) inbound: Mutex<Inbound>,
    pub(super) outbox: Mutex<Outbox>,
    /// Tells the supervisor to look: lost, leaving, closed, flush or writability wanted.
    pub(super) notify: Notify,
    published: AtomicU64,
    refused: AtomicU64,
    reconnects: AtomicU64,
}

/// Any number of handles; [`Link::close`] ends it, dropping the last handle does too.
pub struct Link {
    shared: Arc<Shared>,
}

impl Link {
    /// Starts dialling. `host` is woken when the state, the descriptor to watch or the room in the buffer changed.
    pub fn open(address: Address, config: ClientConfig, host: Arc<dyn Wake>) -> Result<Self> {
        config.validate()?;
        let handle = runtime::handle()?;
        let shared = Arc::new_cyclic(|weak: &std::sync::Weak<Shared>| Shared {
            line: Mutex::new(Line {
                stream: None,
                generation: 0,
                state: State::Connecting,
                changes: VecDeque::from([State::Connecting]),
                cause: None,
                leaving: false,
                buf: Vec::new(),
                filled: 0,
                paused: false,
            }),
            inbound: Mutex::new(Inbound::new(config.dialect, config.max_frame)),
            outbox: Mutex::new(Outbox::new(config.send_buffer_bytes, config.max_frame)),
            notify: Notify::new(),
            published: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            resume: Arc::new(Resume(weak.clone())),
            address,
            config,
            host,
        });
        handle.spawn(supervisor::supervise(Arc::clone(&shared)));
        Ok(Self { shared })
    }

    pub fn config(&self) -> &ClientConfig {
        &self.shared.config
    }

    pub fn address(&self) -> &Address {
        &self.shared.address
    }

    pub fn state(&self) -> State {
        self.shared.line.lock().state
    }

    /// Segments that a topic may have here, as the broker last said.
    pub fn max_topic_depth(&self) -> usize {
        self.shared.outbox.lock().max_depth
    }

    /// The oldest state change nobody has seen yet.
    pub fn next_change(&self) -> Option<State> {
        self.shared.line.lock().changes.pop_front()
    }

    /// Why the link is closed, if it was not the owner's doing.
    pub fn cause(&self) -> Option<Error> {
        self.shared.line.lock().cause.clone()
    }

    /// The connection that the host should watch for reading now, with the number of that connection.
    pub fn watch(&self) -> Option<(u64, Arc<Stream>)> {
        let line = self.shared.line.lock();
        let stream = line.stream.as_ref().filter(|_| !line.paused)?;
        Some((line.generation, Arc::clone(stream)))
    }

    /// Reads once and hands over what came.
    pub fn on_readable(&self) -> Read {
        self.shared.read()
    }

    /// Goes on after [`Read::Paused`] with what was read already. `Open`: watch again.
    pub fn resume(&self) -> Read {
        let mut line = self.shared.line.lock();
        if line.stream.is_none() {
            return Read::Ended;
        }
        line.paused = false;
        self.shared.use_up(line)
    }

    /// Takes a message into the send buffer and, if it is time, writes. Sets the draft's sequence.
    pub fn publish(&self, draft: &mut Draft<'_>, waker: Option<&Arc<dyn Wake>>) -> Result<Sent> {
        let shared = &self.shared;
        let mut outbox = shared.outbox.lock();
        outbox.is_open()?;
        let (dialect, max_frame, max_depth) = (shared.config.dialect, outbox.max_frame, outbox.max_depth);
        draft.sequence = outbox.sequence;
        if !outbox.message(|out| wire::write(dialect, draft, max_frame, max_depth, out))? {
            if let Some(waker) = waker {
                outbox.wait_for_room(waker);
            }
            return Ok(Sent::Full);
        }
        outbox.sequence += 1;
        shared.published.fetch_add(1, Ordering::Relaxed);
        let sent = match outbox.after_append(draft.timestamp) {
            Sent::Written => shared.write(&mut outbox),
            later => later,
        };
        if outbox.wants_confirmation() {
            shared.notify.notify_one();
        }
        Ok(sent)
    }

    /// Writes what is buffered, as far as the kernel takes it.
    pub fn flush(&self) -> Flushed {
        let mut outbox = self.shared.outbox.lock();
        self.shared.write_and_wake(&mut outbox)
    }

    /// The descriptor is writable again. `Blocked`: wait once more.
    pub fn on_writable(&self) -> Flushed {
        let mut outbox = self.shared.outbox.lock();
        outbox.disarm();
        self.shared.write_and_wake(&mut outbox)
    }

    /// Leaves flushing, and the wait for the kernel if it was the caller's, to the supervisor: for callers without an event loop.
    pub fn flush_elsewhere(&self) {
        self.shared.outbox.lock().disarm();
        self.shared.notify.notify_one();
    }

    /// Subscribes now, and again after every reconnect, until [`unsubscribe`](Self::unsubscribe).
    pub fn subscribe(&self, inbox: Arc<Inbox>, ticket: Ticket) -> Result<u64> {
        let line = self.shared.line.lock();
        if line.state == State::Closed {
            return Err(closed(line.cause.as_ref()));
        }
        let mut inbound = self.shared.inbound.lock();
        let id = inbound.next_id();
        inbound.insert(id, inbox, Some(ticket));
        if line.state == State::Connected {
            self.shared.send_subs(&mut inbound);
        }
        self.shared.push_out();
        Ok(id)
    }

    /// Ends a subscription; `ticket` is resolved when the broker has confirmed or the connection is gone. What is in the inbox can still be
    /// read unless `discard` is given.
    pub fn unsubscribe(&self, id: u64, ticket: Ticket, discard: Option<DropReason>) {
        let line = self.shared.line.lock();
        let mut inbound = self.shared.inbound.lock();
        let Some(entry) = inbound.remove(id) else {
            return ticket.resolve(Ok(Answer::Done));
        };
        inbound.settle(&entry.inbox, discard);
        if line.state == State::Connected && entry.sent {
            inbound.questions.insert(id, ticket);
            self.shared.outbox.lock().text(&FromClient::Unsub(Id { id }).frame());
        } else {
            ticket.resolve(Ok(Answer::Done));
        }
        self.shared.push_out();
    }

    /// Asks the broker to answer behind everything published so far, over a reconnect if need be.
    pub fn ping(&self, ticket: Ticket) {
        let line = self.shared.line.lock();
        if line.state == State::Closed {
            return ticket.resolve(Err(closed(line.cause.as_ref())));
        }
        self.shared.outbox.lock().ping(Some(ticket));
        self.shared.push_out();
    }

    pub fn statistics(&self, ticket: Ticket) {
        let line = self.shared.line.lock();
        match line.state {
            State::Connected => {
                let mut inbound = self.shared.inbound.lock();
                let id = inbound.next_id();
                inbound.questions.insert(id, ticket);
                self.shared.outbox.lock().text(&FromClient::Stats(Id { id }).frame());
            }
            State::Closed => ticket.resolve(Err(closed(line.cause.as_ref()))),
            _ => ticket.resolve(Err(Error::ConnectionLost(
                "reconnecting; ask again when connected".to_owned(),
            ))),
        }
        self.shared.push_out();
    }

    /// Says BYE behind everything published so far: the broker sends what is queued and closes; then the state is `Closed`.
    pub fn leave(&self) {
        let mut line = self.shared.line.lock();
        if line.state == State::Connected && !line.leaving {
            line.leaving = true;
            self.shared.outbox.lock().text(&FromClient::Bye.frame());
        }
        self.shared.push_out();
    }

    /// Ends the link now. Inboxes can still be read to their end.
    pub fn close(&self) {
        self.shared.end(None);
    }

    pub fn local_statistics(&self) -> LocalStatistics {
        let inbound = self.shared.inbound.lock();
        let mut sum = inbound.past;
        for entry in inbound.entries.values() {
            let now = entry.inbox.queue.snapshot();
            sum.delivered += now.delivered;
            for (all, one) in sum.dropped.iter_mut().zip(now.dropped) {
                *all += one;
            }
        }
        let decode_errors = inbound.undecodable;
        let outbox = self.shared.outbox.lock();
        LocalStatistics {
            published: self.shared.published.load(Ordering::Relaxed),
            account: sum,
            refused: self.shared.refused.load(Ordering::Relaxed),
            unconfirmed: outbox.unconfirmed(),
            reconnects: self.shared.reconnects.load(Ordering::Relaxed),
            decode_errors,
            unsent: outbox.unsent(),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("address", self.address())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
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
    pub(super) const fn resume(&self) -> &Arc<dyn Wake> {
        &self.resume
    }

    fn read(&self) -> Read {
        let mut line = self.line.lock();
        let Some(stream) = line.stream.clone() else {
            return Read::Ended;
        };
        let Line { buf, filled, .. } = &mut *line;
        if buf.len() - *filled < READ / 4 {
            // A frame larger than the buffer is under way, or this is the first read.
            buf.resize((buf.len() * 2).max(READ), 0);
        }
        match stream.try_read(buf.get_mut(*filled..).unwrap_or_default()) {
            Ok(0) => {
                self.lost(
                    line,
                    Error::ConnectionLost("the broker closed the connection".to_owned()),
                    false,
                );
                Read::Ended
            }
            Ok(n) => {
                *filled += n;
                self.use_up(line)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Read::Open,
            Err(error) => {
                self.lost(line, Error::io("reading from the broker", &error), false);
                Read::Ended
            }
        }
    }

    /// Hands over what is in the read buffer.
    fn use_up(&self, mut line: parking_lot::MutexGuard<'_, Line>) -> Read {
        let mut happened = Vec::new();
        let mut inbound = self.inbound.lock();
        let used = inbound.ingest(
            line.buf.get(..line.filled).unwrap_or_default(),
            &self.resume,
            &mut happened,
        );
        drop(inbound);
        let (used, paused) = match used {
            Ok(used) => used,
            Err(error) => {
                self.lost(line, error, false);
                return Read::Ended;
            }
        };
        let filled = line.filled;
        line.buf.copy_within(used..filled, 0);
        line.filled -= used;
        line.paused = paused;
        if line.filled == 0 && line.buf.len() > READ {
            line.buf = Vec::new();
        }
        for happening in happened {
            if let Some((cause, last)) = self.happened(&line, happening) {
                self.lost(line, cause, last);
                return Read::Ended;
            }
        }
        if paused { Read::Paused } else { Read::Open }
    }

    /// Acts on what the stream said. If that ends the connection: why, and whether for good.
    fn happened(&self, line: &Line, happening: Happening) -> Option<(Error, bool)> {
        match happening {
            Happening::Ping => {
                self.outbox.lock().text(&FromClient::Pong.frame());
                self.push_out();
                None
            }
            Happening::Pong => {
                let ticket = self.outbox.lock().pong();
                if let Some(ticket) = ticket {
                    ticket.resolve(Ok(Answer::Done));
                }
                None
            }
            Happening::Refused(count) => {
                self.refused.fetch_add(count, Ordering::Relaxed);
                None
            }
            Happening::Bye(reason) => {
                let reason = reason.unwrap_or_default();
                Some((
                    Error::ConnectionLost(format!("the broker said goodbye: {reason}")),
                    line.leaving,
                ))
            }
            Happening::Error(err) => {
                let last = err.code.is_final();
                let error = err.into_error();
                tracing::warn!(target: "daemoneye_eventbus::client", %error, "the broker refused");
                last.then_some((error, true))
            }
        }
    }

    /// The connection is over: closes it, tells every subscription, and unless this is the `last` one has the supervisor dial again.
    pub(super) fn lost(&self, mut line: parking_lot::MutexGuard<'_, Line>, cause: Error, last: bool) {
        let Some(stream) = line.stream.take() else { return };
        stream.shut_down();
        (line.filled, line.paused) = (0, false);
        if line.leaving || last || !self.config.reconnect {
            let cause = (!line.leaving).then_some(cause);
            return self.end_locked(line, cause);
        }
        line.cause = Some(cause);
        self.change(&mut line, State::Reconnecting);
        self.reconnects.fetch_add(1, Ordering::Relaxed);
        let mut inbound = self.inbound.lock();
        for entry in inbound.entries.values_mut() {
            if entry.live {
                entry.inbox.interrupted();
            }
            (entry.sent, entry.live) = (false, false);
        }
        let gone: Vec<_> = inbound.questions.drain().map(|(_, ticket)| ticket).collect();
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
    pub(super) fn go_live(&self, stream: Arc<Stream>, leftover: &[u8]) {
        let mut line = self.line.lock();
        if line.state == State::Closed {
            return stream.shut_down();
        }
        line.stream = Some(stream);
        line.generation += 1;
        line.cause = None;
        line.filled = leftover.len();
        line.buf.clear();
        line.buf.extend_from_slice(leftover);
        self.change(&mut line, State::Connected);
        let mut inbound = self.inbound.lock();
        let mut outbox = self.outbox.lock();
        outbox.go_live();
        drop(outbox);
        self.send_subs(&mut inbound);
        drop(inbound);
        self.push_out();
        self.use_up(line);
        self.host.wake();
    }

    /// Appends SUB for every subscription that the present connection does not know.
    pub(super) fn send_subs(&self, inbound: &mut Inbound) {
        let mut outbox = self.outbox.lock();
        for frame in subs(inbound) {
            outbox.text(&frame);
        }
    }

    fn change(&self, line: &mut Line, state: State) {
        line.state = state;
        line.changes.push_back(state);
        // Somebody who never looks keeps the newest.
        if line.changes.len() > 64 {
            line.changes.pop_front();
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

    fn end_locked(&self, mut line: parking_lot::MutexGuard<'_, Line>, cause: Option<Error>) {
        if line.state == State::Closed {
            return;
        }
        line.cause = cause;
        self.change(&mut line, State::Closed);
        let error = closed(line.cause.as_ref());
        let mut inbound = self.inbound.lock();
        let mut tickets: Vec<Ticket> = inbound.questions.drain().map(|(_, ticket)| ticket).collect();
        let ids: Vec<u64> = inbound.entries.keys().copied().collect();
        for id in ids {
            if let Some(entry) = inbound.remove(id) {
                inbound.settle(&entry.inbox, None);
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
    }

    fn write(&self, outbox: &mut Outbox) -> Sent {
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
    fn push_out(&self) {
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

/// SUB frames of every subscription that the present connection does not know; marks them as sent.
pub(super) fn subs(inbound: &mut Inbound) -> Vec<Vec<u8>> {
    let mut unsent: Vec<_> = inbound.entries.iter_mut().filter(|(_, entry)| !entry.sent).collect();
    unsent.sort_unstable_by_key(|(id, _)| **id);
    unsent
        .into_iter()
        .map(|(id, entry)| {
            entry.sent = true;
            let asked = &entry.inbox.subscription;
            FromClient::Sub(Box::new(Sub {
                id: *id,
                subscriber_id: asked.subscriber_id.clone(),
                capabilities: asked.capabilities.clone(),
                event_filter: asked.event_filter.clone(),
                correlation_filter: asked.correlation_filter.clone(),
                topic_patterns: asked.topic_patterns.clone(),
                enable_wildcards: asked.enable_wildcards,
                include_control: asked.include_control,
            }))
            .frame()
        })
        .collect()
}
