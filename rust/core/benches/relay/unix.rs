//! What the broker relays per second: a publisher and its readers on real sockets, each on a thread of its own, nothing lost.
//!
//! `cargo bench --bench relay`. Frames have 230 bytes; the publisher writes and the readers read in large pieces, so that the broker
//! is what is measured.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // A benchmark that fails should stop.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group};
use daemoneye_eventbus_core::broker::Broker;
use daemoneye_eventbus_core::wire::{self, Dialect};

use super::support::{TOPIC, start, with_draft};

const FRAME: usize = 230;

fn frame() -> Vec<u8> {
    for filler in 0..FRAME {
        let mut frame = Vec::new();
        with_draft(TOPIC, &"x".repeat(filler), |draft| {
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

fn benches(criterion: &mut Criterion) {
    let (broker, _directory) = start();
    let mut group = criterion.benchmark_group("relay");
    group.throughput(Throughput::Elements(1000)).sample_size(10);
    for readers in [1, 10] {
        group.bench_function(format!("one_to_{readers}"), |bencher| {
            bencher.iter_custom(|thousands| relay(&broker, readers, thousands * 1000));
        });
    }
    group.finish();
}

criterion_group!(relaying, benches);
