//! Translation: what a broker took in one dialect it can say in the other, and back, without changing what it means.
#![no_main]

use daemoneye_eventbus_core::wire::frame::PREFIX;
use daemoneye_eventbus_core::wire::{self, Dialect};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((which, body)) = data.split_first() else {
        return;
    };
    let (from, to) = if which & 1 == 0 {
        (Dialect::Bincode, Dialect::Postcard)
    } else {
        (Dialect::Postcard, Dialect::Bincode)
    };
    let Ok(summary) = wire::check(from, body, 8) else {
        // What no broker takes may be refused, and must not panic.
        let _ = wire::translate(from, to, body);
        return;
    };
    let Ok(there) = wire::translate(from, to, body) else {
        // Taken, and not to be written: only a time or a map that serialisation refuses.
        return;
    };
    assert_eq!(
        there.len() - PREFIX,
        u32::from_le_bytes(there[..PREFIX].try_into().unwrap()) as usize
    );
    let (first, event) = wire::read(from, body).expect("checked");
    let (second, again) = wire::read(to, &there[PREFIX..]).expect("what we write is read");
    let same = |a: &wire::Message, b: &wire::Message| {
        assert_eq!(
            (a.id, a.topic, a.sequence, a.timestamp),
            (b.id, b.topic, b.sequence, b.timestamp)
        );
        assert_eq!(a.correlation_metadata, b.correlation_metadata);
        assert_eq!(a.message_type, b.message_type);
    };
    same(&first, &second);
    assert_eq!(format!("{event:?}"), format!("{again:?}"));
    let seen = wire::check(to, &there[PREFIX..], 8).expect("what we write is taken");
    assert_eq!(
        (seen.topic, seen.message_type, seen.event),
        (summary.topic, summary.message_type, summary.event)
    );
    let back = wire::translate(to, from, &there[PREFIX..]).expect("and back");
    let (third, _) = wire::read(from, &back[PREFIX..]).expect("read");
    same(&first, &third);
    assert_eq!(wire::translate(from, to, &back[PREFIX..]).expect("once more"), there);
});
