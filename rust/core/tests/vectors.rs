//! Golden vectors of the original: what it wrote is written byte for byte, what it read is read, what it refused is refused.
//!
//! Stricter than the original in one thing: bytes behind a value are refused.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests stand outside of #[test]"
)]

use daemoneye_eventbus_core::event::{
    CollectionEvent, CorrelationFilter, CorrelationMetadata, EventBusStatistics, EventFilter, EventSubscription,
    FilesystemEvent, Map, NetworkEvent, PerformanceEvent, ProcessEvent, SourceCaps, Text, TextMap, Timestamp,
    TriggerRequest, Walk,
};
use daemoneye_eventbus_core::wire::{self, Dialect, Message, MessageType, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const DIALECT: Dialect = Dialect::Bincode;
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
/// The generation of these vectors wrote `EventSubscription` without `include_control`, which stands last: its encoding is
/// ours without the last byte, and decodes here only with that byte added.
const WITHOUT_INCLUDE_CONTROL: [&str; 7] = [
    "subscription/minimal",
    "subscription/wildcards",
    "subscription/empty-patterns",
    "subscription/patterns",
    "subscription/event-filter",
    "subscription/correlation-filter",
    "subscription/full",
];

fn file() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/bincode.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn entries<'v>(file: &'v Value, list: &str) -> Vec<&'v Value> {
    let all = file[list].as_array().unwrap();
    let ours: Vec<_> = all.iter().filter(|v| TYPES.contains(&text(&v["type"]))).collect();
    assert!(!ours.is_empty(), "{list} has none of our types");
    ours
}

fn unhex(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn optional<'v, T>(value: &'v Value, some: impl FnOnce(&'v Value) -> T) -> Option<T> {
    (!value.is_null()).then(|| some(value))
}

fn uint<T: TryFrom<u64>>(value: &Value) -> T {
    T::try_from(value.as_u64().unwrap()).ok().unwrap()
}

fn map(value: &Value) -> Map<'_> {
    Map(value
        .as_object()
        .unwrap()
        .iter()
        .map(|(k, v)| (k.as_str(), text(v)))
        .collect())
}

fn bytes(value: &Value) -> Vec<u8> {
    match &value["repeat"] {
        Value::Null => unhex(text(&value["hex"])),
        repeat => unhex(text(&repeat[0])).repeat(uint(&repeat[1])),
    }
}

fn time(value: &Value) -> Timestamp {
    Timestamp {
        secs: uint(&value["secs"]),
        nanos: uint(&value["nanos"]),
    }
}

fn float(value: &Value) -> f64 {
    match value.get("f64_bits") {
        Some(bits) => f64::from_bits(u64::from_str_radix(text(bits), 16).unwrap()),
        None => value.as_f64().unwrap(),
    }
}

fn metadata(value: &Value) -> CorrelationMetadata<'_> {
    CorrelationMetadata {
        correlation_id: text(&value["correlation_id"]),
        parent_correlation_id: optional(&value["parent_correlation_id"], text),
        root_correlation_id: text(&value["root_correlation_id"]),
        sequence_number: uint(&value["sequence_number"]),
        workflow_stage: optional(&value["workflow_stage"], text),
        correlation_tags: map(&value["correlation_tags"]),
        created_at: time(&value["created_at"]),
    }
}

fn event<'v>(value: &'v Value, payload: &'v [u8]) -> CollectionEvent<'v> {
    let (variant, of) = value.as_object().unwrap().iter().next().unwrap();
    let metadata = map(&of["metadata"]);
    match variant.as_str() {
        "Process" => CollectionEvent::Process(ProcessEvent {
            pid: uint(&of["pid"]),
            name: text(&of["name"]),
            command_line: optional(&of["command_line"], text),
            executable_path: optional(&of["executable_path"], text),
            ppid: optional(&of["ppid"], uint),
            start_time: optional(&of["start_time"], time),
            metadata,
        }),
        "Network" => CollectionEvent::Network(NetworkEvent {
            connection_id: text(&of["connection_id"]),
            source_address: text(&of["source_address"]),
            destination_address: text(&of["destination_address"]),
            protocol: text(&of["protocol"]),
            metadata,
        }),
        "Filesystem" => CollectionEvent::Filesystem(FilesystemEvent {
            path: text(&of["path"]),
            event_type: text(&of["event_type"]),
            size: optional(&of["size"], uint),
            metadata,
        }),
        "Performance" => CollectionEvent::Performance(PerformanceEvent {
            metric_name: text(&of["metric_name"]),
            value: float(&of["value"]),
            unit: text(&of["unit"]),
            metadata,
        }),
        "TriggerRequest" => CollectionEvent::TriggerRequest(TriggerRequest {
            request_id: text(&of["request_id"]),
            collector_type: text(&of["collector_type"]),
            priority: uint(&of["priority"]),
            payload,
            metadata,
        }),
        other => panic!("unknown event {other}"),
    }
}

fn message<'v>(value: &'v Value, payload: &'v [u8]) -> Message<'v> {
    Message {
        id: text(&value["id"]).parse().unwrap(),
        topic: text(&value["topic"]),
        correlation_metadata: metadata(&value["correlation_metadata"]),
        payload,
        sequence: uint(&value["sequence"]),
        timestamp: time(&value["timestamp"]),
        message_type: match text(&value["message_type"]) {
            "Event" => MessageType::Event,
            "Control" => MessageType::Control,
            "Heartbeat" => MessageType::Heartbeat,
            "Shutdown" => MessageType::Shutdown,
            other => panic!("unknown message type {other}"),
        },
    }
}

/// A type without bytes or floats: its JSON form is the notation of the vectors.
fn plain<T: for<'de> Deserialize<'de>>(value: &Value) -> T {
    T::deserialize(value).unwrap()
}

/// Something of one of our types, for checks that are the same for all.
trait Check {
    fn with<'a, T: Serialize + Deserialize<'a> + std::fmt::Debug>(&self, value: T, bytes: &'a [u8]);
}

fn visit(kind: &str, value: &Value, bytes: &[u8], check: &impl Check) {
    match kind {
        "Message" => {
            let payload = self::bytes(&value["payload"]);
            check.with(message(value, &payload), bytes);
        }
        "CollectionEvent" => {
            let payload = match &value["TriggerRequest"]["payload"] {
                Value::Null => Vec::new(),
                payload => self::bytes(payload),
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

fn subscription(value: &Value) -> EventSubscription {
    let mut value = value.clone();
    value["include_control"] = Value::Bool(false);
    plain(&value)
}

fn encoded<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    DIALECT.encode(value, &mut out).unwrap();
    assert_eq!(DIALECT.encoded_len(value).unwrap(), out.len());
    out
}

struct Exact<'v>(&'v Value);

impl Check for Exact<'_> {
    fn with<'a, T: Serialize + Deserialize<'a> + std::fmt::Debug>(&self, value: T, bytes: &'a [u8]) {
        let name = text(&self.0["name"]);
        let ours = encoded(&value);
        let theirs = match ours.split_last() {
            Some((0, theirs)) if WITHOUT_INCLUDE_CONTROL.contains(&name) => theirs,
            _ => ours.as_slice(),
        };
        match self.0.get("hex") {
            Some(wanted) => {
                assert_eq!(hex(theirs), text(wanted), "{name}");
                // Compared as text: NaN is not equal to itself.
                let back: T = DIALECT.decode(bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert_eq!(format!("{back:?}"), format!("{value:?}"), "{name}");
                assert_eq!(encoded(&back), ours, "{name}");
            }
            None => {
                assert_eq!(theirs.len(), uint::<usize>(&self.0["len"]), "{name}");
                assert!(hex(theirs).starts_with(text(&self.0["head_hex"])), "{name}");
                assert!(hex(theirs).ends_with(text(&self.0["tail_hex"])), "{name}");
                assert_eq!(hex(&Sha256::digest(theirs)), text(&self.0["sha256"]), "{name}");
            }
        }
    }
}

#[test]
fn what_the_original_wrote_is_written_and_read() {
    let file = file();
    for vector in entries(&file, "vectors") {
        let mut bytes = vector.get("hex").map(|hex| unhex(text(hex))).unwrap_or_default();
        if WITHOUT_INCLUDE_CONTROL.contains(&text(&vector["name"])) {
            assert!(DIALECT.decode::<EventSubscription>(&bytes).is_err());
            bytes.push(0);
        }
        visit(text(&vector["type"]), &vector["value"], &bytes, &Exact(vector));
    }
}

#[test]
fn large_values_come_back_too() {
    let file = file();
    for vector in entries(&file, "vectors").into_iter().filter(|v| v.get("hex").is_none()) {
        struct Back;
        impl Check for Back {
            fn with<'a, T: Serialize + Deserialize<'a> + std::fmt::Debug>(&self, value: T, bytes: &'a [u8]) {
                let back: T = DIALECT.decode(bytes).unwrap();
                assert_eq!(encoded(&back), encoded(&value));
            }
        }
        struct Write(std::cell::RefCell<Vec<u8>>);
        impl Check for Write {
            fn with<'a, T: Serialize + Deserialize<'a> + std::fmt::Debug>(&self, value: T, _: &'a [u8]) {
                *self.0.borrow_mut() = encoded(&value);
            }
        }
        let write = Write(std::cell::RefCell::default());
        visit(text(&vector["type"]), &vector["value"], &[], &write);
        visit(text(&vector["type"]), &vector["value"], &write.0.into_inner(), &Back);
    }
}

/// The hot path's own walk over the same bytes.
fn checked(kind: &str, bytes: &[u8]) -> bool {
    let body = match kind {
        "Message" => bytes.to_vec(),
        "CollectionEvent" => {
            let around = json!({
                "id": "00112233-4455-6677-8899-aabbccddeeff",
                "topic": "events.a",
                "correlation_metadata": {
                    "correlation_id": "c",
                    "root_correlation_id": "c",
                    "sequence_number": 0,
                    "correlation_tags": {},
                    "created_at": {"secs": 0, "nanos": 0},
                },
                "sequence": 0,
                "timestamp": {"secs": 0, "nanos": 0},
                "message_type": "Event",
            });
            encoded(&message(&around, bytes))
        }
        _ => return false,
    };
    match wire::check(DIALECT, &body, 8) {
        // The envelopes of the vectors carry bytes that are no event.
        Err(Refusal::Malformed(error)) => kind == "Message" && error.reason.starts_with("payload"),
        _ => true,
    }
}

fn refused(kind: &str, bytes: &[u8]) -> Option<daemoneye_eventbus_core::error::DecodeError> {
    match kind {
        "Message" => {
            let walked = DIALECT.decode::<Message<'_, Walk>>(bytes).err();
            assert_eq!(DIALECT.decode::<Message<'_>>(bytes).err(), walked);
            walked
        }
        "CollectionEvent" => {
            let walked = DIALECT.decode::<CollectionEvent<'_, Walk>>(bytes).err();
            assert_eq!(DIALECT.decode::<CollectionEvent<'_>>(bytes).err(), walked);
            walked
        }
        "CorrelationMetadata" => DIALECT.decode::<CorrelationMetadata<'_>>(bytes).err(),
        "EventSubscription" => DIALECT.decode::<EventSubscription>(bytes).err(),
        other => panic!("no reject vectors of {other} were known"),
    }
}

#[test]
fn what_the_original_refused_or_died_of_is_refused() {
    let file = file();
    for vector in entries(&file, "reject") {
        let (name, bytes) = (text(&vector["name"]), unhex(text(&vector["hex"])));
        let error = refused(text(&vector["type"]), &bytes).unwrap_or_else(|| panic!("{name} was accepted"));
        assert!(!checked(text(&vector["type"]), &bytes), "{name} was accepted by check");
        assert!(error.offset <= bytes.len(), "{name}: {error}");
        assert!(!error.reason.is_empty(), "{name}");
    }
}

#[test]
fn errors_name_the_place() {
    let file = file();
    let vectors = entries(&file, "reject");
    let offset_of = |name: &str| {
        let vector = vectors.iter().find(|v| text(&v["name"]) == name).unwrap();
        refused(text(&vector["type"]), &unhex(text(&vector["hex"])))
            .unwrap()
            .offset
    };
    for (name, offset) in [
        ("reject/message-cut-at-30", 18),
        ("reject/topic-utf8-ff", 21),
        ("reject/event-variant-5", 0),
        ("reject/variant-index-251", 0),
        ("reject/event-option-tag-2-command_line", 3),
        ("reject/event-option-tag-255-start_time", 6),
        ("reject/u32-with-u64-tag", 1),
        ("reject/string-length-u128-tag", 2),
        ("reject/forged-string-length-2pow35", 11),
        ("reject/forged-map-length-2pow63", 7),
        ("reject/metadata-parent-tag-2", 2),
    ] {
        assert_eq!(offset_of(name), offset, "{name}");
    }
}

#[test]
fn integers_longer_than_needed_are_read_and_trailing_bytes_are_not() {
    struct Same;
    impl Check for Same {
        fn with<'a, T: Serialize + Deserialize<'a> + std::fmt::Debug>(&self, value: T, bytes: &'a [u8]) {
            let back: T = DIALECT.decode(bytes).unwrap();
            assert_eq!(format!("{back:?}"), format!("{value:?}"));
        }
    }
    let file = file();
    for vector in entries(&file, "lenient") {
        let (name, kind) = (text(&vector["name"]), text(&vector["type"]));
        let (bytes, consumed) = (unhex(text(&vector["hex"])), uint::<usize>(&vector["consumed"]));
        if name == "lenient/subscription-with-include-control" {
            assert!(DIALECT.decode::<EventSubscription>(&bytes).unwrap().include_control);
        } else if consumed < bytes.len() {
            assert_eq!(refused(kind, &bytes).unwrap().offset, consumed, "{name}");
            assert!(!checked(kind, &bytes), "{name}");
        } else if name == "lenient/event-duplicate-map-key" {
            // Kept in wire order; whoever looks a key up gets the last one.
            let event: CollectionEvent<'_> = DIALECT.decode(&bytes).unwrap();
            assert_eq!(event.metadata(), &Map(vec![("a", "1"), ("a", "2")]));
            assert_eq!(event.metadata().get("a"), Some("2"));
        } else {
            visit(kind, &vector["value"], &bytes, &Same);
            assert!(checked(kind, &bytes), "{name}");
        }
    }
}

/// Forged lengths in the owned types, which no vector has.
#[test]
fn owned_types_make_no_room_for_announced_lengths() {
    for length in [1_u64 << 20, 1 << 35, 1 << 60, 1 << 63, u64::MAX] {
        let forged = [&[253][..], &length.to_le_bytes(), b"xx"].concat();
        assert!(DIALECT.decode::<Text>(&forged).is_err());
        assert!(DIALECT.decode::<TextMap>(&forged).is_err());
        assert!(DIALECT.decode::<SourceCaps>(&forged).is_err());
        let pids = [&[0][..], &forged].concat();
        assert!(DIALECT.decode::<EventFilter>(&pids).is_err());
    }
    let many = [&[251][..], &4097_u16.to_le_bytes(), &[0; 2 * 4097]].concat();
    let error = DIALECT.decode::<Map<'_>>(&many).unwrap_err();
    assert!(
        error.reason.contains("4097") && error.reason.contains("4096"),
        "{error}"
    );
    assert_eq!(DIALECT.decode::<Walk>(&many).unwrap_err(), error);
    assert!(DIALECT.decode::<TextMap>(&many).is_err());
    let most = [&[251][..], &4096_u16.to_le_bytes(), &[0; 2 * 4096]].concat();
    assert!(DIALECT.decode::<Walk>(&most).is_ok());
}
