//! Readers that do not read and publishers that wait: what is lost is told, counted and nothing else; what must not be lost is not.

use std::time::{Duration, Instant};

use daemoneye_eventbus_core::broker::BrokerConfig;
use daemoneye_eventbus_core::wire::text::{Code, FromBroker};

use crate::support::{Bus, Client, Frame, NEW, frame, frame_of, frames, guarded, sequence};

/// Publishes in pieces with a flush between, so that the broker has taken everything when it returns.
fn publish(publisher: &mut Client, sequences: std::ops::Range<u64>) {
    for start in sequences.clone().step_by(2000) {
        publisher.send(&frames(NEW, start..sequences.end.min(start + 2000)));
        publisher.flush();
    }
}

#[test]
fn the_oldest_are_dropped_and_counted_where_they_stood() {
    guarded(|| {
        let bus = Bus::new();
        let (mut reader, _) = bus.connect_with(r#","queue_messages":1000"#);
        reader.subscribe(3, &["events.#"]);
        let mut publisher = bus.connect();
        publish(&mut publisher, 0..50_000);
        let statistics = bus.broker.statistics();
        let (delivered, pending) = (statistics.bus.messages_delivered, statistics.pending);
        assert_eq!(delivered + pending + statistics.dropped["overflow"], 50_000);
        assert!(pending <= 1000 && statistics.queued_messages <= 1000);
        let (got, lost) = reader.drain(50_000);
        assert_eq!(lost["overflow"], statistics.dropped["overflow"]);
        // One gap: what went to the kernel before, then the newest.
        let gap = got
            .iter()
            .zip(0..)
            .position(|(got, expected)| *got != expected)
            .unwrap();
        assert!(got[gap..].windows(2).all(|pair| pair[1] == pair[0] + 1));
        assert_eq!(*got.last().unwrap(), 49_999);
        assert_eq!(got[gap] - gap as u64, lost["overflow"]);
        publisher.send(&frame(NEW, 50_000));
        assert_eq!(sequence(&reader.message()), 50_000);
    });
}

#[test]
fn the_newest_are_dropped_and_counted_where_they_would_stand() {
    guarded(|| {
        let bus = Bus::new();
        let (mut reader, _) = bus.connect_with(r#","queue_bytes":100000,"overflow":"drop_newest""#);
        reader.subscribe(3, &["events.#"]);
        let mut publisher = bus.connect();
        publish(&mut publisher, 0..30_000);
        let (got, lost) = reader.drain(30_000);
        assert_eq!(got.len() as u64 + lost["overflow"], 30_000);
        assert_eq!(got, (0..got.len() as u64).collect::<Vec<_>>());
        publisher.send(&frame(NEW, 30_000));
        assert_eq!(sequence(&reader.message()), 30_000);
    });
}

#[test]
fn who_asked_for_it_is_disconnected_instead() {
    guarded(|| {
        let bus = Bus::new();
        let (mut reader, _) = bus.connect_with(r#","queue_messages":100,"overflow":"disconnect""#);
        reader.subscribe(1, &["events.#"]);
        let mut publisher = bus.connect();
        publish(&mut publisher, 0..20_000);
        let statistics = bus.settled(|statistics| statistics.refused["slow_consumer"] == 1);
        assert!(statistics.dropped["overflow"] > 0);
        loop {
            match reader.next() {
                crate::support::Frame::Message(_) => {}
                crate::support::Frame::Text(daemoneye_eventbus_core::wire::text::FromBroker::Err(err)) => {
                    assert_eq!(err.code, Code::SlowConsumer);
                    break;
                }
                other => panic!("expected messages and ERR, got {other:?}"),
            }
        }
        reader.ended();
        bus.settled(|statistics| statistics.connections == 1 && statistics.bus.active_subscribers == 0);
    });
}

#[test]
fn nothing_is_lost_while_the_publisher_waits() {
    guarded(|| {
        let bus = Bus::new();
        let (mut slow, _) = bus.connect_with(r#","queue_messages":50"#);
        slow.subscribe(1, &["events.#"]);
        let mut fast = bus.connect();
        fast.subscribe(1, &["events.#"]);
        let total = 40_000_u64;
        let (mut publisher, _) = bus.connect_with(r#","congestion":"block""#);
        let publishing = std::thread::spawn(move || {
            publisher.send(&frames(NEW, 0..total));
            publisher.flush();
        });
        let reading = std::thread::spawn(move || fast.drain(total));
        let mut got = 0;
        while got < total {
            assert_eq!(sequence(&slow.message()), got);
            got += 1;
            if got % 4000 == 0 {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        publishing.join().unwrap();
        let (fast, lost) = reading.join().unwrap();
        assert!(lost.is_empty() && fast == (0..total).collect::<Vec<_>>());
        let statistics = bus.broker.statistics();
        assert_eq!(statistics.bus.messages_delivered, 2 * total);
        assert!(statistics.dropped.values().all(|count| *count == 0));
    });
}

#[test]
fn nobody_waits_for_a_reader_that_takes_nothing_for_the_stall_timeout() {
    guarded(|| {
        let bus = Bus::with(BrokerConfig {
            // Waited for again and again, it would take longer than a test may.
            stall_timeout: Duration::from_secs(2),
            ..BrokerConfig::default()
        });
        let (mut stopped, _) = bus.connect_with(r#","queue_messages":100"#);
        stopped.subscribe(1, &["events.#"]);
        let mut reader = bus.connect();
        reader.subscribe(1, &["events.#"]);
        let (mut publisher, _) = bus.connect_with(r#","congestion":"block""#);
        let total = 30_000;
        let start = Instant::now();
        let publishing = std::thread::spawn(move || {
            publisher.send(&frames(NEW, 0..total));
            publisher.flush();
            start.elapsed()
        });
        let (got, lost) = reader.drain(total);
        assert!(got.len() as u64 == total && lost.is_empty());
        let took = publishing.join().unwrap();
        assert!(took >= Duration::from_millis(1950), "{took:?}");
        let (got, lost) = stopped.drain(total);
        assert!(got.len() as u64 + lost["overflow"] == total && lost["overflow"] > 0);
    });
}

#[test]
fn a_subscription_that_ends_while_a_publisher_waits_gets_nothing_after_that() {
    const STOP: &str = "events.process.stop";
    guarded(|| {
        let bus = Bus::with(BrokerConfig {
            stall_timeout: Duration::from_secs(60),
            ..BrokerConfig::default()
        });
        // Neighbours go to different subscriptions, so that each waits for itself.
        let (mut reader, _) = bus.connect_with(r#","queue_messages":2"#);
        for (id, topic) in [(1, NEW), (2, STOP)] {
            let filter = format!(r#","event_filter":{{"topic_filters":["{topic}"]}}"#);
            reader.subscribe_with(id, &["events.#"], &filter);
        }
        let (mut publisher, _) = bus.connect_with(r#","congestion":"block""#);
        let publishing = std::thread::spawn(move || {
            let sent = (0..400).flat_map(|n| frame_of(if n % 2 == 0 { NEW } else { STOP }, n, 4000));
            publisher.send(&sent.collect::<Vec<_>>());
            publisher
        });
        let mut before = None;
        while before.is_none_or(|before| before != bus.broker.statistics().bus.messages_published) {
            before = Some(bus.broker.statistics().bus.messages_published);
            std::thread::sleep(Duration::from_millis(200));
        }
        reader.text(r#"UNSUB {"id":2}"#);
        bus.settled(|now| now.bus.active_subscribers == 1);
        // A few go on at a time, so that others find it changed and full.
        for _ in 0..50 {
            reader.read(4000);
            std::thread::sleep(Duration::from_millis(5));
        }
        let (mut got, mut ended) = (Vec::new(), false);
        while got.last() != Some(&398) {
            match reader.next() {
                Frame::Message(frame) => {
                    let sequence = sequence(&frame);
                    assert!(
                        sequence.is_multiple_of(2) || !ended,
                        "{sequence} after the end of its subscription"
                    );
                    got.push(sequence);
                }
                Frame::Text(FromBroker::Ok(ok)) => ended = ok.id == Some(2),
                other => panic!("expected messages, got {other:?}"),
            }
        }
        got.retain(|sequence| sequence.is_multiple_of(2));
        assert!(got.iter().copied().eq((0..400).step_by(2)), "{got:?}");
        publishing.join().unwrap();
    });
}

#[test]
fn a_publisher_that_dies_while_it_waits_is_noticed_and_its_frames_still_go_out() {
    guarded(|| {
        // Were it noticed only when the reader is no longer waited for, whoever waits for that below would give up before.
        let bus = Bus::with(BrokerConfig {
            stall_timeout: Duration::from_secs(60),
            ..BrokerConfig::default()
        });
        let (mut reader, _) = bus.connect_with(r#","queue_messages":100"#);
        reader.subscribe(1, &["events.#"]);
        let (mut publisher, _) = bus.connect_with(r#","congestion":"block""#);
        publisher.subscribe(1, &["events.file.*"]);
        publisher.stream.set_nonblocking(true).unwrap();
        // As much as goes in while nobody reads.
        let bytes = frames(NEW, 0..60_000);
        let mut sent = 0;
        let mut quiet = Instant::now();
        while quiet.elapsed() < Duration::from_millis(300) {
            match std::io::Write::write(&mut publisher.stream, &bytes[sent..]) {
                Ok(len) => (sent, quiet) = (sent + len, Instant::now()),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        assert!(sent < bytes.len());
        assert_eq!(bus.broker.statistics().bus.active_subscribers, 2);
        drop(publisher);
        bus.settled(|statistics| statistics.bus.active_subscribers == 1);
        let whole = (sent / frame(NEW, 1000).len()) as u64 - 10;
        let (got, lost) = reader.drain(whole);
        assert!(lost.is_empty() && got == (0..whole).collect::<Vec<_>>());
        bus.settled(|statistics| statistics.connections == 1);
    });
}

#[test]
fn the_end_of_a_connection_settles_its_account() {
    guarded(|| {
        let bus = Bus::new();
        let mut publisher = bus.connect();
        for _ in 0..3 {
            let mut reader = bus.connect();
            reader.subscribe(1, &["events.#"]);
            reader.subscribe(2, &[NEW]);
            publish(&mut publisher, 0..20_000);
            drop(reader);
            let statistics = bus.settled(|statistics| statistics.connections == 1);
            assert_eq!(statistics.bus.active_subscribers, 0);
            assert_eq!(
                (statistics.pending, statistics.queued_messages, statistics.queued_bytes),
                (0, 0, 0)
            );
        }
        let statistics = bus.settled(|statistics| statistics.connections == 1);
        let lost = statistics.dropped["disconnected"];
        assert!(lost > 0 && statistics.bus.messages_delivered > 0);
        assert_eq!(statistics.bus.messages_delivered + lost, 3 * 2 * 20_000);
        assert_eq!(bus.broker.clients().len(), 1);
    });
}

#[test]
fn what_its_owner_closed_is_not_lost_by_the_end_of_the_connection() {
    let numbers = |word: &'static str| {
        let bus = Bus::new();
        let mut publisher = bus.connect();
        let mut reader = bus.connect();
        reader.subscribe(1, &["events.#"]);
        reader.subscribe(2, &[NEW]);
        publish(&mut publisher, 0..20_000);
        reader.text(word);
        drop(reader);
        let statistics = bus.settled(|statistics| statistics.connections == 1);
        let lost = |reason| statistics.dropped.get(reason).copied().unwrap_or(0);
        let (closed, disconnected) = (lost("closed"), lost("disconnected"));
        assert_eq!(statistics.bus.messages_delivered + closed + disconnected, 2 * 20_000);
        assert!(closed + disconnected > 0);
        (closed, disconnected)
    };
    guarded(move || {
        let (closed, disconnected) = numbers(r#"UNSUB {"id":2}"#);
        assert_eq!(closed, disconnected, "each message was for both");
        assert_eq!(numbers("BYE").1, 0);
        assert_eq!(numbers("PONG").0, 0);
    });
}

#[test]
fn answers_that_nobody_reads_stop_the_reading() {
    guarded(|| {
        let bus = Bus::new();
        let mut client = bus.connect();
        client.stream.set_nonblocking(true).unwrap();
        let pings = crate::support::text_frame("PING").repeat(1000);
        let (mut sent, mut quiet) = (0, Instant::now());
        while quiet.elapsed() < Duration::from_millis(300) {
            match std::io::Write::write(&mut client.stream, &pings[sent % pings.len()..]) {
                Ok(len) => (sent, quiet) = (sent + len, Instant::now()),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
            assert!(sent < 64 << 20, "it is never stopped");
        }
        client.stream.set_nonblocking(false).unwrap();
        for _ in 0..sent / 8 {
            assert!(matches!(
                client.next(),
                crate::support::Frame::Text(daemoneye_eventbus_core::wire::text::FromBroker::Pong)
            ));
        }
        bus.connect().flush();
    });
}

#[test]
fn the_largest_queue_is_trimmed_when_all_together_are_too_large() {
    guarded(|| {
        let bus = Bus::with(BrokerConfig {
            total_queue_bytes: 4 << 20,
            ..BrokerConfig::default()
        });
        let mut large = bus.connect();
        large.subscribe(1, &["events.#"]);
        let mut small = bus.connect();
        small.subscribe(1, &["events.network.*"]);
        let mut publisher = bus.connect();
        for sequence in 0..20 {
            publisher.send(&frame_of("events.network.new", sequence, 50_000));
        }
        for sequence in 0..100 {
            publisher.send(&frame_of(NEW, sequence, 100_000));
        }
        publisher.flush();
        let statistics = bus.broker.statistics();
        assert!(statistics.queued_bytes <= 4 << 20, "{statistics:?}");
        assert!(statistics.dropped["total_queue_bytes"] > 0);
        let (got, lost) = small.drain(20);
        assert!(got.len() == 20 && lost.is_empty());
        let (got, lost) = large.drain(120);
        assert_eq!(got.len() as u64 + lost["total_queue_bytes"], 120);
        assert_eq!(lost["total_queue_bytes"], statistics.dropped["total_queue_bytes"]);
    });
}

#[test]
fn one_reader_that_stops_costs_the_others_nothing() {
    guarded(|| {
        let bus = Bus::new();
        let (mut stopped, _) = bus.connect_with(r#","queue_messages":500"#);
        stopped.subscribe(1, &["events.#"]);
        let readers: Vec<_> = (0..5)
            .map(|_| {
                let mut reader = bus.connect();
                reader.subscribe(1, &["events.#"]);
                std::thread::spawn(move || reader.drain(20_000))
            })
            .collect();
        let mut publisher = bus.connect();
        publish(&mut publisher, 0..20_000);
        for reader in readers {
            let (got, lost) = reader.join().unwrap();
            assert!(lost.is_empty() && got == (0..20_000).collect::<Vec<_>>());
        }
        let (got, lost) = stopped.drain(20_000);
        assert_eq!(got.len() as u64 + lost["overflow"], 20_000);
        let statistics = bus.broker.statistics();
        assert_eq!(
            statistics.bus.messages_delivered + statistics.dropped["overflow"],
            6 * 20_000
        );
    });
}
