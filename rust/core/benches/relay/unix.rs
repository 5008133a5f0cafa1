//! What the broker relays per second: a publisher and its readers on real sockets, each on a thread of its own, nothing lost.
//!
//! `cargo bench --bench relay`. Frames have 230 bytes; the publisher writes and the readers read in large pieces, so that the broker
//! is what is measured. `in_process` is one bus of the broker's process publishing to its own subscription, popped at once.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // A benchmark that fails should stop.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group};
use daemoneye_eventbus_core::broker::{Broker, BrokerConfig, Port, PortOptions};
use daemoneye_eventbus_core::event::{
    CollectionEvent, CorrelationMetadata, EventSubscription, Map, ProcessEvent, SourceCaps, Timestamp,
};
use daemoneye_eventbus_core::queue::{Limits, Object, Overflow, Wake};
use daemoneye_eventbus_core::transport::Address;
use daemoneye_eventbus_core::wire::{self, Dialect, Draft, Payload};

const FRAME: usize = 230;
const TOPIC: &str = "events.process.new";

fn start() -> (Broker, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let address = Address::from_path(&directory.path().join("b.sock")).unwrap();
    let config = BrokerConfig {
        max_patterns_per_client: 200_000,
        ..BrokerConfig::default()
    };
    let broker = Broker::new(address, config).unwrap();
    let (done, wait) = mpsc::channel();
    broker.start(move |result| done.send(result).unwrap());
    wait.recv().unwrap().unwrap();
    (broker, directory)
}

fn with_draft<R>(command_line: &str, work: impl FnOnce(&Draft<'_>) -> R) -> R {
    let event = CollectionEvent::Process(ProcessEvent {
        pid: 4321,
        name: "postgres",
        command_line: Some(command_line),
        executable_path: Some("/usr/lib/postgresql/bin/postgres"),
        ppid: Some(1),
        start_time: None,
        metadata: Map(vec![("collector", "procmond"), ("host", "node-7")]),
    });
    let id = "0b6d2f0e-3f0f-4a27-9c34-0b6f4f0f8d11";
    work(&Draft {
        id: uuid::Uuid::from_u128(7),
        topic: TOPIC,
        correlation_metadata: CorrelationMetadata {
            correlation_id: id,
            parent_correlation_id: None,
            root_correlation_id: "r",
            sequence_number: 0,
            workflow_stage: None,
            correlation_tags: Map::default(),
            created_at: Timestamp::now(),
        },
        payload: Payload::Event(&event),
        sequence: 1,
        timestamp: Timestamp::now(),
    })
}

fn frame() -> Vec<u8> {
    for filler in 0..FRAME {
        let mut frame = Vec::new();
        with_draft(&"x".repeat(filler), |draft| {
            wire::write(Dialect::Bincode, draft, 1 << 20, 8, &mut frame)
        })
        .unwrap();
        if frame.len() == FRAME {
            return frame;
        }
    }
    panic!("no filler gives {FRAME} bytes");
}

fn text(text: &str) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_le_bytes(), text.as_bytes()].concat()
}

/// Connects, says `texts`, and reads as many answers.
fn connect(broker: &Broker, texts: &[&str]) -> UnixStream {
    let mut stream = UnixStream::connect(broker.address().path()).unwrap();
    for said in texts {
        stream.write_all(&text(said)).unwrap();
        let mut prefix = [0; 4];
        stream.read_exact(&mut prefix).unwrap();
        let mut body = vec![0; u32::from_le_bytes(prefix) as usize];
        stream.read_exact(&mut body).unwrap();
    }
    stream
}

fn relay(broker: &Broker, readers: usize, messages: u64) -> Duration {
    let sub = r#"SUB {"id":1,"topic_patterns":["events.#"]}"#;
    let bytes = messages * FRAME as u64;
    let reading: Vec<_> = (0..readers)
        .map(|_| {
            let mut stream = connect(broker, &[r#"CONNECT {"protocol":1}"#, sub]);
            std::thread::spawn(move || {
                let mut buffer = vec![0; 256 * 1024];
                let mut left = bytes;
                while left > 0 {
                    left -= stream.read(&mut buffer).unwrap() as u64;
                }
                stream
            })
        })
        .collect();
    let mut publisher = connect(broker, &[r#"CONNECT {"protocol":1,"congestion":"block"}"#]);
    let frames = frame().repeat(280);
    let start = Instant::now();
    let mut left = usize::try_from(bytes).unwrap();
    while left > 0 {
        let len = left.min(frames.len());
        publisher.write_all(&frames[..len]).unwrap();
        left -= len;
    }
    let readers: Vec<_> = reading.into_iter().map(|reading| reading.join().unwrap()).collect();
    let took = start.elapsed();
    drop(readers);
    took
}

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

fn publish(port: &Port, object: &Object) {
    with_draft("-D /var/lib/postgresql/data", |draft| {
        let size = wire::encoded_len(Dialect::Bincode, draft, 1 << 20, 8).unwrap();
        port.publish(draft, size, object, None).unwrap();
    });
}

fn benches(criterion: &mut Criterion) {
    let (broker, _directory) = start();
    let mut group = criterion.benchmark_group("relay");
    group.throughput(Throughput::Elements(1000)).sample_size(10);
    for readers in [1, 10] {
        group.bench_function(format!("one_to_{readers}"), |bencher| {
            bencher.iter_custom(|thousands| relay(&broker, readers, thousands * 1000));
        });
    }
    group.throughput(Throughput::Elements(1));
    let port = broker.port(PortOptions::default()).unwrap();
    let asked = EventSubscription {
        subscriber_id: "s".into(),
        capabilities: SourceCaps::default(),
        event_filter: None,
        correlation_filter: None,
        topic_patterns: Some(vec!["events.#".into()]),
        enable_wildcards: true,
        include_control: false,
    };
    let limits = Limits {
        messages: 1000,
        bytes: 1 << 20,
    };
    let object: Object = Arc::new(());
    group.bench_function("in_process_without_reader", |bencher| {
        bencher.iter(|| publish(&port, &object))
    });
    let subscription = port
        .subscribe(&asked, limits, Overflow::DropOldest, Arc::new(Nobody))
        .unwrap();
    group.bench_function("in_process", |bencher| {
        bencher.iter(|| {
            publish(&port, &object);
            subscription.queue.pop()
        });
    });
    drop(subscription);
    let mut beside = asked.clone();
    let crowd: Vec<_> = (0..100_000)
        .map(|number| {
            beside.topic_patterns = Some(vec![format!("events.process.n{number}.*").as_str().into()]);
            port.subscribe(&beside, limits, Overflow::DropOldest, Arc::new(Nobody))
                .unwrap()
        })
        .collect();
    group.bench_function("in_process_without_reader_beside_100000", |bencher| {
        bencher.iter(|| publish(&port, &object))
    });
    drop(crowd);
    group.finish();
}

criterion_group!(relaying, benches);
