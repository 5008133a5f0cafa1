//! What routing one message costs a publisher of the broker's process: with and without a reader, on topics seen before and new ones,
//! beside nobody and beside 100,000 subscriptions to other patterns.
#![allow(clippy::unwrap_used)] // A benchmark that fails should stop.

mod support;

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use daemoneye_eventbus_core::broker::{Caller, Port, PortOptions};
use daemoneye_eventbus_core::queue::{Object, Overflow};
use support::{LIMITS, Nobody, TOPIC, start, subscription, with_draft};

const CROWD: usize = 100_000;
/// More topics than a publisher remembers routes of.
const NEW_TOPICS: usize = 20_000;

fn publish(port: &Port, topic: &str, object: &Object) {
    with_draft(topic, "-D /var/lib/postgresql/data --max-connections=99", |draft| {
        port.publish(draft, |_| Arc::clone(object), Caller::default()).unwrap();
    });
}

fn benches(criterion: &mut Criterion) {
    let (broker, _directory) = start();
    let port = broker.port(PortOptions::default()).unwrap();
    let object: Object = Arc::new(());
    let topics: Vec<String> = (0..NEW_TOPICS)
        .map(|number| format!("events.process.new-{number}"))
        .collect();
    let mut group = criterion.benchmark_group("router");
    group.throughput(Throughput::Elements(1));

    for beside in [0, CROWD] {
        let crowd: Vec<_> = (0..beside)
            .map(|number| {
                let asked = subscription(&format!("events.process.n{number}.*"));
                port.subscribe(&asked, LIMITS, Overflow::DropOldest, Arc::new(Nobody))
                    .unwrap()
            })
            .collect();
        group.bench_function(format!("known_topic_beside_{beside}"), |bencher| {
            bencher.iter(|| publish(&port, TOPIC, &object));
        });
        let mut next = topics.iter().cycle();
        group.bench_function(format!("new_topic_beside_{beside}"), |bencher| {
            bencher.iter(|| publish(&port, next.next().unwrap(), &object));
        });
        let asked = subscription("events.process.*");
        let reader = port
            .subscribe(&asked, LIMITS, Overflow::DropOldest, Arc::new(Nobody))
            .unwrap();
        group.bench_function(format!("known_topic_read_beside_{beside}"), |bencher| {
            bencher.iter(|| {
                publish(&port, TOPIC, &object);
                reader.queue.pop()
            });
        });
        drop((reader, crowd));
    }
    group.finish();
}

criterion_group!(routing, benches);
criterion_main!(routing);
