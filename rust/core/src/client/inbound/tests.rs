//! What no broker sends.

use std::sync::Arc;

use super::Inbound;
use crate::client::{Inbox, InboxOptions};
use crate::event::{EventFilter, EventSubscription};
use crate::filter::Filters;
use crate::queue::{DropReason, Limits, Overflow, Wake};
use crate::wire::Dialect;

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

fn inbox(filter: Option<&EventFilter>) -> Arc<Inbox> {
    let options = InboxOptions {
        limits: Limits {
            messages: 10,
            bytes: 1000,
        },
        overflow: Overflow::DropOldest,
        block: false,
    };
    let filters = Filters::compile(filter, None, 10, 8).unwrap();
    let subscription = EventSubscription::default();
    Arc::new(Inbox::new(subscription, Vec::new(), filters, options, Arc::new(Nobody)))
}

/// As where there is no memory for what it is made of.
#[test]
fn a_message_that_cannot_be_read_is_lost_for_those_alone_whose_filters_would_have_to() {
    let unreadable = b"\x03\0\0\0\x10??";
    let (plain, filtered) = (
        inbox(None),
        inbox(Some(&EventFilter {
            pids: vec![7],
            ..EventFilter::default()
        })),
    );
    let inbound = Inbound::new(Dialect::Bincode, 1000, Arc::default());
    inbound.deliver_filtered(unreadable, [&plain, &filtered].into_iter());
    assert_eq!((plain.queue.snapshot().pending, plain.queue.snapshot().lost()), (1, 0));
    let lost = filtered.queue.snapshot();
    assert_eq!((lost.pending, lost.dropped[DropReason::NoMemory as usize]), (0, 1));
}
