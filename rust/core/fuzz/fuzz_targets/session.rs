//! A whole session: bytes in, and what must be true after them. The model walks the same bytes with the frame reader and the message
//! check alone, and says which publishes had to be accepted; the broker's witness must have been sent exactly those, byte for byte, and
//! the counts must balance.
#![no_main]

use std::sync::{LazyLock, Mutex};

use daemoneye_eventbus_core::wire::frame::{self, Kind, PREFIX};
use daemoneye_eventbus_core::wire::text::FromClient;
use daemoneye_eventbus_core::wire::{self, Dialect, Refusal};
use daemoneye_eventbus_fuzz::broker::{MAX_FRAME, Stage, framed, is_message};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

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
                Ok(FromClient::Bye | FromClient::Connect(_) | FromClient::Auth(_)) => return found,
                // A subscription that can be answered is, and costs no connection.
                Err(_) if FromClient::sub_id(body).is_none() => return found,
                _ => {}
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

/// Changes the body of one frame and keeps the others and all lengths right, so that most inputs get past the frame reader.
fn reframe(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> Option<usize> {
    let stream = data.get(1..size)?.to_vec();
    let (mut rest, mut bodies) = (stream.as_slice(), Vec::new());
    while let Ok(Some((_, body))) = frame::next(rest, MAX_FRAME) {
        rest = &rest[PREFIX + body.len()..];
        bodies.push(body.to_vec());
    }
    let which = usize::try_from(seed / 4).ok()?.checked_rem(bodies.len())?;
    let body = bodies.get_mut(which)?;
    let (len, most) = (body.len(), body.len() + 64);
    body.resize(most, 0);
    let len = fuzzer_mutate(body, len, most);
    body.truncate(len);
    let mut out: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
    out.extend_from_slice(rest);
    (out.len() < max_size).then(|| {
        data[1..=out.len()].copy_from_slice(&out);
        out.len() + 1
    })
}

// One time in four as plain bytes: wrong lengths have to come up as well.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    (seed % 4 != 0)
        .then(|| reframe(data, size, max_size, seed))
        .flatten()
        .unwrap_or_else(|| fuzzer_mutate(data, size, max_size))
});

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
    // A defect on purpose, which no input of the corpus meets.
    #[cfg(feature = "planted")]
    for body in &messages {
        if let Ok((message, _)) = wire::read(Dialect::Bincode, body) {
            assert!(message.sequence & 7 != 6, "planted");
        }
    }
});
