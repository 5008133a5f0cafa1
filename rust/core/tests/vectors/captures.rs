//! Frames that the original really sent: read, written again byte for byte, and told apart.
use daemoneye_eventbus_core::event::CollectionEvent;
use daemoneye_eventbus_core::wire::frame::{self, DEFAULT_MAX_FRAME, Kind, PREFIX};
use daemoneye_eventbus_core::wire::{self, Dialect, Refusal};
use serde_json::Value;

use crate::encoded;
use crate::values::{bytes, event, file, message, text, unhex};

fn frames(dialect: Dialect) -> Vec<Value> {
    let captures = file(&format!("captures-{}", dialect.name()));
    let records = captures["scenarios"].as_array().unwrap().iter();
    records
        .flat_map(|scenario| scenario["records"].as_array().unwrap().clone())
        .filter(|record| record["kind"] == "frame")
        .collect()
}

#[test]
fn what_the_original_sent_is_read_and_written_again() {
    for dialect in Dialect::CONNECTIONS.iter().copied() {
        let mut messages = 0;
        for record in frames(dialect) {
            let whole = unhex(text(&record["hex"]));
            let body = &whole[PREFIX..];
            if record["message"].is_null() {
                assert_eq!(wire::sniff(body, dialect), None);
                continue;
            }
            messages += 1;
            let found = frame::next(&whole, DEFAULT_MAX_FRAME).unwrap();
            assert_eq!(found, Some((Kind::Message, body)));
            let payload = bytes(&record["message"]["payload"]);
            let wanted = message(&record["message"], &payload);
            assert_eq!(dialect.decode::<wire::Message<'_>>(body).unwrap(), wanted);
            assert_eq!(encoded(dialect, &wanted), body);
            assert_eq!(wire::sniff(body, Dialect::BincodeV0), Some(dialect));

            let decoded = dialect.decode::<CollectionEvent<'_>>(&payload).ok();
            if let Some(noted) = record.get("event").filter(|noted| !noted.is_null()) {
                let trigger = noted["TriggerRequest"].get("payload").map(bytes).unwrap_or_default();
                assert_eq!(decoded.as_ref(), Some(&event(noted, &trigger)));
                assert_eq!(encoded(dialect, &decoded), [&[1], payload.as_slice()].concat());
            }
            match wire::check(dialect, body, 8) {
                Ok(_) | Err(Refusal::Topic { .. } | Refusal::Type { .. }) => {}
                Err(Refusal::Malformed(error)) => {
                    // The recorder once had the original publish bytes that are no event, which it forwards.
                    assert_eq!(
                        wanted.correlation_metadata.correlation_id, "undecodable-payload",
                        "{error}"
                    );
                    assert!(error.reason.starts_with("payload"), "{error}");
                    continue;
                }
            }
            for other in Dialect::CONNECTIONS.iter().copied() {
                let there = wire::translate(dialect, other, body).unwrap();
                let back = wire::translate(other, dialect, &there[PREFIX..]).unwrap();
                assert_eq!(back, whole);
                assert_eq!(wire::sniff(&there[PREFIX..], dialect), Some(other));
            }
        }
        assert!(messages >= 22, "{messages}");
    }
}
