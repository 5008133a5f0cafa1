//! Frames and messages under random values, mutations and splits.
//!
//! The hot path writes in pieces, and reads with a scanner of its own in front of the codec's crate: here it is held to the
//! crate, to the byte, the verdict and the value.
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

use daemoneye_eventbus_core::event::{CollectionEvent, Utf8, Walk};
use daemoneye_eventbus_core::topic;
use daemoneye_eventbus_core::wire::{self, Dialect, Message, Outline, Refusal, frame};

const DIALECT: Dialect = Dialect::Bincode;
const DEPTH: usize = topic::DEFAULT_MAX_DEPTH;
const MAX: usize = frame::DEFAULT_MAX_FRAME;

/// The scanner and the codec's crate make the same of these bytes, taken for a message and for an event.
fn alike(dialect: Dialect, bytes: &[u8]) {
    match (dialect.outline(bytes), dialect.decode::<Message<'_>>(bytes)) {
        (Ok(outline), Ok(message)) => assert_eq!(
            outline,
            Outline {
                id: message.id,
                topic: message.topic.into(),
                correlation_id: message.correlation_metadata.correlation_id.as_bytes(),
                payload: message.payload,
                sequence: message.sequence,
                timestamp: message.timestamp,
                message_type: message.message_type,
            }
        ),
        (outline, message) => assert_eq!(outline.err(), message.err()),
    }
    let by_crate = dialect.decode::<CollectionEvent<'_, Walk>>(bytes);
    let event = dialect.event(bytes);
    // As text if they differ: NaN is not equal to itself.
    assert!(event == by_crate || format!("{event:?}") == format!("{by_crate:?}"));
    assert_eq!(dialect.decode::<CollectionEvent<'_>>(bytes).err(), by_crate.err());
    alike_again(dialect, bytes);
}

/// A second look at what was taken sees the same; at anything else it merely does not fail.
fn alike_again(dialect: Dialect, bytes: &[u8]) {
    let (first, again) = (dialect.outline(bytes), dialect.known_outline(bytes));
    if let Ok(first) = first {
        assert_eq!(again.unwrap(), first);
    }
    let again = dialect.known_event(bytes);
    if dialect.event(bytes).is_ok() {
        let whole: CollectionEvent<'_, Walk, Utf8<'_>> = dialect.decode(bytes).unwrap();
        assert_eq!(format!("{:?}", again.unwrap()), format!("{whole:?}"));
        let whole: CollectionEvent<'_> = dialect.decode(bytes).unwrap();
        let entries = dialect.known_metadata(bytes).unwrap();
        let entries: Vec<_> = entries.iter().map(|(key, value)| (key.text(), value.text())).collect();
        assert_eq!(entries, whole.metadata().0);
    }
}

/// `check` and `read` of one body agree; true if both take it.
fn agree(dialect: Dialect, body: &[u8]) -> bool {
    alike(dialect, body);
    if let Ok(message) = dialect.decode::<Message<'_>>(body) {
        alike(dialect, message.payload);
    }
    let whole = wire::read(dialect, body);
    match (wire::check(dialect, body, DEPTH), &whole) {
        (Ok(summary), Ok((message, event))) => {
            assert_eq!(
                (
                    summary.topic.text(),
                    summary.message_type,
                    summary.sequence,
                    summary.event
                ),
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
