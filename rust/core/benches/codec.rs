//! What the codec costs per message: a 230-byte process event, written, checked and read; plain serde beside.
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use daemoneye_eventbus_core::event::{CollectionEvent, CorrelationMetadata, Map, ProcessEvent, Timestamp, Walk};
use daemoneye_eventbus_core::topic::DEFAULT_MAX_DEPTH;
use daemoneye_eventbus_core::wire::frame::{DEFAULT_MAX_FRAME, PREFIX};
use daemoneye_eventbus_core::wire::{self, Dialect, Draft, Message, Payload};
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

fn codec(criterion: &mut Criterion) {
    let dialect = Dialect::Bincode;
    let event = event();
    let draft = draft(&event);
    let mut frame = Vec::with_capacity(1024);
    let written = wire::write(dialect, &draft, DEFAULT_MAX_FRAME, DEFAULT_MAX_DEPTH, &mut frame);
    let size = written.unwrap_or_default();
    let body = frame.get(PREFIX..).unwrap_or_default().to_vec();

    let mut group = criterion.benchmark_group(format!("process event of {size} bytes"));
    group.throughput(Throughput::Elements(1));
    group.bench_function("write", |bencher| {
        bencher.iter(|| {
            frame.clear();
            wire::write(
                dialect,
                black_box(&draft),
                DEFAULT_MAX_FRAME,
                DEFAULT_MAX_DEPTH,
                &mut frame,
            )
        });
    });
    group.bench_function("encoded_len", |bencher| {
        bencher.iter(|| wire::encoded_len(dialect, black_box(&draft), DEFAULT_MAX_FRAME, DEFAULT_MAX_DEPTH));
    });
    group.bench_function("check", |bencher| {
        bencher.iter(|| wire::check(dialect, black_box(&body), DEFAULT_MAX_DEPTH));
    });
    group.bench_function("read", |bencher| {
        bencher.iter(|| wire::read(dialect, black_box(&body)));
    });
    group.bench_function("frame::next", |bencher| {
        bencher.iter(|| wire::frame::next(black_box(&frame), DEFAULT_MAX_FRAME));
    });
    group.bench_function("topic::check", |bencher| {
        bencher.iter(|| daemoneye_eventbus_core::topic::check(black_box("events.process.new"), DEFAULT_MAX_DEPTH));
    });

    // The same values through the crate's own entry points, without the rules.
    let message = wire::read(dialect, &body).map(|(message, _)| message).ok();
    group.bench_function("serde: encode envelope and event", |bencher| {
        bencher.iter(|| {
            frame.clear();
            let config = bincode::config::standard();
            let event = bincode::serde::encode_into_std_write(black_box(&event), &mut frame, config);
            let message = bincode::serde::encode_into_std_write(black_box(&message), &mut frame, config);
            (event.is_ok(), message.is_ok())
        });
    });
    group.bench_function("serde: decode envelope and event", |bencher| {
        bencher.iter(|| {
            let config = bincode::config::standard();
            let (message, _): (Message<'_, Walk>, _) =
                bincode::serde::borrow_decode_from_slice(black_box(&body), config).ok()?;
            let event: (CollectionEvent<'_, Walk>, usize) =
                bincode::serde::borrow_decode_from_slice(message.payload, config).ok()?;
            Some((message.sequence, event.0.kind()))
        });
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
