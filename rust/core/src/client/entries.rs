//! The subscriptions of a link, and which of them the present connection was asked for.
//!
//! A live connection is asked for so many at a time, those that are ended here and not there counted in; the others are asked for as the
//! broker answers. One that was never asked for ends without a trace, so that a broker that answers nothing, or reads nothing, costs no
//! more than that, however often somebody subscribes and gives up.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;

use super::inbox::Inbox;
use super::ticket::{Answer, Ticket};

pub(super) struct Entry {
    pub(super) inbox: Arc<Inbox>,
    pub(super) ticket: Option<Ticket>,
    /// SUB was written on the present connection, and answered.
    pub(super) sent: bool,
    pub(super) live: bool,
}

impl Entry {
    const fn is_unanswered(&self) -> bool {
        self.sent && !self.live
    }

    fn answered(&mut self) {
        self.live = true;
        if let Some(ticket) = self.ticket.take() {
            ticket.resolve(Ok(Answer::Done));
        }
    }
}

#[derive(Default)]
pub(super) struct Entries {
    by_id: HashMap<u64, Entry>,
    /// Those that are not `sent`, in order: one more subscription must not cost a look at all.
    unsent: BTreeSet<u64>,
    /// How many are `sent` and not `live`.
    unanswered: usize,
}

impl Entries {
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

    /// How many the present connection was asked for and has not answered.
    pub(super) const fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// How many the present connection has not confirmed, those among them that it was not asked for.
    pub(super) fn unconfirmed(&self) -> usize {
        self.unsent.len() + self.unanswered
    }

    /// Gives the subscriptions that the present connection does not know, oldest first and `most` of them, as asked for from now on.
    pub(super) fn send(&mut self, most: usize) -> Vec<(u64, Arc<Inbox>)> {
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

    /// The connection that knew of them is gone; those that it had confirmed are interrupted.
    pub(super) fn unsend_all(&mut self) {
        for entry in self.by_id.values_mut() {
            if entry.live {
                entry.inbox.interrupted();
            }
            (entry.sent, entry.live) = (false, false);
        }
        self.unsent = self.by_id.keys().copied().collect();
        self.unanswered = 0;
    }

    /// The broker has this one now. False if it is none.
    pub(super) fn answered(&mut self, id: u64) -> bool {
        let Some(entry) = self.by_id.get_mut(&id) else {
            return false;
        };
        self.unanswered -= usize::from(entry.is_unanswered());
        entry.answered();
        true
    }

    /// All are as good as sent and answered.
    pub(super) fn answer_all(&mut self) {
        self.unsent.clear();
        self.unanswered = 0;
        for entry in self.by_id.values_mut() {
            entry.sent = true;
            entry.answered();
        }
    }
}
