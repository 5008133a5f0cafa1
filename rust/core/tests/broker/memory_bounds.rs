//! What a broker holds for a reader that takes nothing, whatever that reader has asked for.

use std::io::Write;
use std::time::{Duration, Instant};

use daemoneye_eventbus_core::broker::BrokerConfig;
use daemoneye_eventbus_core::wire::text::FromBroker;

use crate::support::{Bus, Client, Frame, NEW, frame, frame_of, frames, guarded, text_frame};

const MIB: usize = 1 << 20;

/// Of this process, which is the broker's.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = pages.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn publish(client: &mut Client, frames: impl Iterator<Item = Vec<u8>>) {
    let frames: Vec<_> = frames.collect();
    for some in frames.chunks(1000) {
        client.send(&some.concat());
        client.flush_all();
    }
}

#[test]
fn a_reader_that_takes_small_messages_alone_is_told_of_the_large_ones_together() {
    const EACH: u64 = 10_000;
    guarded(|| {
        let bus = Bus::new();
        let (mut reader, _) = bus.connect_with(r#","max_frame":256,"queue_messages":1"#);
        reader.subscribe(1, &["events.#"]);
        let mut publisher = bus.connect();
        let large = frame_of(NEW, 0, 512);
        publish(
            &mut publisher,
            (0..EACH).flat_map(|number| [frame(NEW, number), large.clone()]),
        );
        let (mut got, mut lost, mut told) = (0, 0, 0);
        while got + lost < 2 * EACH {
            match reader.next() {
                Frame::Message(_) => got += 1,
                Frame::Text(FromBroker::Dropped(dropped)) => {
                    told += 1;
                    lost += dropped.subscriptions[&1];
                }
                other => panic!("{other:?}"),
            }
        }
        // The kernel had room for some hundred messages, with a gap behind each.
        assert!(told < EACH / 4, "{told} times for {lost} lost messages");
    });
}

#[test]
fn lists_of_subscriptions_count_for_what_queues_hold_together() {
    const PLAIN: u64 = 1000;
    const PUBLISHED: u64 = 12_000;
    guarded(|| {
        let bus = Bus::with(BrokerConfig {
            total_queue_bytes: 16 * MIB,
            ..BrokerConfig::default()
        });
        let mut reader = bus.connect();
        for id in 0..PLAIN {
            reader.subscribe(id, &["events.#"]);
        }
        // Each message is for all the plain ones and one of these: no two neighbours are for the same.
        for pid in 0..20 {
            let filter = format!(r#","event_filter":{{"pids":[{pid}]}}"#);
            reader.subscribe_with(PLAIN + pid, &["events.#"], &filter);
        }
        let mut publisher = bus.connect();
        publisher.send(&frames(NEW, 0..20));
        publisher.flush();
        let before = resident();
        publish(&mut publisher, (0..PUBLISHED).map(|number| frame(NEW, number % 20)));
        let grown = resident().saturating_sub(before);
        assert!(grown < 48 * MIB, "{} MiB", grown / MIB);
        let statistics = bus.broker.statistics();
        let dropped: u64 = statistics.dropped.values().sum();
        let matched = (PLAIN + 1) * (PUBLISHED + 20);
        assert_eq!(
            statistics.bus.messages_delivered + statistics.pending + dropped,
            matched
        );
        assert!(statistics.dropped["total_queue_bytes"] > 0, "{:?}", statistics.dropped);
    });
}

#[test]
fn a_large_frame_that_is_done_with_takes_no_memory_from_the_next() {
    const CLIENTS: u64 = 60;
    guarded(|| {
        let bus = Bus::new();
        let large = frame_of(NEW, 0, MIB);
        let begun = &frame(NEW, 0)[..10];
        let before = resident();
        let clients: Vec<_> = (1..=CLIENTS)
            .map(|number| {
                let mut client = bus.connect();
                client.send(&[large.as_slice(), begun].concat());
                bus.settled(|now| now.bus.messages_published == number);
                client
            })
            .collect();
        let grown = resident().saturating_sub(before);
        assert!(grown < 16 * MIB, "{} MiB", grown / MIB);
        drop(clients);
    });
}

#[test]
fn who_leaves_answers_unread_leaves_room_for_large_frames() {
    guarded(|| {
        // Room for two of them.
        let bus = Bus::with(BrokerConfig {
            total_queue_bytes: MIB,
            ..BrokerConfig::default()
        });
        let pings = text_frame("PING").repeat(200_000);
        let stopped: Vec<_> = (0..20)
            .map(|_| {
                let client = bus.connect();
                client.stream.set_nonblocking(true).unwrap();
                // Until the broker reads it no further and the kernel is full as well.
                let mut rest = pings.as_slice();
                let mut idle = Instant::now();
                while idle.elapsed() < Duration::from_millis(20) {
                    if let Ok(written) = (&client.stream).write(rest) {
                        rest = &rest[written..];
                        idle = Instant::now();
                    }
                }
                client
            })
            .collect();
        let mut publisher = bus.connect();
        publisher.send(&frame_of(NEW, 0, MIB));
        publisher.flush();
        drop(stopped);
    });
}
