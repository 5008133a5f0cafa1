//! The notation of the vectors (`tests/vectors/README.md`) as values of ours.
use daemoneye_eventbus_core::event::{
    CollectionEvent, CorrelationMetadata, EventSubscription, FilesystemEvent, Map, NetworkEvent, PerformanceEvent,
    ProcessEvent, Timestamp, TriggerRequest,
};
use daemoneye_eventbus_core::wire::{Dialect, Message, MessageType};
use serde::Deserialize;
use serde_json::Value;

/// A file of `tests/vectors` by its stem.
pub(crate) fn file(stem: &str) -> Value {
    let path = format!("{}/../../tests/vectors/{stem}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Every dialect with its vectors.
pub(crate) fn files() -> Vec<(Dialect, Value)> {
    Dialect::ALL
        .iter()
        .map(|dialect| (*dialect, file(dialect.name())))
        .collect()
}

pub(crate) fn unhex(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

pub(crate) fn optional<'v, T>(value: &'v Value, some: impl FnOnce(&'v Value) -> T) -> Option<T> {
    (!value.is_null()).then(|| some(value))
}

pub(crate) fn uint<T: TryFrom<u64>>(value: &Value) -> T {
    T::try_from(value.as_u64().unwrap()).ok().unwrap()
}

pub(crate) fn map(value: &Value) -> Map<'_> {
    Map(value
        .as_object()
        .unwrap()
        .iter()
        .map(|(k, v)| (k.as_str(), text(v)))
        .collect())
}

pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    match &value["repeat"] {
        Value::Null => unhex(text(&value["hex"])),
        repeat => unhex(text(&repeat[0])).repeat(uint(&repeat[1])),
    }
}

pub(crate) fn time(value: &Value) -> Timestamp {
    Timestamp {
        secs: uint(&value["secs"]),
        nanos: uint(&value["nanos"]),
    }
}

pub(crate) fn float(value: &Value) -> f64 {
    match value.get("f64_bits") {
        Some(bits) => f64::from_bits(u64::from_str_radix(text(bits), 16).unwrap()),
        None => value.as_f64().unwrap(),
    }
}

pub(crate) fn metadata(value: &Value) -> CorrelationMetadata<'_> {
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

/// The first generation's correlation, as it is read.
pub(crate) fn id_alone(id: &str) -> CorrelationMetadata<'_> {
    CorrelationMetadata {
        correlation_id: id,
        parent_correlation_id: None,
        root_correlation_id: id,
        sequence_number: 0,
        workflow_stage: None,
        correlation_tags: Map::default(),
        created_at: Timestamp { secs: 0, nanos: 0 },
    }
}

pub(crate) fn event<'v>(value: &'v Value, payload: &'v [u8]) -> CollectionEvent<'v> {
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

pub(crate) fn message<'v>(value: &'v Value, payload: &'v [u8]) -> Message<'v> {
    Message {
        id: text(&value["id"]).parse().unwrap(),
        topic: text(&value["topic"]),
        correlation_metadata: match &value["correlation_metadata"] {
            Value::Null => id_alone(text(&value["correlation_id"])),
            all => metadata(all),
        },
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
pub(crate) fn plain<T: for<'de> Deserialize<'de>>(value: &Value) -> T {
    T::deserialize(value).unwrap()
}

/// Generations before 2026-04 had no `include_control`.
pub(crate) fn subscription(value: &Value) -> EventSubscription {
    let mut value = value.clone();
    if value.get("include_control").is_none() {
        value["include_control"] = Value::Bool(false);
    }
    plain(&value)
}
