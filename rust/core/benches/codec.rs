//! What each dialect costs per message: a process event of some 230 bytes, encoded, validated, decoded and translated; plain
//! serde through the codec's crate beside.
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use daemoneye_eventbus_core::event::{
    CollectionEvent, CorrelationMetadata, EventKind, Map, ProcessEvent, Timestamp, Walk,
};
use daemoneye_eventbus_core::topic::DEFAULT_MAX_DEPTH;
use daemoneye_eventbus_core::wire::frame::{DEFAULT_MAX_FRAME, PREFIX};
use daemoneye_eventbus_core::wire::{self, Dialect, Draft, Message, MessageType, Payload};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const NOW: Timestamp = Timestamp {
    secs: 1_767_916_800,
    nanos: 123_456_789,
};
const ID: &str = "5f0f5c1e-7a0b-4d8e-9c60-0b6f6f1f8a11";

fn event() -> CollectionEvent<'static> {
    CollectionEvent::Process(ProcessEvent {
        pid: 70_000,
        name: "sshd",
        command_line: Some("sshd: alice [priv] -D -R"),
        executable_path: Some("/usr/sbin/sshd"),
        ppid: Some(1),
        start_time: Some(NOW),
        metadata: Map(vec![("collector", "procmond-1")]),
    })
}

fn draft<'a>(event: &'a CollectionEvent<'a>) -> Draft<'a> {
    Draft {
        id: Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
        topic: "events.process.new",
        correlation_metadata: CorrelationMetadata {
            correlation_id: ID,
            parent_correlation_id: None,
            root_correlation_id: ID,
            sequence_number: 0,
            workflow_stage: None,
            correlation_tags: Map::default(),
            created_at: NOW,
        },
        payload: Payload::Event(event),
        sequence: 300,
        timestamp: NOW,
    }
}

/// What the codec's crate does by itself: `encode` and `decode` of the same structs, without the rules of the bus.
struct Plain {
    encode: fn(&Message<'_>, &CollectionEvent<'_>, &mut Vec<u8>) -> bool,
    decode: fn(&[u8]) -> Option<(u64, EventKind)>,
}

const BINCODE: Plain = Plain {
    encode: |message, event, out| {
        let config = bincode::config::standard();
        bincode::serde::encode_into_std_write(event, out, config).is_ok()
            && bincode::serde::encode_into_std_write(message, out, config).is_ok()
    },
    decode: |body| {
        let config = bincode::config::standard();
        let (message, _): (Message<'_, Walk>, _) = bincode::serde::borrow_decode_from_slice(body, config).ok()?;
        let (event, _): (CollectionEvent<'_, Walk>, _) =
            bincode::serde::borrow_decode_from_slice(message.payload, config).ok()?;
        Some((message.sequence, event.kind()))
    },
};

const POSTCARD: Plain = Plain {
    encode: |message, event, out| {
        let taken = std::mem::take(out);
        match postcard::to_extend(event, taken).and_then(|out| postcard::to_extend(message, out)) {
            Ok(both) => {
                *out = both;
                true
            }
            Err(_) => false,
        }
    },
    decode: |body| {
        let message: Message<'_, Walk> = postcard::from_bytes(body).ok()?;
        let event: CollectionEvent<'_, Walk> = postcard::from_bytes(message.payload).ok()?;
        Some((message.sequence, event.kind()))
    },
};

/// An envelope of the first generation: an id in place of the correlation metadata.
#[derive(Serialize, Deserialize)]
struct FirstGeneration<'a> {
    id: Uuid,
    topic: &'a str,
    correlation_id: &'a str,
    #[serde(with = "serde_bytes")]
    payload: &'a [u8],
    sequence: u64,
    timestamp: Timestamp,
    message_type: MessageType,
}

const BINCODE_V0: Plain = Plain {
    encode: |message, event, out| {
        let config = bincode::config::standard();
        let envelope = FirstGeneration {
            id: message.id,
            topic: message.topic,
            correlation_id: message.correlation_metadata.correlation_id,
            payload: message.payload,
            sequence: message.sequence,
            timestamp: message.timestamp,
            message_type: message.message_type,
        };
        bincode::serde::encode_into_std_write(event, out, config).is_ok()
            && bincode::serde::encode_into_std_write(envelope, out, config).is_ok()
    },
    decode: |body| {
        let config = bincode::config::standard();
        let (envelope, _): (FirstGeneration<'_>, _) = bincode::serde::borrow_decode_from_slice(body, config).ok()?;
        let (event, _): (CollectionEvent<'_, Walk>, _) =
            bincode::serde::borrow_decode_from_slice(envelope.payload, config).ok()?;
        Some((envelope.sequence, event.kind()))
    },
};

fn codec(criterion: &mut Criterion) {
    let event = event();
    let draft = draft(&event);
    for (dialect, other, plain) in [
        (Dialect::Bincode, Dialect::Postcard, BINCODE),
        (Dialect::Postcard, Dialect::Bincode, POSTCARD),
        (Dialect::BincodeV0, Dialect::Bincode, BINCODE_V0),
    ] {
        let mut frame = Vec::with_capacity(1024);
        let written = wire::write(dialect, &draft, DEFAULT_MAX_FRAME, DEFAULT_MAX_DEPTH, &mut frame);
        let size = written.unwrap_or_default();
        let body = frame.get(PREFIX..).unwrap_or_default().to_vec();
        let Ok((message, _)) = wire::read(dialect, &body) else {
            continue;
        };

        let mut group = criterion.benchmark_group(format!("{}: process event of {size} bytes", dialect.name()));
        group.throughput(Throughput::Elements(1));
        group.bench_function("encode", |bencher| {
            bencher.iter(|| {
                frame.clear();
                let draft = black_box(&draft);
                wire::write(dialect, draft, DEFAULT_MAX_FRAME, DEFAULT_MAX_DEPTH, &mut frame)
            });
        });
        group.bench_function("encode, plain serde", |bencher| {
            bencher.iter(|| {
                frame.clear();
                (plain.encode)(black_box(&message), black_box(&event), &mut frame)
            });
        });
        group.bench_function("encoded length", |bencher| {
            bencher.iter(|| wire::encoded_len(dialect, black_box(&draft), DEFAULT_MAX_FRAME, DEFAULT_MAX_DEPTH));
        });
        group.bench_function("validate", |bencher| {
            bencher.iter(|| wire::check(dialect, black_box(&body), DEFAULT_MAX_DEPTH));
        });
        group.bench_function("validate, plain serde", |bencher| {
            bencher.iter(|| (plain.decode)(black_box(&body)));
        });
        group.bench_function("decode", |bencher| {
            bencher.iter(|| wire::read(dialect, black_box(&body)));
        });
        group.bench_function(format!("translate to {}", other.name()), |bencher| {
            bencher.iter(|| wire::translate(dialect, other, black_box(&body)));
        });
        group.finish();
    }
}

fn around(criterion: &mut Criterion) {
    let event = event();
    let mut frame = Vec::new();
    let written = wire::write(
        Dialect::Bincode,
        &draft(&event),
        DEFAULT_MAX_FRAME,
        DEFAULT_MAX_DEPTH,
        &mut frame,
    );
    assert!(written.is_ok());
    criterion.bench_function("frame::next", |bencher| {
        bencher.iter(|| wire::frame::next(black_box(&frame), DEFAULT_MAX_FRAME));
    });
    criterion.bench_function("topic::check", |bencher| {
        bencher.iter(|| daemoneye_eventbus_core::topic::check(black_box("events.process.new"), DEFAULT_MAX_DEPTH));
    });
}

criterion_group!(benches, codec, around);
criterion_main!(benches);
