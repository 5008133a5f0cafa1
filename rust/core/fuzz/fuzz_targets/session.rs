//! A whole session: bytes in, and what must be true after them. The model walks the same bytes with the frame reader and the message
//! check alone, and says which publishes had to be accepted; the broker's witness must have been sent exactly those, byte for byte, and
//! the books must balance.
#![no_main]

use std::sync::{LazyLock, Mutex};

use daemoneye_eventbus_core::wire::frame::{self, Kind, PREFIX};
use daemoneye_eventbus_core::wire::text::FromClient;
use daemoneye_eventbus_core::wire::{self, Dialect, Refusal};
use daemoneye_eventbus_fuzz::broker::{MAX_FRAME, Stage, is_message};
use libfuzzer_sys::fuzz_target;

static STAGE: LazyLock<Mutex<Stage>> = LazyLock::new(|| Mutex::new(Stage::new()));

/// The bodies that had to be accepted, if the session gets as far as being a native one.
fn accepted(stream: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut found, mut dialect) = (stream, Vec::new(), None);
    while let Ok(Some((kind, body))) = frame::next(rest, MAX_FRAME) {
        rest = &rest[PREFIX + body.len()..];
        match (kind, dialect) {
            (Kind::Text, None) => match FromClient::parse(body) {
                Ok(FromClient::Connect(connect)) => match Dialect::for_connection(&connect.dialect) {
                    Ok(known) => dialect = Some(known),
                    Err(_) => return found,
                },
                _ => return found,
            },
            (Kind::Text, Some(_)) => match FromClient::parse(body) {
                Ok(FromClient::Bye | FromClient::Connect(_) | FromClient::Auth(_)) | Err(_) => return found,
                Ok(_) => {}
            },
            (Kind::Message, Some(dialect)) => match wire::check(dialect, body, 8) {
                Ok(_) => found.push(body),
                Err(Refusal::Malformed(_)) => return found,
                Err(_) => {}
            },
            _ => return found,
        }
    }
    found
}

fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first() else {
        return;
    };
    let mut stage = STAGE.lock().expect("a panic ends the run");
    let before = stage.statistics();
    let pieces: Box<dyn Iterator<Item = &[u8]>> = match cut {
        0..128 => Box::new(std::iter::once(stream)),
        _ => Box::new(stream.chunks(usize::from(cut - 127))),
    };
    let (seen, answers) = stage.play(pieces);
    let after = stage.statistics();

    let messages: Vec<&[u8]> = seen.iter().map(Vec::as_slice).filter(|body| is_message(body)).collect();
    let connected = answers.first().is_some_and(|answer| answer.starts_with(b"INFO"));
    let expected = if connected { accepted(stream) } else { Vec::new() };
    // What was answered and refused has no effect; what was accepted has exactly one.
    assert_eq!(
        after.bus.messages_published - before.bus.messages_published,
        expected.len() as u64
    );
    if answers
        .first()
        .is_some_and(|answer| !answer.windows(10).any(|word| word == b"\"postcard\""))
    {
        assert_eq!(messages, expected);
    }
    assert_eq!(messages.len(), expected.len());
    assert_eq!(after.queued_messages, 0);
    assert_eq!(after.queued_bytes, 0);
    assert_eq!(after.bus.active_subscribers, 3);
    assert_eq!(
        after.refused.get("panic").copied().unwrap_or(0),
        0,
        "the broker panicked"
    );
    #[cfg(feature = "planted")]
    for body in &messages {
        if let Ok((message, _)) = wire::read(Dialect::Bincode, body) {
            assert!(!daemoneye_eventbus_fuzz::is_planted(message.sequence), "planted");
        }
    }
});
