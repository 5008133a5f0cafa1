//! PINGs that are under way, and who waits for their answers.
//!
//! A PONG says that everything before its PING was routed. There are never more of them under way than questions of any other kind: what
//! is to be confirmed beyond that is told by one more, behind all of it, which goes out when the oldest was answered. So a broker that
//! takes everything and answers nothing costs no more, whatever is published.

use std::collections::VecDeque;

use super::questions::{MAX_ASKED, Waiting};
use super::ticket::Ticket;

struct Ping {
    /// Messages appended before it.
    mark: u64,
    waiting: Waiting<()>,
}

#[derive(Default)]
pub(super) struct Pings {
    under_way: VecDeque<Ping>,
    /// The one that goes out when there is room, and who waits for it.
    owed: Option<Waiting<()>>,
}

impl Pings {
    /// Everything up to `mark` is to be confirmed, and `ticket` resolved then. True if a PING is to be sent for it: one under way that
    /// has no message behind it does as well.
    pub(super) fn ask(&mut self, mark: u64, ticket: Option<Ticket>) -> bool {
        let stands = self.under_way.back().is_some_and(|last| last.mark == mark);
        let sends = !stands && self.under_way.len() < MAX_ASKED;
        if sends {
            let waiting = self.owed.take().unwrap_or_default();
            self.under_way.push_back(Ping { mark, waiting });
        }
        let waiting = match self.under_way.back_mut() {
            Some(last) if stands || sends => &mut last.waiting,
            _ => self.owed.get_or_insert_default(),
        };
        if let Some(ticket) = ticket {
            waiting.push((), ticket);
        }
        sends
    }

    /// The oldest was answered: up to which message, and whom to tell.
    pub(super) fn answered(&mut self) -> Option<(u64, impl Iterator<Item = Ticket> + use<>)> {
        let mut ping = self.under_way.pop_front()?;
        Some((ping.mark, ping.waiting.take()))
    }

    pub(super) const fn is_owed(&self) -> bool {
        self.owed.is_some()
    }

    /// No answer comes any more: whom to tell.
    pub(super) fn take(&mut self) -> Vec<Ticket> {
        let under_way = self.under_way.drain(..).map(|ping| ping.waiting);
        under_way
            .chain(self.owed.take())
            .flat_map(|mut waiting| waiting.take())
            .collect()
    }
}
