//! Who waits for the connection of a link, each for `connect_timeout` from its own start.
//!
//! For the first connection a link dials as long as anybody waits. Later it never gives up; but whoever comes while it dials again waits no
//! longer for that, and hears why there is no connection.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::ticket::Ticket;

pub(super) struct Awaiting {
    /// In the order in which their time is over, which is the same for all.
    waiting: VecDeque<(Instant, Ticket)>,
    timeout: Duration,
    give_up: Instant,
    /// Somebody has come since the last attempt began.
    has_new: bool,
}

impl Awaiting {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            waiting: VecDeque::new(),
            timeout,
            give_up: Instant::now() + timeout,
            has_new: false,
        }
    }

    /// One more, from now on.
    pub(super) fn join(&mut self, ticket: Ticket) {
        // Whoever gives up before says nothing.
        self.waiting.retain(|(_, ticket)| ticket.is_awaited());
        self.give_up = Instant::now() + self.timeout;
        self.waiting.push_back((self.give_up, ticket));
        self.has_new = true;
    }

    /// When the last one's time is over.
    pub(super) const fn give_up(&self) -> Instant {
        self.give_up
    }

    /// When the first one's time is over.
    pub(super) fn first_end(&self) -> Option<Instant> {
        self.waiting.front().map(|(end, _)| *end)
    }

    /// When to dial next: at `wake`, or before it at the end of somebody's time, or at `earliest` for who has seen no attempt.
    pub(super) fn next_attempt(&self, earliest: Instant, wake: Instant) -> Instant {
        match self.first_end() {
            Some(_) if self.has_new => wake.min(earliest),
            Some(end) => wake.min(end),
            None => wake,
        }
    }

    /// An attempt begins. Whether it is the first that somebody sees.
    pub(super) const fn begin_attempt(&mut self) -> bool {
        std::mem::replace(&mut self.has_new, false)
    }

    /// Those whose time was over at `now`.
    pub(super) fn take_late(&mut self, now: Instant) -> Vec<Ticket> {
        let late = self.waiting.partition_point(|(end, _)| *end <= now);
        self.waiting.drain(..late).map(|(_, ticket)| ticket).collect()
    }

    pub(super) fn take_all(&mut self) -> Vec<Ticket> {
        self.waiting.drain(..).map(|(_, ticket)| ticket).collect()
    }
}
