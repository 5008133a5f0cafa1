//! Each dialect against its crate's own decoder, and against itself: the fast walk and the full reading give one verdict.
#![no_main]

use daemoneye_eventbus_core::event::{CollectionEvent, EventKind, Walk};
use daemoneye_eventbus_core::wire::{self, Dialect, Message, Refusal};
use daemoneye_eventbus_fuzz::plain;
use libfuzzer_sys::fuzz_target;

/// Too many entries are refused by the bus alone.
fn is_over_full(reason: &str) -> bool {
    reason.contains("entries is above the limit")
}

fn message(dialect: Dialect, body: &[u8]) {
    let ours = dialect.decode::<Message>(body);
    match (&ours, plain::decode::<plain::Message>(dialect, body)) {
        (Ok(message), Some(theirs)) => {
            assert!(theirs.is_possible());
            assert_eq!(message.id.as_bytes(), theirs.id.as_ref());
            assert_eq!(message.topic, theirs.topic);
            assert_eq!(message.payload, theirs.payload.as_ref());
            assert_eq!(message.sequence, theirs.sequence);
            assert_eq!(message.message_type as u32, theirs.message_type as u32);
            assert_eq!(
                message.correlation_metadata.correlation_id,
                theirs.correlation_metadata.correlation_id
            );
            for (key, value) in &theirs.correlation_metadata.correlation_tags {
                assert_eq!(message.correlation_metadata.correlation_tags.get(key), Some(*value));
            }
            let mut again = Vec::new();
            if dialect.encode(message, &mut again).is_ok() {
                assert_eq!(dialect.decode::<Message>(&again).as_ref(), Ok(message));
                // A carry into the seconds may lengthen them.
                assert!(
                    theirs.carries() || again.len() <= body.len(),
                    "what we write is the shortest form: {again:x?} for {body:x?}"
                );
            }
        }
        (Ok(message), None) => panic!("taken by us alone: {message:?}"),
        (Err(error), Some(theirs)) => {
            assert!(
                !theirs.is_possible() || is_over_full(&error.reason),
                "refused by us alone: {error}"
            );
        }
        (Err(error), None) => assert!(error.offset <= body.len()),
    }
    let outline = dialect.outline(body);
    assert_eq!(outline.as_ref().err(), ours.as_ref().err());
    let again = dialect.known_outline(body);
    if let Ok(outline) = outline {
        assert_eq!(again.expect("taken before").payload, outline.payload);
    }
    // The broker's look and the reader's look.
    match (wire::check(dialect, body, 8), wire::read(dialect, body)) {
        (Ok(summary), Ok((message, event))) => {
            assert_eq!(
                (summary.topic.text(), summary.sequence),
                (message.topic, message.sequence)
            );
            assert_eq!(summary.event, event.as_ref().map(CollectionEvent::kind));
        }
        (Err(Refusal::Malformed(found)), Err(error)) => assert_eq!(found, error),
        (Err(Refusal::Topic { .. } | Refusal::Type { .. }), Ok(_)) => {}
        (check, read) => panic!("check says {check:?}, read says {read:?}"),
    }
}

fn event(dialect: Dialect, body: &[u8]) {
    let ours = dialect.decode::<CollectionEvent>(body);
    match (&ours, plain::decode::<plain::Event>(dialect, body)) {
        (Ok(event), Some(theirs)) => {
            assert!(theirs.is_possible());
            let kind = match theirs {
                plain::Event::Process { .. } => EventKind::Process,
                plain::Event::Network { .. } => EventKind::Network,
                plain::Event::Filesystem { .. } => EventKind::Filesystem,
                plain::Event::Performance { .. } => EventKind::Performance,
                plain::Event::Trigger { .. } => EventKind::Trigger,
            };
            assert_eq!(event.kind(), kind);
        }
        (Ok(event), None) => panic!("taken by us alone: {event:?}"),
        (Err(error), Some(theirs)) => {
            assert!(
                !theirs.is_possible() || is_over_full(&error.reason),
                "refused by us alone: {error}"
            );
        }
        (Err(error), None) => assert!(error.offset <= body.len()),
    }
    let walked: Result<CollectionEvent<'_, Walk>, _> = dialect.event(body);
    assert_eq!(walked.is_ok(), ours.is_ok());
    assert!(walked.is_err() || dialect.known_event(body).is_ok());
    assert!(walked.is_err() || dialect.known_metadata(body).is_ok());
}

fuzz_target!(|data: &[u8]| {
    let Some((which, body)) = data.split_first() else {
        return;
    };
    let dialect = if which & 1 == 0 {
        Dialect::Bincode
    } else {
        Dialect::Postcard
    };
    if which & 2 == 0 {
        message(dialect, body);
    } else {
        event(dialect, body);
    }
    // The first generation has no plain counterpart here; it must not panic.
    let _ = Dialect::BincodeV0.decode::<Message>(body);
    let _ = wire::sniff(body, Dialect::Postcard);
    // A defect on purpose, which no input of the corpus meets.
    #[cfg(feature = "planted")]
    if let Ok(message) = dialect.decode::<Message>(body) {
        assert!(message.sequence & 15 != 7, "planted");
    }
});
