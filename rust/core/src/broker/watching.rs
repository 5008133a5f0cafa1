//! A broker seen from other processes: its totals, and its clients in pages that one frame holds.
//!
//! Pages go by client id, so that whoever comes or goes between two of them is shown once or not at all, and nobody twice.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::shared::Shared;
use super::statistics::{BrokerStatistics, ClientInfo};
use crate::transport::Peer;
use crate::wire::text::{Client, Detail, Page};

/// Bytes of JSON in one page. Half of what may be unsent before a connection is not read any more.
const PAGE: usize = 32 * 1024;
/// Clients in one page, whose JSON is never shorter than [`PAGE`] divided by this.
const MOST: usize = 256;

pub(super) fn detail(now: &BrokerStatistics) -> Detail {
    Detail {
        dropped: counted(&now.dropped),
        refused: counted(&now.refused),
        refused_uids: now
            .refused_uids
            .iter()
            .map(|(uid, count)| (uid.to_string(), *count))
            .collect(),
        connections: now.connections as u64,
        queued_messages: now.queued_messages,
        queued_bytes: now.queued_bytes,
        unfinished_bytes: now.unfinished_bytes,
    }
}

pub(super) fn page(shared: &Shared, mut after: Option<Uuid>) -> Page {
    loop {
        let mut ids = shared.client_ids();
        ids.retain(|id| after.is_none_or(|after| *id > after));
        if ids.is_empty() {
            return Page::default();
        }
        // Only those are looked at that can be told.
        let more = ids.len() > MOST;
        let last = ids.len().min(MOST) - 1;
        let last = *ids.select_nth_unstable(last).1;
        let mut told = shared.clients_where(|id| id <= last && after.is_none_or(|after| id > after));
        told.sort_unstable_by_key(|client| client.id);
        let page = fitting(told, more);
        if !page.clients.is_empty() || !page.more {
            return page;
        }
        // All of them went meanwhile.
        after = Some(last);
    }
}

/// The first of `clients` whose JSON one page holds. `more`: there are others behind them.
fn fitting(clients: Vec<ClientInfo>, more: bool) -> Page {
    let mut page = Page {
        clients: Vec::new(),
        more,
    };
    let mut bytes = 0;
    for client in clients {
        let client = Client::from(client);
        // Text, numbers and maps of them, which JSON takes; a client counts in full should it not.
        bytes += serde_json::to_vec(&client).map_or(PAGE, |json| json.len() + 1);
        if bytes > PAGE && !page.clients.is_empty() {
            page.more = true;
            break;
        }
        page.clients.push(client);
    }
    page
}

impl From<ClientInfo> for Client {
    fn from(client: ClientInfo) -> Self {
        Self {
            id: client.id,
            name: client.name,
            uid: (client.uid != Peer::NOBODY).then_some(client.uid),
            pid: client.pid,
            dialect: client.dialect.name().to_owned(),
            peer: client.kind.name().to_owned(),
            subscriptions: client.subscriptions as u64,
            queued_messages: client.queued_messages,
            queued_bytes: client.queued_bytes,
            delivered: client.delivered,
            dropped: counted(&client.dropped),
            published: client.published,
        }
    }
}

/// What has not happened is not told.
fn counted(counts: &BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    let happened = counts.iter().filter(|(_, count)| **count > 0);
    happened.map(|(reason, count)| ((*reason).to_owned(), *count)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::statistics::ClientKind;
    use super::*;
    use crate::wire::Dialect;

    #[test]
    fn a_user_of_whom_nothing_is_known_has_no_uid() {
        let told = |uid| {
            Client::from(ClientInfo {
                id: Uuid::nil(),
                name: String::new(),
                uid,
                pid: None,
                dialect: Dialect::Bincode,
                kind: ClientKind::Native,
                subscriptions: 0,
                queued_messages: 0,
                queued_bytes: 0,
                delivered: 0,
                dropped: BTreeMap::new(),
                published: 0,
            })
            .uid
        };
        assert_eq!((told(0), told(Peer::NOBODY)), (Some(0), None));
    }
}
