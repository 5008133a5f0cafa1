//! PINGs in flight, and the tickets that wait for their PONGs.
//!
//! A PONG says that everything before its PING was routed. At most [`MAX_IN_FLIGHT`] PINGs are unanswered: what is to be confirmed beyond
//! that waits for one more, which is sent behind all of it when the oldest was answered. So a broker that takes everything and answers
//! nothing costs bounded memory, whatever is published.

use std::collections::VecDeque;

use super::requests::{MAX_IN_FLIGHT, TicketQueue};
use super::ticket::Ticket;

struct Ping {
    /// Messages appended before it.
    mark: u64,
    tickets: TicketQueue<()>,
}

#[derive(Default)]
pub(super) struct Pings {
    in_flight: VecDeque<Ping>,
    /// The one that is sent when one in flight was answered: the tickets that wait for it.
    deferred: Option<TicketQueue<()>>,
}

impl Pings {
    /// Everything up to `mark` is to be confirmed, and `ticket` resolved then. True if a PING is to be sent for it; none is
    /// while the last in flight has no message behind it.
    pub(super) fn request(&mut self, mark: u64, ticket: Option<Ticket>) -> bool {
        let covered = self.in_flight.back().is_some_and(|last| last.mark == mark);
        let sent = !covered && self.in_flight.len() < MAX_IN_FLIGHT;
        if sent {
            let tickets = self.deferred.take().unwrap_or_default();
            self.in_flight.push_back(Ping { mark, tickets });
        }
        let tickets = match self.in_flight.back_mut() {
            Some(last) if covered || sent => &mut last.tickets,
            _ => self.deferred.get_or_insert_default(),
        };
        if let Some(ticket) = ticket {
            tickets.push((), ticket);
        }
        sent
    }

    /// The oldest was answered: up to which message, and the tickets to resolve.
    pub(super) fn answered(&mut self) -> Option<(u64, impl Iterator<Item = Ticket> + use<>)> {
        let mut ping = self.in_flight.pop_front()?;
        Some((ping.mark, ping.tickets.take_all()))
    }

    pub(super) const fn has_deferred(&self) -> bool {
        self.deferred.is_some()
    }

    /// No answer comes any more: the tickets of all.
    pub(super) fn take_all(&mut self) -> Vec<Ticket> {
        let in_flight = self.in_flight.drain(..).map(|ping| ping.tickets);
        in_flight
            .chain(self.deferred.take())
            .flat_map(|mut tickets| tickets.take_all())
            .collect()
    }
}
