//! Questions on their way to the broker, and who waits for the answers.
//!
//! A broker may be slow to answer, or hang, and those who ask may give up and ask anew for as long as it does. What that costs is bounded
//! by how many wait at one time: so many questions at most are with the broker, the others wait here for an answer to one of them, and
//! tickets that nobody holds any more are let go of.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::ticket::{Answer, Ticket};
use crate::error::Result;
use crate::wire::text::{self, Page, Stats};

/// Questions of one kind that the broker has and has not answered.
pub(super) const MAX_ASKED: usize = 64;
/// Tickets that are kept without a look at whether anybody waits.
const FEW: usize = 64;

/// Tickets in order, with what belongs to each: never more than twice as many as somebody waits for, and a few.
pub(super) struct Waiting<T> {
    tickets: VecDeque<(T, Ticket)>,
    sweep_at: usize,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self {
            tickets: VecDeque::new(),
            sweep_at: FEW,
        }
    }
}

impl<T> Waiting<T> {
    pub(super) fn push(&mut self, what: T, ticket: Ticket) {
        if self.tickets.len() >= self.sweep_at {
            self.tickets.retain(|(_, ticket)| ticket.is_awaited());
            self.sweep_at = FEW.max(2 * self.tickets.len());
        }
        self.tickets.push_back((what, ticket));
    }

    /// The oldest that somebody waits for.
    fn pop(&mut self) -> Option<(T, Ticket)> {
        loop {
            let (what, ticket) = self.tickets.pop_front()?;
            if ticket.is_awaited() {
                return Some((what, ticket));
            }
        }
    }

    pub(super) fn take(&mut self) -> impl Iterator<Item = Ticket> + use<T> {
        let all = std::mem::take(self);
        all.tickets.into_iter().map(|(_, ticket)| ticket)
    }
}

/// Those for statistics.
#[derive(Default)]
pub(super) struct Questions {
    asked: HashMap<u64, Ticket>,
    later: Waiting<Stats>,
}

impl Questions {
    /// What is to be sent for it now.
    pub(super) fn ask(&mut self, asks: Stats, ticket: Ticket) -> Option<Stats> {
        if self.asked.len() >= MAX_ASKED {
            self.later.push(asks, ticket);
            return None;
        }
        self.asked.insert(asks.id, ticket);
        Some(asks)
    }

    /// The one that the answer of this number is for.
    pub(super) fn answered(&mut self, id: u64) -> Option<Ticket> {
        self.asked.remove(&id)
    }

    /// What is to be sent in place of one that was answered.
    pub(super) fn next(&mut self) -> Option<Stats> {
        if self.asked.len() >= MAX_ASKED {
            return None;
        }
        let (asks, ticket) = self.later.pop()?;
        self.ask(asks, ticket)
    }

    /// All that are without an answer.
    pub(super) fn take(&mut self) -> Vec<Ticket> {
        let asked = self.asked.drain().map(|(_, ticket)| ticket);
        asked.chain(self.later.take()).collect()
    }
}

/// What the broker says, as far as it says it.
pub(super) fn answer(ok: text::OkText) -> Result<Answer> {
    Ok(match (ok.statistics, ok.detail, ok.clients) {
        (_, _, Some(clients)) => Answer::Clients(Page { clients, more: ok.more }),
        (Some(five), Some(detail), None) => Answer::Detail(five, detail),
        // All that a broker tells that does not know the other questions.
        (Some(five), None, None) => Answer::Statistics(five),
        (None, _, None) => Answer::Done,
    })
}
