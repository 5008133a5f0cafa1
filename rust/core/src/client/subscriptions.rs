//! The subscriptions of a link, and for which of them SUB was sent on the present connection.
//!
//! Only so many SUBs and UNSUBs are unanswered at a time; the other SUBs are sent as answers come. A subscription whose SUB was never sent
//! ends without a trace. So a broker that answers nothing, or reads nothing, costs bounded memory, however often somebody subscribes and
//! gives up.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;

use super::inbox::Inbox;
use super::ticket::{Answer, Ticket};

pub(super) struct Entry {
    pub(super) inbox: Arc<Inbox>,
    pub(super) ticket: Option<Ticket>,
    /// SUB was sent on the present connection.
    pub(super) sent: bool,
    /// The broker has confirmed it there.
    pub(super) live: bool,
}

impl Entry {
    const fn is_unanswered(&self) -> bool {
        self.sent && !self.live
    }

    fn confirm(&mut self) {
        self.live = true;
        if let Some(ticket) = self.ticket.take() {
            ticket.resolve(Ok(Answer::Done));
        }
    }
}

#[derive(Default)]
pub(super) struct SubscriptionTable {
    by_id: HashMap<u64, Entry>,
    /// Ids of those that are not `sent`, oldest first: sending the next must not cost a search.
    unsent: BTreeSet<u64>,
    /// How many are `sent` and not `live`.
    unanswered: usize,
}

impl SubscriptionTable {
    pub(super) fn insert(&mut self, id: u64, inbox: Arc<Inbox>, ticket: Option<Ticket>) {
        self.unsent.insert(id);
        self.by_id.insert(
            id,
            Entry {
                inbox,
                ticket,
                sent: false,
                live: false,
            },
        );
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.by_id.remove(&id)?;
        self.unsent.remove(&id);
        self.unanswered -= usize::from(entry.is_unanswered());
        Some(entry)
    }

    pub(super) fn get(&self, id: u64) -> Option<&Entry> {
        self.by_id.get(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn ids(&self) -> Vec<u64> {
        self.by_id.keys().copied().collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.by_id.values()
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// How many SUBs of the present connection are without an answer.
    pub(super) const fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// How many the present connection has not confirmed, whether their SUB was sent or not.
    pub(super) fn unconfirmed(&self) -> usize {
        self.unsent.len() + self.unanswered
    }

    /// The oldest subscriptions whose SUB is not sent, `most` of them; from now on it counts as sent.
    pub(super) fn take_unsent(&mut self, most: usize) -> Vec<(u64, Arc<Inbox>)> {
        let mut sent = Vec::with_capacity(self.unsent.len().min(most));
        while sent.len() < most
            && let Some(id) = self.unsent.pop_first()
        {
            if let Some(entry) = self.by_id.get_mut(&id) {
                entry.sent = true;
                self.unanswered += 1;
                sent.push((id, Arc::clone(&entry.inbox)));
            }
        }
        sent
    }

    /// The connection is gone: no SUB is sent any more, and those that it had confirmed are interrupted.
    pub(super) fn forget_connection(&mut self) {
        for entry in self.by_id.values_mut() {
            if entry.live {
                entry.inbox.count_interruption();
            }
            (entry.sent, entry.live) = (false, false);
        }
        self.unsent = self.by_id.keys().copied().collect();
        self.unanswered = 0;
    }

    /// The broker has confirmed this one. False if there is no such subscription, or the present connection was not asked for it.
    pub(super) fn confirm(&mut self, id: u64) -> bool {
        let Some(entry) = self.by_id.get_mut(&id).filter(|entry| entry.sent) else {
            return false;
        };
        self.unanswered -= usize::from(entry.is_unanswered());
        entry.confirm();
        true
    }

    /// For a broker that is not asked: all count as sent and confirmed.
    pub(super) fn confirm_all(&mut self) {
        self.unsent.clear();
        self.unanswered = 0;
        for entry in self.by_id.values_mut() {
            entry.sent = true;
            entry.confirm();
        }
    }
}
