//! The present connection of a link, as the supervisor and the host see it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::awaiting::Awaiting;
use super::read_buffer::ReadBuffer;
use crate::error::Error;
use crate::transport::Stream;

/// State changes that are kept for a host that does not fetch them.
const MAX_CHANGES: usize = 64;

/// Where a link stands. `Closed` is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Connecting,
    Connected,
    Reconnecting,
    Closed,
}

/// Who reads the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// The host, whose event loop watches the descriptor: no thread stands between the kernel and it.
    Host,
    /// The link's own thread, for hosts that cannot; what arrives together wakes its readers together.
    Link,
}

/// What the host does after [`Link::on_readable`](super::Link::on_readable).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Keep watching.
    Open,
    /// A blocking subscription is full: stop watching; the host is woken when to go on ([`Link::resume`](super::Link::resume)).
    Paused,
    /// The connection is gone; stop watching.
    Ended,
}

pub(super) struct Connection {
    pub(super) stream: Option<Arc<Stream>>,
    /// Counts connections; a host that watches an older one stops.
    pub(super) generation: u64,
    pub(super) state: State,
    pub(super) changes: VecDeque<State>,
    /// Why there is none; while the link dials, for the last attempt.
    pub(super) cause: Option<Error>,
    pub(super) awaiting: Awaiting,
    /// This side ends the connection, so that its end is no interruption.
    pub(super) closing: bool,
    /// Until when a link whose owner has forgotten it writes on.
    pub(super) forgotten: Option<Instant>,
    pub(super) read_buffer: ReadBuffer,
    pub(super) paused: bool,
    /// When the broker was last told that messages are taken here, though nothing is read.
    pub(super) told_taken: Option<Instant>,
}

impl Connection {
    pub(super) fn new(connect_timeout: Duration) -> Self {
        Self {
            stream: None,
            generation: 0,
            state: State::Connecting,
            changes: VecDeque::from([State::Connecting]),
            cause: None,
            awaiting: Awaiting::new(connect_timeout),
            closing: false,
            forgotten: None,
            read_buffer: ReadBuffer::default(),
            paused: false,
            told_taken: None,
        }
    }

    /// Whether `stream` is the present connection.
    pub(super) fn is_of(&self, stream: &Arc<Stream>) -> bool {
        self.stream.as_ref().is_some_and(|now| Arc::ptr_eq(now, stream))
    }

    pub(super) fn change(&mut self, state: State) {
        self.state = state;
        self.changes.push_back(state);
        // A host that never fetches them has the newest.
        if self.changes.len() > MAX_CHANGES {
            self.changes.pop_front();
        }
    }
}
