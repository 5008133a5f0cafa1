//! What takes the original half a minute each, at a pace that a test can wait for.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::broker::original_timing::OriginalTiming;
use crate::broker::{Broker, BrokerConfig, Caller, ClientInfo, PortOptions};
use crate::event::{CollectionEvent, CorrelationMetadata, Map, ProcessEvent, Timestamp};
use crate::transport::Address;
use crate::wire::auth::Token;
use crate::wire::{self, Dialect, Draft, Payload};

/// The same half second on either side of a check as in reality.
const TIMING: OriginalTiming = OriginalTiming {
    interval: CHECK,
    quiet_for: Duration::from_secs(1),
    proof: Duration::from_millis(700),
};
const CHECK: Duration = Duration::from_secs(2);

struct Bus {
    broker: Broker,
    directory: tempfile::TempDir,
}

impl Bus {
    fn new(config: BrokerConfig) -> Self {
        let directory = tempfile::Builder::new().prefix("bus").tempdir_in("/tmp").unwrap();
        let address = Address::from_path(&directory.path().join("b.sock")).unwrap();
        let broker = Broker::with_original_timing(address, config, TIMING).unwrap();
        let (done, wait) = mpsc::channel();
        broker.start(move |result| done.send(result).unwrap());
        wait.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
        Self { broker, directory }
    }

    fn dial(&self) -> UnixStream {
        let stream = UnixStream::connect(self.directory.path().join("b.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    }

    /// Publishes events of these pids.
    fn publish(&self, pids: std::ops::Range<u32>) {
        let port = self.broker.port(PortOptions::default()).unwrap();
        for pid in pids {
            with_draft(pid, |draft| {
                port.publish(draft, |_| std::sync::Arc::new(()), Caller::default())
                    .unwrap();
            });
        }
    }
}

fn with_draft<R>(pid: u32, work: impl FnOnce(&mut Draft<'_>) -> R) -> R {
    let event = CollectionEvent::Process(ProcessEvent {
        pid,
        name: "sh",
        command_line: None,
        executable_path: None,
        ppid: None,
        start_time: None,
        metadata: Map::default(),
    });
    let now = Timestamp::now();
    work(&mut Draft {
        id: uuid::Uuid::from_u128(u128::from(pid)),
        topic: "events.process.new",
        correlation_metadata: CorrelationMetadata {
            correlation_id: "c",
            parent_correlation_id: None,
            root_correlation_id: "c",
            sequence_number: 0,
            workflow_stage: None,
            correlation_tags: Map::default(),
            created_at: now,
        },
        payload: Payload::Event(&event),
        sequence: 0,
        timestamp: now,
    })
}

/// One frame, as the original reads: a read for the length, a read for the body, each of which must give all of it.
fn read_like_the_original(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut prefix = [0; 4];
    match stream.read(&mut prefix) {
        Ok(read) => assert_eq!(read, 4, "the length came in parts"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
        Err(error) => panic!("{error}"),
    }
    let mut body = vec![0; u32::from_le_bytes(prefix) as usize];
    assert_eq!(stream.read(&mut body).unwrap(), body.len(), "the body came in parts");
    Some(body)
}

fn pid(body: &[u8]) -> u32 {
    let (_, event) = wire::read(Dialect::Postcard, body).unwrap();
    match event {
        Some(CollectionEvent::Process(event)) => event.pid,
        other => panic!("{other:?}"),
    }
}

fn check(stream: &mut UnixStream) {
    stream.write_all(b"\x04\0\0\0PING").unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "a broker needs getrlimit, which is missing there")]
fn a_backlog_and_a_stream_of_events_leave_every_check_its_answer() {
    let bus = Bus::new(BrokerConfig {
        handshake_timeout: Duration::from_millis(100),
        queue_messages: 100,
        ..BrokerConfig::default()
    });
    let mut peer = bus.dial();
    std::thread::sleep(Duration::from_millis(200));
    let over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        // More than it can read, all the time.
        threads.spawn(|| {
            let deadline = Instant::now() + 20 * CHECK;
            let mut pid = 0;
            while !over.load(Ordering::Relaxed) && Instant::now() < deadline {
                bus.publish(pid..pid + 50);
                pid += 50;
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        live_like_the_original(&mut peer);
        over.store(true, Ordering::Relaxed);
    });
    assert!(bus.broker.statistics().dropped["overflow"] > 1000);
}

/// Reads what comes and checks, as its client does. Fails where that would have cut the connection.
fn live_like_the_original(peer: &mut UnixStream) {
    peer.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let (mut seen, mut last, mut due) = (0, None, Instant::now() + CHECK - Duration::from_millis(200));
    let mut unasked = 0;
    for _ in 0..5 {
        while Instant::now() < due {
            std::thread::sleep(Duration::from_millis(10));
            if let Some(body) = read_like_the_original(peer) {
                if body == b"PONG" {
                    unasked += 1;
                    continue;
                }
                assert!(last < Some(pid(&body)), "out of order");
                last = Some(pid(&body));
                seen += 1;
            }
        }
        check(peer);
        let answer = std::iter::repeat_with(|| read_like_the_original(peer)).flatten().next();
        assert_eq!(answer.as_deref(), Some(&b"PONG"[..]));
        due += CHECK;
    }
    assert!(seen > 20, "{seen}");
    assert_eq!(unasked, 1);
}

#[test]
#[cfg_attr(miri, ignore = "a broker needs getrlimit, which is missing there")]
fn around_a_check_there_is_quiet_but_not_for_ever() {
    let bus = Bus::new(BrokerConfig::default());
    let mut peer = bus.dial();
    check(&mut peer);
    assert_eq!(read_like_the_original(&mut peer).unwrap(), b"PONG");
    let checked = Instant::now();
    bus.publish(0..1);
    assert_eq!(
        read_like_the_original(&mut peer).unwrap(),
        b"PONG",
        "before its first message"
    );
    assert_eq!(pid(&read_like_the_original(&mut peer).unwrap()), 0);
    std::thread::sleep((checked + Duration::from_millis(1650)).saturating_duration_since(Instant::now()));
    bus.publish(1..3);
    peer.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert_eq!(read_like_the_original(&mut peer), None);
    peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    check(&mut peer);
    assert_eq!(read_like_the_original(&mut peer).unwrap(), b"PONG");
    let checked = Instant::now();
    for wanted in [1, 2] {
        assert_eq!(pid(&read_like_the_original(&mut peer).unwrap()), wanted);
    }
    // One that does not check is waited for no longer than it may take.
    std::thread::sleep((checked + Duration::from_millis(1650)).saturating_duration_since(Instant::now()));
    bus.publish(3..4);
    assert_eq!(pid(&read_like_the_original(&mut peer).unwrap()), 3);
    let passed = checked.elapsed();
    assert!(
        passed >= Duration::from_millis(2450) && passed < Duration::from_millis(3450),
        "{passed:?}"
    );
}

/// A broker with such a peer that has not read the `PONG` which stands before its first message.
fn met_and_asked(config: BrokerConfig) -> (Bus, UnixStream) {
    let bus = Bus::new(config);
    let mut peer = bus.dial();
    check(&mut peer);
    assert_eq!(read_like_the_original(&mut peer).unwrap(), b"PONG");
    bus.publish(0..10);
    (bus, peer)
}

fn only(bus: &Bus) -> ClientInfo {
    let mut clients = bus.broker.clients();
    assert_eq!(clients.len(), 1);
    clients.remove(0)
}

#[test]
#[cfg_attr(miri, ignore = "a broker needs getrlimit, which is missing there")]
fn whoever_reads_answers_only_keeps_its_connection_and_is_sent_nothing_else() {
    let (bus, mut peer) = met_and_asked(BrokerConfig {
        stall_timeout: Duration::from_millis(200),
        ..BrokerConfig::default()
    });
    for round in 0..5 {
        bus.publish(0..10);
        std::thread::sleep(CHECK);
        check(&mut peer);
        assert_eq!(read_like_the_original(&mut peer).unwrap(), b"PONG", "{round}");
    }
    let info = only(&bus);
    assert_eq!((info.subscriptions, info.delivered, info.queued_messages), (0, 0, 0));
    // What waited until it was known. Later nothing is matched.
    assert!(matches!(bus.broker.statistics().dropped["closed"], 20 | 30));
    // One that reads after all is a client.
    assert_eq!(read_like_the_original(&mut peer).unwrap(), b"PONG");
    let deadline = Instant::now() + Duration::from_secs(5);
    while only(&bus).subscriptions == 0 {
        assert!(Instant::now() < deadline, "not subscribed again");
        std::thread::sleep(Duration::from_millis(10));
    }
    bus.publish(77..78);
    assert_eq!(pid(&read_like_the_original(&mut peer).unwrap()), 77);
}

#[test]
#[cfg_attr(miri, ignore = "a broker needs getrlimit, which is missing there")]
fn what_a_peer_that_reads_answers_only_is_given_to_read_waits_until_it_reads() {
    let (bus, mut peer) = met_and_asked(BrokerConfig {
        stall_timeout: Duration::from_millis(200),
        ..BrokerConfig::default()
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    while only(&bus).subscriptions == 1 {
        assert!(Instant::now() < deadline, "it is taken for a client still");
        check(&mut peer);
        assert_eq!(read_like_the_original(&mut peer).unwrap(), b"PONG");
        std::thread::sleep(CHECK / 2);
    }
    let subscribe = |pattern: &str| bus.broker.subscribe_client(only(&bus).id, &[pattern.to_owned()]);
    subscribe("events.network.+").unwrap();
    subscribe("events.process.+").unwrap();
    bus.publish(0..10);
    let info = only(&bus);
    assert_eq!((info.subscriptions, info.queued_messages), (0, 0));
    // All that it was sent, and then what it is subscribed to.
    peer.set_nonblocking(true).unwrap();
    while only(&bus).subscriptions == 0 {
        assert!(Instant::now() < deadline, "it reads, and is not taken for a client");
        let _ = peer.read(&mut [0; 64]);
        std::thread::sleep(Duration::from_millis(10));
    }
    peer.set_nonblocking(false).unwrap();
    bus.publish(10..11);
    assert_eq!(pid(&read_like_the_original(&mut peer).unwrap()), 10);
}

#[test]
#[cfg_attr(miri, ignore = "a broker needs getrlimit, which is missing there")]
fn who_disconnects_a_peer_means_it_whichever_queue_it_has() {
    let (bus, mut peer) = met_and_asked(BrokerConfig {
        stall_timeout: Duration::from_millis(200),
        ..BrokerConfig::default()
    });
    let shared = &bus.broker.0.shared;
    let id = only(&bus).id;
    let found = shared.connection(id).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while shared
        .connection(id)
        .is_some_and(|now| std::sync::Arc::ptr_eq(&now, &found))
    {
        assert!(Instant::now() < deadline, "it has the same queue still");
        std::thread::sleep(Duration::from_millis(300));
        check(&mut peer);
        assert_eq!(read_like_the_original(&mut peer).unwrap(), b"PONG");
    }
    // Who has looked it up a moment before goes on with that.
    found.request_disconnect();
    while peer.read(&mut [0; 64]).unwrap() > 0 {}
    assert_eq!(bus.broker.statistics().refused["disconnected_by_operator"], 1);
}

#[test]
#[cfg_attr(miri, ignore = "a broker needs getrlimit, which is missing there")]
fn a_peer_is_found_also_while_its_queue_is_replaced() {
    let bus = Bus::new(BrokerConfig::default());
    let mut message = Vec::new();
    with_draft(1, |draft| {
        wire::write(Dialect::Bincode, draft, 1 << 20, 8, &mut message).unwrap()
    });
    let shared = &bus.broker.0.shared;
    for _ in 0..100 {
        let mut peer = bus.dial();
        check(&mut peer);
        assert_eq!(read_like_the_original(&mut peer).unwrap(), b"PONG");
        let id = only(&bus).id;
        let over = AtomicBool::new(false);
        std::thread::scope(|threads| {
            let looking = threads.spawn(|| {
                let found = std::iter::repeat_with(|| shared.connection(id).is_some());
                found.take_while(|_| !over.load(Ordering::Relaxed)).all(|found| found)
            });
            // It turns out to speak another dialect than it was spoken to in, which takes another queue.
            peer.write_all(&message).unwrap();
            check(&mut peer);
            assert_eq!(read_like_the_original(&mut peer).unwrap(), b"PONG");
            over.store(true, Ordering::Relaxed);
            assert!(looking.join().unwrap(), "it was gone for a moment");
        });
        assert_eq!(only(&bus).dialect, Dialect::Bincode);
        drop(peer);
        let deadline = Instant::now() + Duration::from_secs(5);
        while !bus.broker.clients().is_empty() {
            assert!(Instant::now() < deadline, "not gone");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "a broker needs getrlimit, which is missing there")]
fn whoever_proves_a_token_with_each_check_is_found_out_as_well() {
    const PROOF: &[u8] = b"PING:54169902e229d87a48e6656c4bc4f5f318c70971e7a1d1795d059dd97aa46623";
    let bus = Bus::new(BrokerConfig {
        tokens: vec![Token::new(b"token-1".to_vec())],
        original_auth: true,
        ..BrokerConfig::default()
    });
    let mut peer = bus.dial();
    let frame = [&69_u32.to_le_bytes(), PROOF].concat();
    for round in 0..5 {
        peer.write_all(&frame).unwrap();
        assert_eq!(read_like_the_original(&mut peer).unwrap(), b"PONG", "{round}");
        bus.publish(0..10);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(only(&bus).delivered, 0);
}

#[test]
#[cfg_attr(miri, ignore = "a broker needs getrlimit, which is missing there")]
fn a_client_that_comes_late_to_reading_loses_nothing() {
    let (bus, mut peer) = met_and_asked(BrokerConfig {
        stall_timeout: Duration::from_millis(200),
        ..BrokerConfig::default()
    });
    // Past its check, and that just before it reads: what comes first is its answer.
    std::thread::sleep(2 * CHECK);
    check(&mut peer);
    for _ in 0..2 {
        assert_eq!(read_like_the_original(&mut peer).unwrap(), b"PONG");
    }
    for wanted in 0..10 {
        assert_eq!(pid(&read_like_the_original(&mut peer).unwrap()), wanted);
    }
    // Once a client, always a client, however slow.
    bus.publish(10..20);
    for _ in 0..3 {
        std::thread::sleep(CHECK / 2);
        check(&mut peer);
    }
    std::thread::sleep(CHECK / 2);
    assert_eq!(only(&bus).subscriptions, 1);
    let read: Vec<_> = std::iter::repeat_with(|| read_like_the_original(&mut peer).unwrap())
        .take(13)
        .collect();
    let pids: Vec<_> = read
        .iter()
        .filter(|body| *body != b"PONG")
        .map(|body| pid(body))
        .collect();
    assert_eq!(pids, (10..20).collect::<Vec<_>>());
}

#[test]
#[cfg_attr(miri, ignore = "a broker needs getrlimit, which is missing there")]
fn a_check_behind_a_heap_of_frames_is_heard_before_a_message_goes_out() {
    let (_bus, mut peer) = met_and_asked(BrokerConfig::default());
    for _ in 0..20 {
        // A bare payload, which its broker may send.
        let flood: Vec<u8> = std::iter::repeat_n(b"\x02\0\0\0\xff\xff".as_slice(), 20_000)
            .flatten()
            .copied()
            .collect();
        peer.write_all(&flood).unwrap();
        check(&mut peer);
        assert_eq!(read_like_the_original(&mut peer).unwrap(), b"PONG");
    }
}

#[test]
#[cfg_attr(miri, ignore = "a broker needs getrlimit, which is missing there")]
fn the_end_of_the_broker_waits_for_no_peer_that_does_not_read() {
    let (bus, peer) = met_and_asked(BrokerConfig::default());
    let (done, wait) = mpsc::channel();
    let begin = Instant::now();
    bus.broker
        .shutdown(Duration::from_secs(20), move |result| done.send(result).unwrap());
    wait.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    drop(peer);
}

#[test]
#[cfg_attr(miri, ignore = "a broker needs getrlimit, which is missing there")]
fn a_token_that_nobody_proves_ends_the_connection() {
    let bus = Bus::new(BrokerConfig {
        handshake_timeout: Duration::from_millis(100),
        tokens: vec![Token::new(b"token-1".to_vec())],
        original_auth: true,
        ..BrokerConfig::default()
    });
    let start = Instant::now();
    let mut peer = bus.dial();
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    assert!(start.elapsed() >= TIMING.proof);
    assert_eq!(bus.broker.statistics().refused["authentication_failed"], 1);
}
