//! Subscriptions that were ended here and of which the broker has not confirmed that. What it has sent for them alone is counted as lost.

use std::sync::Arc;

use hashbrown::HashMap;

use super::inbox::Inbox;
use super::ticket::Ticket;

pub(super) struct Unsubscribe {
    /// `None`: nobody waits for it.
    pub(super) ticket: Option<Ticket>,
    pub(super) inbox: Arc<Inbox>,
    /// The answer to its SUB has not come either, and comes first.
    pub(super) awaits_sub_answer: bool,
}

/// What an answer is for.
pub(super) enum Answered {
    /// No unsubscribe.
    Other,
    /// The one to its SUB: from here on the broker sends for it.
    Sub,
    /// The one to its UNSUB, or a refusal: there is no such subscription any more.
    Unsub(Unsubscribe),
}

#[derive(Default)]
pub(super) struct UnsubscribeTable {
    by_id: HashMap<u64, Unsubscribe>,
    /// Those whose UNSUB is to be sent once the connection is live.
    deferred: Vec<u64>,
}

impl UnsubscribeTable {
    pub(super) fn insert(&mut self, id: u64, unsubscribe: Unsubscribe) {
        self.by_id.insert(id, unsubscribe);
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The inbox of a subscription for which the broker still sends.
    pub(super) fn receiving_inbox(&self, id: u64) -> Option<&Arc<Inbox>> {
        let unsubscribe = self
            .by_id
            .get(&id)
            .filter(|unsubscribe| !unsubscribe.awaits_sub_answer)?;
        Some(&unsubscribe.inbox)
    }

    pub(super) fn answer(&mut self, id: u64) -> Answered {
        let Some(unsubscribe) = self.by_id.get_mut(&id) else {
            return Answered::Other;
        };
        if std::mem::take(&mut unsubscribe.awaits_sub_answer) {
            return Answered::Sub;
        }
        self.by_id.remove(&id).map_or(Answered::Other, Answered::Unsub)
    }

    pub(super) fn defer(&mut self, id: u64) {
        self.deferred.push(id);
    }

    /// Those whose UNSUB is to be sent, now that the connection is live.
    pub(super) fn take_deferred(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.deferred)
    }

    /// Those that no ticket waits for: the connection that had them is gone.
    pub(super) fn take_unawaited(&mut self) -> Vec<(u64, Unsubscribe)> {
        self.deferred.clear();
        self.by_id
            .extract_if(|_, unsubscribe| unsubscribe.ticket.is_none())
            .collect()
    }

    pub(super) fn take_all(&mut self) -> Vec<(u64, Unsubscribe)> {
        self.by_id.drain().collect()
    }
}
