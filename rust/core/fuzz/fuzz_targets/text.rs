//! Control texts, both ways: what is taken is written and taken again as the same; nothing above the limit is taken.
#![no_main]

use daemoneye_eventbus_core::wire::frame::{MAX_TEXT, PREFIX};
use daemoneye_eventbus_core::wire::text::{FromBroker, FromClient};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(verb) = FromClient::parse(data) {
        assert!(data.len() <= MAX_TEXT);
        let frame = verb.frame();
        // What a verb of another time carried is not kept.
        if matches!(verb, FromClient::Unknown(_)) {
            return;
        }
        if frame.len() - PREFIX <= MAX_TEXT {
            assert_eq!(FromClient::parse(&frame[PREFIX..]).as_ref(), Ok(&verb));
        } else {
            assert!(verb.try_frame().is_err());
        }
    }
    if let Ok(verb) = FromBroker::parse(data) {
        assert!(data.len() <= MAX_TEXT);
        if let Ok(frame) = verb.try_frame() {
            assert_eq!(FromBroker::parse(&frame[PREFIX..]).as_ref(), Ok(&verb));
        }
    }
});
