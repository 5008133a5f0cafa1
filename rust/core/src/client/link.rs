//! What buses, subscriptions and the host's event loop do with a connection.
//!
//! Nothing here waits: what takes time is answered by a [`Ticket`], or its end is seen in the [`State`]. Every call may come from any
//! thread; `on_readable`, `flush` and `on_writable` are the host's.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::config::ClientConfig;
use super::connection::{Read, Reader, State};
use super::inbox::Inbox;
use super::outbox::{Fit, Sent, closed};
use super::shared::{Shared, unsub_frame};
use super::ticket::{Answer, Ticket};
use super::{runtime, unsupported};
use crate::error::{Error, Result};
use crate::event::Timestamp;
use crate::printable::path_text;
use crate::queue::{DropReason, Wake};
use crate::transport::{Address, Stream};
use crate::wire::text::{FromClient, Stats, Sub};
use crate::wire::{self, Draft};

/// As long as a bus that is shut down waits for its broker.
const FORGOTTEN_TIMEOUT: Duration = Duration::from_secs(2);

/// What a link has counted since it was opened. What its subscriptions delivered and lost is counted by their queues.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LocalStatistics {
    /// Messages that were ever accepted.
    pub published: u64,
    /// Refused by the broker: topic, type, rights.
    pub refused: u64,
    /// Written to connections, never confirmed.
    pub unconfirmed: u64,
    /// How often a lost connection was replaced.
    pub reconnects: u64,
    /// Frames of the broker that are no message, and those that it had sent before it answered CONNECT.
    pub decode_errors: u64,
    /// Accepted and not with the kernel yet.
    pub unsent: u64,
}

/// One connection, for any number of threads by reference. [`Link::close`] ends it, and so does dropping it, which reads nothing more,
/// unless [`Link::forget`] was called.
pub struct Link {
    shared: Arc<Shared>,
}

impl Link {
    /// Starts dialling. `host` is woken when the state, the descriptor to watch or the room in the buffer changed.
    pub fn open(address: Address, config: ClientConfig, reader: Reader, host: Arc<dyn Wake>) -> Result<Self> {
        config.validate()?;
        let shared = Shared::new(address, config, reader, host);
        runtime::supervise(&shared)?;
        Ok(Self { shared })
    }

    pub fn config(&self) -> &ClientConfig {
        &self.shared.config
    }

    pub fn address(&self) -> &Address {
        &self.shared.address
    }

    pub fn state(&self) -> State {
        self.shared.connection.lock().state
    }

    /// Resolves `ticket` when the link is connected, or with why it is not, `connect_timeout` from now at the latest.
    pub fn wait_connected(&self, ticket: Ticket) {
        let mut connection = self.shared.connection.lock();
        match connection.state {
            State::Connected => ticket.resolve(Ok(Answer::Done)),
            State::Closed => ticket.resolve(Err(closed(connection.cause.as_ref()))),
            State::Connecting | State::Reconnecting => {
                connection.awaiting.join(ticket);
                drop(connection);
                self.shared.notify.notify_one();
            }
        }
    }

    /// Segments that a topic may have here, as the broker last said.
    pub fn max_topic_depth(&self) -> usize {
        self.shared.outbox.lock().topics.max_depth()
    }

    /// The oldest state change nobody has seen yet.
    pub fn next_change(&self) -> Option<State> {
        self.shared.connection.lock().changes.pop_front()
    }

    /// Why the link is closed, if it was not the owner's doing.
    pub fn cause(&self) -> Option<Error> {
        self.shared.connection.lock().cause.clone()
    }

    /// The connection that the host should watch for reading now, with the number of that connection.
    pub fn watch(&self) -> Option<(u64, Arc<Stream>)> {
        let connection = self.shared.connection.lock();
        // An original broker is read by the supervisor.
        let stream = connection
            .stream
            .as_ref()
            .filter(|_| !connection.paused && !self.shared.is_original())?;
        Some((connection.generation, Arc::clone(stream)))
    }

    /// Reads once and processes what came; for [`Reader::Host`].
    pub fn on_readable(&self) -> Read {
        self.shared.read()
    }

    /// Goes on after [`Read::Paused`] with what was read already. `Open`: watch again.
    pub fn resume(&self) -> Read {
        let mut connection = self.shared.connection.lock();
        if connection.stream.is_none() {
            return Read::Ended;
        }
        connection.paused = false;
        let read = self.shared.process_read(connection);
        if self.shared.reader == Reader::Link {
            self.shared.notify.notify_one();
        }
        read
    }

    /// Takes a message into the send buffer and, if it is time, writes. Sets the draft's sequence; gives the size of its frame as well.
    pub fn publish(&self, draft: &mut Draft<'_>, waker: Option<&Arc<dyn Wake>>) -> Result<(Sent, usize)> {
        let shared = &self.shared;
        let mut outbox = shared.outbox.lock();
        outbox.is_open()?;
        let (dialect, max_frame) = (shared.config.dialect, outbox.max_frame);
        draft.sequence = outbox.sequence;
        let size = match outbox.append_message(|out, topics| wire::write(dialect, draft, max_frame, topics, out))? {
            Fit::Taken(size) => size,
            Fit::Needs(size) => {
                if let Some(waker) = waker {
                    outbox.wait_for_room(waker, size);
                }
                return Ok((Sent::Full, size));
            }
        };
        outbox.sequence += 1;
        // What may be a reply to what was just read is not held back.
        let answers = shared.received.load(Ordering::Relaxed);
        if answers {
            shared.received.store(false, Ordering::Relaxed);
        }
        let sent = match outbox.after_append(draft.timestamp, answers) {
            Sent::Written => shared.write(&mut outbox),
            later => later,
        };
        if outbox.wants_supervisor(sent) {
            shared.notify.notify_one();
        }
        Ok((sent, size))
    }

    /// The end of a turn of the host's loop: writes what is buffered, as far as the kernel takes it. `Buffered`: those of the
    /// next turn are to share the write; call again at its end. Never `Full`.
    pub fn flush(&self) -> Sent {
        let mut outbox = self.shared.outbox.lock();
        if !outbox.flush_is_due(Timestamp::now()) {
            return Sent::Buffered;
        }
        self.shared.write_and_wake(&mut outbox)
    }

    /// The descriptor is writable again. `Blocked`: wait once more. Never `Buffered` or `Full`.
    pub fn on_writable(&self) -> Sent {
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
        let connection = self.shared.connection.lock();
        if connection.state == State::Closed {
            return Err(closed(connection.cause.as_ref()));
        }
        let mut inbound = self.shared.inbound.lock();
        let id = inbound.next_id();
        // The broker would cut the connection for it, and again each time it is dialled.
        Sub::frame_of(id, &inbox.subscription)?;
        inbound.insert(id, inbox, Some(ticket));
        if connection.state == State::Connected {
            self.shared.send_subs(&mut inbound);
        }
        self.shared.flush();
        // While this subscription keeps the connection from being read, the supervisor checks whether its broker is still there.
        self.shared.notify.notify_one();
        Ok(id)
    }

    /// Ends the subscription `id` with its `inbox`, which is its owner's also where the link or the broker has ended it before. `ticket` is
    /// resolved when the broker has confirmed, or with [`Error::ConnectionLost`] when the connection is gone, and the subscription with it.
    /// What is in the inbox can still be read unless `discard` is given.
    pub fn unsubscribe(&self, id: u64, inbox: &Inbox, ticket: Ticket, discard: Option<DropReason>) {
        let connection = self.shared.connection.lock();
        let mut inbound = self.shared.inbound.lock();
        let entry = inbound.remove(id);
        inbound.close_inbox(inbox, discard);
        let Some(entry) = entry else {
            return ticket.resolve(Ok(Answer::Done));
        };
        let asked = entry.sent && !self.shared.is_original();
        if asked && connection.state == State::Connected {
            inbound.begin_unsubscribe(id, entry, Some(ticket));
            self.shared.outbox.lock().append_text(&unsub_frame(id));
        } else {
            // A connection that is being made may have been asked for it already.
            if asked {
                inbound.begin_deferred_unsubscribe(id, entry);
            } else {
                entry.inbox.detach();
            }
            ticket.resolve(Ok(Answer::Done));
        }
        self.shared.flush();
    }

    /// Asks the broker to answer behind everything published so far, over a reconnect if need be.
    pub fn ping(&self, ticket: Ticket) {
        let connection = self.shared.connection.lock();
        if connection.state == State::Closed {
            return ticket.resolve(Err(closed(connection.cause.as_ref())));
        }
        if self.shared.is_original() {
            // Nothing was published, so everything was routed.
            return ticket.resolve(Ok(Answer::Done));
        }
        self.shared.outbox.lock().ping(Some(ticket));
        self.shared.flush();
    }

    /// Sends `request`; its id is chosen here. A broker that does not know `detail` and `clients` answers with the five numbers.
    pub fn statistics(&self, request: Stats, ticket: Ticket) {
        let connection = self.shared.connection.lock();
        match connection.state {
            State::Connecting | State::Connected | State::Reconnecting if self.shared.is_original() => {
                ticket.resolve(Err(unsupported::no_statistics()));
            }
            State::Connected => {
                let mut inbound = self.shared.inbound.lock();
                let id = inbound.next_id();
                if let Some(now) = inbound.requests.submit(Stats { id, ..request }, ticket) {
                    self.shared.outbox.lock().append_text(&FromClient::Stats(now).frame());
                }
            }
            State::Closed => ticket.resolve(Err(closed(connection.cause.as_ref()))),
            State::Connecting => ticket.resolve(not_connected("not connected yet; ask again when connected")),
            State::Reconnecting => ticket.resolve(not_connected("reconnecting; ask again when connected")),
        }
        self.shared.flush();
    }

    /// Says BYE behind everything published so far: the broker sends what is queued and closes; then the state is `Closed`.
    pub fn leave(&self) {
        if self.shared.is_original() {
            // It knows no goodbye, and there is nothing to wait for.
            return self.close();
        }
        let mut connection = self.shared.connection.lock();
        if connection.state == State::Connected && !connection.closing {
            connection.closing = true;
            self.shared.outbox.lock().append_text(&FromClient::Bye.frame());
        }
        self.shared.flush();
    }

    /// Ends the link now, without a wait. What the kernel has for it is processed first: inboxes can still be read to their end, and
    /// subscriptions that were ended before count it as lost.
    pub fn close(&self) {
        self.shared.close();
    }

    /// The same for an owner that has forgotten it. Does not wait: what the kernel does not take at once, the supervisor writes as soon as
    /// it does, for 2 s at most. What is not sent then, or not on this connection, is logged.
    pub fn forget(&self) {
        let mut connection = self.shared.connection.lock();
        let is_connected = connection.state == State::Connected;
        if is_connected {
            connection.closing = true;
            connection.forgotten = Some(Instant::now() + FORGOTTEN_TIMEOUT);
        }
        drop(connection);
        self.shared.outbox.lock().disarm();
        self.shared.flush();
        if is_connected && self.shared.outbox.lock().unsent() > 0 {
            self.shared.notify.notify_one();
        } else {
            self.shared.close_forgotten();
        }
    }

    /// The same for a host that cannot watch the descriptor, so that nobody would ever read.
    pub fn cannot_watch(&self, cause: String, errno: Option<i32>) {
        let action = format!("watch the connection to {}", path_text(self.address().path()));
        self.shared.end(Some(Error::Io { action, cause, errno }));
    }

    pub fn local_statistics(&self) -> LocalStatistics {
        let decode_errors = self.shared.inbound.lock().decode_errors;
        let outbox = self.shared.outbox.lock();
        LocalStatistics {
            published: outbox.published(),
            refused: self.shared.refused.load(Ordering::Relaxed),
            unconfirmed: outbox.unconfirmed(),
            reconnects: self.shared.reconnects.load(Ordering::Relaxed),
            decode_errors,
            unsent: outbox.unsent(),
        }
    }
}

fn not_connected(text: &str) -> Result<Answer> {
    Err(Error::ConnectionLost(text.to_owned()))
}

impl Drop for Link {
    fn drop(&mut self) {
        if self.shared.connection.lock().forgotten.is_none() {
            self.shared.end(None);
        }
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
