//! What no broker sends, and what is kept of what one sends.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;

use super::Inbound;
use crate::client::{Inbox, InboxOptions};
use crate::event::{CorrelationMetadata, EventFilter, EventSubscription, Map, Timestamp};
use crate::filter::Filters;
use crate::queue::{Content, DropReason, Limits, Overflow, Wake};
use crate::topic;
use crate::wire::{self, Dialect, Draft, Payload};

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

fn inbox(filter: Option<&EventFilter>) -> Arc<Inbox> {
    let subscription = EventSubscription {
        topic_patterns: Some(vec!["control.#".into()]),
        include_control: true,
        ..EventSubscription::default()
    };
    let options = InboxOptions {
        limits: Limits {
            messages: 10,
            bytes: 1000,
        },
        overflow: Overflow::DropOldest,
        block: false,
    };
    let filters = Filters::compile(filter, None, 10, 8).unwrap();
    let patterns = topic::subscription_patterns(&subscription, 8).unwrap();
    Arc::new(Inbox::new(subscription, patterns, filters, options, Arc::new(Nobody)))
}

/// A control message to `control.a`.
fn control(payload: &[u8]) -> Vec<u8> {
    let draft = Draft {
        id: uuid::Uuid::nil(),
        topic: "control.a",
        correlation_metadata: CorrelationMetadata {
            correlation_id: "c",
            parent_correlation_id: None,
            root_correlation_id: "c",
            sequence_number: 0,
            workflow_stage: None,
            correlation_tags: Map::default(),
            created_at: Timestamp::now(),
        },
        payload: Payload::Control(payload),
        sequence: 0,
        timestamp: Timestamp::now(),
    };
    let mut frame = Vec::new();
    wire::write(Dialect::Bincode, &draft, usize::MAX, 8, &mut frame).unwrap();
    frame
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

#[test]
fn a_frame_that_may_be_kept_is_delivered_to_all_as_it_is_and_any_other_as_a_copy() {
    let inboxes = [inbox(None), inbox(None)];
    let mut inbound = Inbound::new(Dialect::Bincode, 1 << 20, Arc::default());
    for (id, inbox) in (1..).zip(&inboxes) {
        inbound.insert(id, Arc::clone(inbox), None);
    }
    inbound.confirm_all();
    let frame = Bytes::from(control(&[7; 300_000]));
    let resume: Arc<dyn Wake> = Arc::new(Nobody);
    for (whole, kept) in [(Some(&frame), true), (None, false)] {
        let ingested = inbound.ingest(&frame, whole, &resume, &mut Vec::new());
        assert_eq!(ingested.unwrap(), (frame.len(), false));
        for inbox in &inboxes {
            let is_kept = |delivered: &[u8]| {
                assert!(delivered == frame);
                Ok::<_, Infallible>(delivered.as_ptr() == frame.as_ptr())
            };
            let popped = inbox.queue.pop_as(is_kept).unwrap().unwrap();
            assert!(matches!(popped.content, Content::Frames(is_kept) if is_kept == kept));
        }
    }
}
