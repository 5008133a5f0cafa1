//! Requests for statistics, and the tickets that wait for their answers.
//!
//! A broker may be slow to answer, or hang, while callers give up and ask anew. At most [`MAX_IN_FLIGHT`] requests are with the broker, the
//! others are queued here until one of them is answered, and tickets that nobody holds any more are dropped. So memory is bounded by how
//! many wait at one time.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::ticket::{Answer, Ticket};
use crate::error::Result;
use crate::wire::text::{self, Page, Stats};

/// Requests of one kind that the broker has not answered.
pub(super) const MAX_IN_FLIGHT: usize = 64;
/// Tickets that are kept before abandoned ones are swept out.
const MIN_SWEEP: usize = 64;

/// Tickets in order, each with its item: never more than twice as many as somebody waits for, or [`MIN_SWEEP`].
pub(super) struct TicketQueue<T> {
    tickets: VecDeque<(T, Ticket)>,
    sweep_at: usize,
}

impl<T> Default for TicketQueue<T> {
    fn default() -> Self {
        Self {
            tickets: VecDeque::new(),
            sweep_at: MIN_SWEEP,
        }
    }
}

impl<T> TicketQueue<T> {
    pub(super) fn push(&mut self, item: T, ticket: Ticket) {
        if self.tickets.len() >= self.sweep_at {
            self.tickets.retain(|(_, ticket)| ticket.is_awaited());
            self.sweep_at = MIN_SWEEP.max(2 * self.tickets.len());
        }
        self.tickets.push_back((item, ticket));
    }

    /// The oldest that somebody waits for.
    fn pop(&mut self) -> Option<(T, Ticket)> {
        loop {
            let (item, ticket) = self.tickets.pop_front()?;
            if ticket.is_awaited() {
                return Some((item, ticket));
            }
        }
    }

    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Ticket> + use<T> {
        let all = std::mem::take(self);
        all.tickets.into_iter().map(|(_, ticket)| ticket)
    }
}

/// Requests for statistics: those in flight, and those that are queued behind them.
#[derive(Default)]
pub(super) struct StatsRequests {
    in_flight: HashMap<u64, Ticket>,
    queued: TicketQueue<Stats>,
}

impl StatsRequests {
    /// The request, if it is to be sent now; else it is queued.
    pub(super) fn submit(&mut self, request: Stats, ticket: Ticket) -> Option<Stats> {
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            self.queued.push(request, ticket);
            return None;
        }
        self.in_flight.insert(request.id, ticket);
        Some(request)
    }

    /// The ticket of the request of this id, which is answered.
    pub(super) fn answered(&mut self, id: u64) -> Option<Ticket> {
        self.in_flight.remove(&id)
    }

    /// The queued request that is to be sent in place of one that was answered.
    pub(super) fn next(&mut self) -> Option<Stats> {
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            return None;
        }
        let (request, ticket) = self.queued.pop()?;
        self.submit(request, ticket)
    }

    /// The tickets of all that are without an answer.
    pub(super) fn take_all(&mut self) -> Vec<Ticket> {
        let in_flight = self.in_flight.drain().map(|(_, ticket)| ticket);
        in_flight.chain(self.queued.take_all()).collect()
    }
}

/// The answer that an OK holds, which depends on what the broker knows.
pub(super) fn answer_from(ok: text::OkText) -> Result<Answer> {
    Ok(match (ok.statistics, ok.detail, ok.clients) {
        (_, _, Some(clients)) => Answer::Clients(Page { clients, more: ok.more }),
        (Some(five), Some(detail), None) => Answer::Detail(five, detail),
        // From a broker that knows no other numbers.
        (Some(five), None, None) => Answer::Statistics(five),
        (None, _, None) => Answer::Done,
    })
}
