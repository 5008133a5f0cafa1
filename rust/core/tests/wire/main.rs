//! Frames and messages under random values, mutations and splits.
//!
//! The hot path writes and walks the layout by its own code: here it is held to the generic codec, to the byte and to the
//! verdict.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests stand outside of #[test]"
)]

mod dialects;
mod random;
mod rules;
mod sniff;

use daemoneye_eventbus_core::event::CollectionEvent;
use daemoneye_eventbus_core::topic;
use daemoneye_eventbus_core::wire::{self, Dialect, Refusal, frame};

const DIALECT: Dialect = Dialect::Bincode;
const DEPTH: usize = topic::DEFAULT_MAX_DEPTH;
const MAX: usize = frame::DEFAULT_MAX_FRAME;

/// `check` and `read` of one body agree; true if both take it.
fn agree(dialect: Dialect, body: &[u8]) -> bool {
    let whole = wire::read(dialect, body);
    match (wire::check(dialect, body, DEPTH), &whole) {
        (Ok(summary), Ok((message, event))) => {
            assert_eq!(
                (summary.topic, summary.message_type, summary.sequence, summary.event),
                (
                    message.topic,
                    message.message_type,
                    message.sequence,
                    event.as_ref().map(CollectionEvent::kind)
                )
            );
            true
        }
        (Err(Refusal::Malformed(found)), Err(error)) => {
            assert_eq!(&found, error);
            assert!(found.offset <= body.len());
            false
        }
        (Err(Refusal::Topic { sequence, .. } | Refusal::Type { sequence, .. }), Ok((message, _))) => {
            assert_eq!(sequence, message.sequence);
            false
        }
        (check, read) => panic!("check says {check:?}, read says {read:?}"),
    }
}
