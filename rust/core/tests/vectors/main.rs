//! Golden vectors of the original: what it wrote is written byte for byte, what it read is read, what it refused is refused.
//!
//! Stricter than the original in one thing: bytes behind a value are refused.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests stand outside of #[test]"
)]

mod captures;
mod memory;
mod values;

use daemoneye_eventbus_core::error::DecodeError;
use daemoneye_eventbus_core::event::{
    CollectionEvent, CorrelationFilter, CorrelationMetadata, EventBusStatistics, EventFilter, EventSubscription, Map,
    SourceCaps, Text, TextMap, Walk,
};
use daemoneye_eventbus_core::wire::{self, Dialect, Message, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use values::{event, file, files, hex, message, metadata, plain, subscription, text, uint, unhex};

/// Types of the vectors that the bus has.
const TYPES: [&str; 8] = [
    "Message",
    "CollectionEvent",
    "CorrelationMetadata",
    "EventSubscription",
    "CorrelationFilter",
    "EventFilter",
    "SourceCaps",
    "EventBusStatistics",
];

/// This generation wrote `EventSubscription` without `include_control`, which stands last: `encode_subscription` does so too, and
/// what `encode` writes of today's struct has that byte more.
fn without_include_control(dialect: Dialect, vector: &Value) -> bool {
    dialect == Dialect::Bincode
        && text(&vector["type"]) == "EventSubscription"
        && vector["value"].get("include_control").is_none()
}

fn entries<'v>(file: &'v Value, list: &str) -> Vec<&'v Value> {
    let all = file[list].as_array().unwrap();
    let ours: Vec<_> = all.iter().filter(|v| TYPES.contains(&text(&v["type"]))).collect();
    assert!(!ours.is_empty(), "{list} has none of our types");
    ours
}

/// Something of one of our types, for checks that are the same for all.
trait Check {
    fn with<'a, T: Serialize + Deserialize<'a> + std::fmt::Debug>(&self, value: T, bytes: &'a [u8]);
}

fn visit(kind: &str, value: &Value, bytes: &[u8], check: &impl Check) {
    match kind {
        "Message" => {
            let payload = values::bytes(&value["payload"]);
            check.with(message(value, &payload), bytes);
        }
        "CollectionEvent" => {
            let payload = match &value["TriggerRequest"]["payload"] {
                Value::Null => Vec::new(),
                payload => values::bytes(payload),
            };
            check.with(event(value, &payload), bytes);
        }
        "CorrelationMetadata" => check.with(metadata(value), bytes),
        "EventSubscription" => check.with(subscription(value), bytes),
        "CorrelationFilter" => check.with(plain::<CorrelationFilter>(value), bytes),
        "EventFilter" => check.with(plain::<EventFilter>(value), bytes),
        "SourceCaps" => check.with(plain::<SourceCaps>(value), bytes),
        "EventBusStatistics" => check.with(plain::<EventBusStatistics>(value), bytes),
        other => panic!("unknown type {other}"),
    }
}

fn encoded<T: Serialize + ?Sized>(dialect: Dialect, value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    dialect.encode(value, &mut out).unwrap();
    assert_eq!(dialect.encoded_len(value).unwrap(), out.len());
    out
}

struct Exact<'v>(Dialect, &'v Value);

impl Check for Exact<'_> {
    fn with<'a, T: Serialize + Deserialize<'a> + std::fmt::Debug>(&self, value: T, bytes: &'a [u8]) {
        let Self(dialect, vector) = *self;
        let name = format!("{} {}", dialect.name(), text(&vector["name"]));
        let ours = encoded(dialect, &value);
        let theirs = match ours.split_last() {
            Some((0, theirs)) if without_include_control(dialect, vector) => theirs,
            _ => ours.as_slice(),
        };
        match vector.get("hex") {
            Some(wanted) => {
                assert_eq!(hex(theirs), text(wanted), "{name}");
                // Compared as text: NaN is not equal to itself.
                let back: T = dialect.decode(bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert_eq!(format!("{back:?}"), format!("{value:?}"), "{name}");
                assert_eq!(encoded(dialect, &back), ours, "{name}");
            }
            None => {
                assert_eq!(theirs.len(), uint::<usize>(&vector["len"]), "{name}");
                assert!(hex(theirs).starts_with(text(&vector["head_hex"])), "{name}");
                assert!(hex(theirs).ends_with(text(&vector["tail_hex"])), "{name}");
                assert_eq!(hex(&Sha256::digest(theirs)), text(&vector["sha256"]), "{name}");
            }
        }
    }
}

#[test]
fn what_the_original_wrote_is_written_and_read() {
    for (dialect, file) in files() {
        for vector in entries(&file, "vectors") {
            let mut bytes = vector.get("hex").map(|hex| unhex(text(hex))).unwrap_or_default();
            if without_include_control(dialect, vector) {
                let value = dialect.decode_subscription(&bytes).unwrap();
                assert_eq!(value, subscription(&vector["value"]));
                let mut back = Vec::new();
                dialect.encode_subscription(&value, &mut back).unwrap();
                assert_eq!(back, bytes);
                assert!(dialect.decode::<EventSubscription>(&bytes).is_err());
                bytes.push(0);
            }
            visit(text(&vector["type"]), &vector["value"], &bytes, &Exact(dialect, vector));
        }
    }
}

#[test]
fn large_values_come_back_too() {
    struct Back(Dialect);
    impl Check for Back {
        fn with<'a, T: Serialize + Deserialize<'a> + std::fmt::Debug>(&self, value: T, bytes: &'a [u8]) {
            let back: T = self.0.decode(bytes).unwrap();
            assert_eq!(encoded(self.0, &back), encoded(self.0, &value));
        }
    }
    struct Write(Dialect, std::cell::RefCell<Vec<u8>>);
    impl Check for Write {
        fn with<'a, T: Serialize + Deserialize<'a> + std::fmt::Debug>(&self, value: T, _: &'a [u8]) {
            *self.1.borrow_mut() = encoded(self.0, &value);
        }
    }
    for (dialect, file) in files() {
        for vector in entries(&file, "vectors").into_iter().filter(|v| v.get("hex").is_none()) {
            let write = Write(dialect, std::cell::RefCell::default());
            visit(text(&vector["type"]), &vector["value"], &[], &write);
            visit(
                text(&vector["type"]),
                &vector["value"],
                &write.1.into_inner(),
                &Back(dialect),
            );
        }
    }
}

/// The hot path's own walk over the same bytes.
fn checked(dialect: Dialect, kind: &str, bytes: &[u8]) -> bool {
    let body = match kind {
        "Message" => bytes.to_vec(),
        "CollectionEvent" => {
            let around = json!({
                "id": "00112233-4455-6677-8899-aabbccddeeff",
                "topic": "events.a",
                "correlation_id": "c",
                "sequence": 0,
                "timestamp": {"secs": 0, "nanos": 0},
                "message_type": "Event",
            });
            encoded(dialect, &message(&around, bytes))
        }
        _ => return false,
    };
    match wire::check(dialect, &body, 8) {
        // The envelopes of the vectors carry bytes that are no event.
        Err(Refusal::Malformed(error)) => kind == "Message" && error.reason.starts_with("payload"),
        _ => true,
    }
}

fn refused(dialect: Dialect, kind: &str, bytes: &[u8]) -> Option<DecodeError> {
    let error = match kind {
        "Message" => {
            let walked = dialect.decode::<Message<'_, Walk>>(bytes).err();
            assert_eq!(dialect.decode::<Message<'_>>(bytes).err(), walked);
            walked
        }
        "CollectionEvent" => {
            let walked = dialect.decode::<CollectionEvent<'_, Walk>>(bytes).err();
            assert_eq!(dialect.decode::<CollectionEvent<'_>>(bytes).err(), walked);
            walked
        }
        "CorrelationMetadata" => dialect.decode::<CorrelationMetadata<'_>>(bytes).err(),
        "EventSubscription" => dialect.decode::<EventSubscription>(bytes).err(),
        other => panic!("no reject vectors of {other} were known"),
    }?;
    assert_eq!(error.dialect, dialect.name());
    Some(error)
}

#[test]
fn what_the_original_refused_or_died_of_is_refused() {
    for (dialect, file) in files() {
        for vector in entries(&file, "reject") {
            let (kind, bytes) = (text(&vector["type"]), unhex(text(&vector["hex"])));
            let name = format!("{} {}", dialect.name(), text(&vector["name"]));
            let error = refused(dialect, kind, &bytes).unwrap_or_else(|| panic!("{name} was accepted"));
            assert!(!checked(dialect, kind, &bytes), "{name} was accepted by check");
            assert!(error.offset <= bytes.len(), "{name}: {error}");
            assert!(!error.reason.is_empty(), "{name}");
        }
    }
}

#[test]
fn errors_name_the_place() {
    let everywhere = [
        ("message-cut-at-30", 17, "8 more bytes"),
        ("uuid-length-15", 0, "invalid length"),
        ("topic-utf8-ff", 21, "UTF-8"),
        ("topic-utf8-cut-sequence-at-end", 36, "UTF-8"),
        ("event-variant-5", 0, "invalid value: integer `5`"),
        ("event-option-tag-2-command_line", 3, "option tag 2"),
        ("event-option-tag-255-start_time", 6, "option tag 255"),
        ("event-performance-f64-cut", 3, "1 more bytes"),
        ("subscription-bool-2", 12, "bool 2"),
        ("forged-map-length-2pow63", 7, "above the limit of 4096"),
        ("forged-string-length-2pow35", 2, "more bytes"),
        ("forged-bytes-length-u64-max", 6, "more bytes"),
    ];
    let of_bincode = [
        ("event-cut-at-27", 22, "3 more bytes"),
        ("forged-topic-length-2pow63", 17, "more bytes"),
        ("forged-uuid-length-2pow35", 0, "more bytes"),
        ("variant-index-251", 0, "invalid value"),
        ("u32-with-u64-tag", 1, "too wide"),
        ("string-length-u128-tag", 2, "too wide"),
    ];
    let of_postcard = [
        ("variant-index-128", 0, "invalid value"),
        ("u32-overlong-6", 1, "too wide"),
        ("string-length-overlong-11", 2, "too wide"),
        ("subscription-without-include-control", 13, "1 more bytes"),
        ("timestamp-secs-2pow63", 65, "beyond the clock"),
    ];
    let current = [("metadata-parent-tag-2", 2, "option tag 2")];
    let seconds = |offset| ("timestamp-secs-2pow63", offset, "beyond the clock");
    for (dialect, file) in files() {
        let mut wanted = everywhere.to_vec();
        match dialect {
            Dialect::Bincode => wanted.extend(of_bincode.iter().chain(&current).chain(&[seconds(67)])),
            Dialect::Postcard => wanted.extend(of_postcard.iter().chain(&current)),
            Dialect::BincodeV0 => wanted.extend(of_bincode.iter().chain(&[seconds(49)])),
        }
        for (name, offset, reason) in wanted {
            let vectors = entries(&file, "reject");
            let is_it = |v: &&&Value| text(&v["name"]) == format!("reject/{name}");
            let vector = vectors.iter().find(is_it).unwrap();
            let error = refused(dialect, text(&vector["type"]), &unhex(text(&vector["hex"]))).unwrap();
            assert_eq!(error.offset, offset, "{name}: {error}");
            assert!(error.reason.contains(reason), "{name}: {error}");
        }
    }
}

#[test]
fn integers_longer_than_needed_are_read_and_trailing_bytes_are_not() {
    struct Same(Dialect);
    impl Check for Same {
        fn with<'a, T: Serialize + Deserialize<'a> + std::fmt::Debug>(&self, value: T, bytes: &'a [u8]) {
            let back: T = self.0.decode(bytes).unwrap();
            assert_eq!(format!("{back:?}"), format!("{value:?}"));
        }
    }
    for (dialect, file) in files() {
        for vector in entries(&file, "lenient") {
            let (name, kind) = (text(&vector["name"]), text(&vector["type"]));
            let (bytes, consumed) = (unhex(text(&vector["hex"])), uint::<usize>(&vector["consumed"]));
            if dialect == Dialect::Bincode && name == "lenient/subscription-with-include-control" {
                assert!(dialect.decode::<EventSubscription>(&bytes).unwrap().include_control);
            } else if consumed < bytes.len() {
                assert_eq!(refused(dialect, kind, &bytes).unwrap().offset, consumed, "{name}");
                assert!(!checked(dialect, kind, &bytes), "{name}");
            } else if name == "lenient/event-duplicate-map-key" {
                // Kept in wire order; whoever looks a key up gets the last one.
                let event: CollectionEvent<'_> = dialect.decode(&bytes).unwrap();
                assert_eq!(event.metadata(), &Map(vec![("a", "1"), ("a", "2")]));
                assert_eq!(event.metadata().get("a"), Some("2"));
            } else {
                visit(kind, &vector["value"], &bytes, &Same(dialect));
                assert!(checked(dialect, kind, &bytes), "{name}");
            }
        }
    }
}

/// Forged lengths in the owned types, which no vector has.
#[test]
fn owned_types_make_no_room_for_announced_lengths() {
    for dialect in Dialect::ALL.iter().copied() {
        for length in [1_u64 << 20, 1 << 35, 1 << 60, 1 << 63, u64::MAX] {
            let forged = [encoded(dialect, &length).as_slice(), b"xx"].concat();
            assert!(dialect.decode::<Text>(&forged).is_err());
            assert!(dialect.decode::<TextMap>(&forged).is_err());
            assert!(dialect.decode::<SourceCaps>(&forged).is_err());
            let pids = [&[0][..], &forged].concat();
            assert!(dialect.decode::<EventFilter>(&pids).is_err());
        }
        let of_empty_texts =
            |count: u32| [encoded(dialect, &count), vec![0; 2 * usize::try_from(count).unwrap()]].concat();
        let many = of_empty_texts(4097);
        let error = dialect.decode::<Map<'_>>(&many).unwrap_err();
        assert!(
            error.reason.contains("4097") && error.reason.contains("4096"),
            "{error}"
        );
        assert_eq!(dialect.decode::<Walk>(&many).unwrap_err(), error);
        assert!(dialect.decode::<TextMap>(&many).is_err());
        assert!(dialect.decode::<Walk>(&of_empty_texts(4096)).is_ok());
        let too_many = TextMap(vec![(Text::default(), Text::default()); 4097]);
        let refused = dialect.encode(&too_many, &mut Vec::new()).unwrap_err().to_string();
        assert!(refused.contains("4097") && refused.contains("4096"), "{refused}");
    }
}

/// What the first generation cannot say is refused by name, and `out` is as before.
#[test]
fn the_first_generation_loses_nothing_silently() {
    fn refusal<T: Serialize>(value: &T) -> String {
        let mut out = b"kept".to_vec();
        let error = Dialect::BincodeV0.encode(value, &mut out).unwrap_err();
        assert_eq!(out, b"kept");
        assert_eq!(Dialect::BincodeV0.encoded_len(value), Err(error.clone()));
        error.to_string()
    }
    let fine = values::id_alone("c");
    assert_eq!(encoded(Dialect::BincodeV0, &fine), b"\x01c");
    for (value, field) in [
        (
            CorrelationMetadata {
                parent_correlation_id: Some(""),
                ..fine.clone()
            },
            "parent_correlation_id",
        ),
        (
            CorrelationMetadata {
                root_correlation_id: "",
                ..fine.clone()
            },
            "root_correlation_id",
        ),
        (
            CorrelationMetadata {
                sequence_number: 256,
                ..fine.clone()
            },
            "sequence_number",
        ),
        (
            CorrelationMetadata {
                workflow_stage: Some("s"),
                ..fine.clone()
            },
            "workflow_stage",
        ),
        (
            CorrelationMetadata {
                correlation_tags: Map(vec![("", "")]),
                ..fine.clone()
            },
            "correlation_tags",
        ),
    ] {
        let refusal = refusal(&value);
        assert!(refusal.contains(&format!("CorrelationMetadata.{field}")), "{refusal}");
    }
    let filter = CorrelationFilter {
        min_sequence: Some(0),
        ..CorrelationFilter::default()
    };
    assert!(refusal(&filter).contains("CorrelationFilter.min_sequence"));
    let subscription = EventSubscription {
        include_control: true,
        ..EventSubscription::default()
    };
    assert!(refusal(&subscription).contains("EventSubscription.include_control"));
    let captured = file("bincode-v0");
    let vector = entries(&captured, "vectors")[0];
    let bytes = unhex(text(&vector["hex"]));
    let current = wire::translate(Dialect::BincodeV0, Dialect::Bincode, &bytes);
    // The vectors' payloads are no events, which is all that is wrong here.
    assert!(current.unwrap_err().to_string().contains("payload"));
}
