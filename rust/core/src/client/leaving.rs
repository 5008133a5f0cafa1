//! Subscriptions that were ended here and of which the broker has not confirmed it. It may have sent what nobody but they asked for; that
//! is lost, and counted.

use std::sync::Arc;

use hashbrown::HashMap;

use super::inbox::Inbox;
use super::ticket::Ticket;

pub(super) struct Leaving {
    /// `None`: nobody waits for it.
    pub(super) ticket: Option<Ticket>,
    pub(super) inbox: Arc<Inbox>,
    /// The answer to its SUB has not come either, and comes first.
    pub(super) subscribing: bool,
}

/// Whose answer came.
pub(super) enum Answered {
    Nobody,
    /// The one to its SUB: from here on the broker sends for it.
    Sub,
    /// The one to its UNSUB, or a refusal: there is no such subscription any more.
    Unsub(Leaving),
}

#[derive(Default)]
pub(super) struct Leavers {
    by_id: HashMap<u64, Leaving>,
    /// Those that the connection under way is to be told of once it is live.
    unsaid: Vec<u64>,
}

impl Leavers {
    pub(super) fn insert(&mut self, id: u64, leaving: Leaving) {
        self.by_id.insert(id, leaving);
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// That of a subscription for which the broker still sends.
    pub(super) fn fed(&self, id: u64) -> Option<&Arc<Inbox>> {
        let leaving = self.by_id.get(&id).filter(|leaving| !leaving.subscribing)?;
        Some(&leaving.inbox)
    }

    pub(super) fn answer(&mut self, id: u64) -> Answered {
        let Some(leaving) = self.by_id.get_mut(&id) else {
            return Answered::Nobody;
        };
        if std::mem::take(&mut leaving.subscribing) {
            return Answered::Sub;
        }
        self.by_id.remove(&id).map_or(Answered::Nobody, Answered::Unsub)
    }

    pub(super) fn tell_later(&mut self, id: u64) {
        self.unsaid.push(id);
    }

    /// Those of which the connection, live now, has not been told.
    pub(super) fn say_unsaid(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.unsaid)
    }

    /// Those that nobody waits for; the connection that knew of them is gone.
    pub(super) fn take_unawaited(&mut self) -> Vec<(u64, Leaving)> {
        self.unsaid.clear();
        self.by_id.extract_if(|_, leaving| leaving.ticket.is_none()).collect()
    }

    pub(super) fn take_all(&mut self) -> Vec<(u64, Leaving)> {
        self.by_id.drain().collect()
    }
}
