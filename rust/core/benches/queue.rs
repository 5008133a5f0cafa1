//! What a message costs in the queue before a reader: pushed and popped one by one, in runs, written as bytes, and dropped when full.
#![allow(clippy::unwrap_used)] // A benchmark that fails should stop.

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use daemoneye_eventbus_core::queue::{Budget, Limits, OnFull, Overflow, Queue, Run, Subscriptions};
use support::Nobody;

const FRAME: usize = 230;
const RUN: usize = 280;

fn queue(messages: usize) -> Queue {
    let limits = Limits {
        messages,
        bytes: 64 << 20,
    };
    let budget = Arc::new(Budget::new(256 << 20));
    Queue::new(
        limits,
        Overflow::DropOldest,
        Some(Duration::from_secs(5)),
        budget,
        Arc::new(Nobody),
    )
}

fn frames(count: usize) -> Bytes {
    let frame = [&u32::try_from(FRAME - 4).unwrap().to_le_bytes()[..], &[0x55; FRAME - 4]].concat();
    Bytes::from(frame.repeat(count))
}

fn benches(criterion: &mut Criterion) {
    let subscriptions = Subscriptions::One(1);
    let one = Run::frames(frames(1), 1);
    let many = Run::frames(frames(RUN), u32::try_from(RUN).unwrap());
    let mut group = criterion.benchmark_group("queue");

    group.throughput(Throughput::Elements(1));
    let single = queue(65_536);
    group.bench_function("push_pop", |bencher| {
        bencher.iter(|| {
            single.push(&one, &subscriptions, 0, OnFull::Overflow);
            single.pop()
        });
    });
    let full = queue(1_000);
    group.bench_function("push_into_full_drops_oldest", |bencher| {
        bencher.iter(|| full.push(&one, &subscriptions, 0, OnFull::Overflow));
    });

    group.throughput(Throughput::Elements(RUN as u64));
    let runs = queue(65_536);
    group.bench_function("push_run_write", |bencher| {
        bencher.iter(|| {
            runs.push(&many, &subscriptions, 0, OnFull::Overflow);
            runs.write_to(|slices| Ok(slices.iter().map(|slice| slice.len()).sum()))
        });
    });
    group.finish();
}

criterion_group!(queues, benches);
criterion_main!(queues);
