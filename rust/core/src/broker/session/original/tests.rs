//! What takes the original half a minute each, at a pace that a test can wait for.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::broker::{Broker, BrokerConfig, PortOptions};
use crate::event::{CollectionEvent, CorrelationMetadata, Map, ProcessEvent, Timestamp};
use crate::queue::Object;
use crate::transport::Address;
use crate::wire::auth::Token;
use crate::wire::{self, Dialect, Draft, Payload};

use super::Rhythm;

/// The same half second on either side of a check as in reality.
const RHYTHM: Rhythm = Rhythm {
    quiet_after: Duration::from_millis(500),
    quiet_for: Duration::from_secs(1),
    proof: Duration::from_millis(700),
};
const CHECK: Duration = Duration::from_secs(1);

struct Bus {
    broker: Broker,
    directory: tempfile::TempDir,
}

impl Bus {
    fn new(config: BrokerConfig) -> Self {
        let directory = tempfile::Builder::new().prefix("bus").tempdir_in("/tmp").unwrap();
        let address = Address::from_path(&directory.path().join("b.sock")).unwrap();
        let broker = Broker::with_rhythm(address, config, RHYTHM).unwrap();
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

    /// Publishes events whose pids count up from `first`.
    fn publish(&self, pids: std::ops::Range<u32>) {
        let port = self.broker.port(PortOptions::default()).unwrap();
        for pid in pids {
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
            let draft = Draft {
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
            };
            let size = wire::encoded_len(Dialect::Bincode, &draft, 1 << 20, 8).unwrap();
            let object: Object = std::sync::Arc::new(());
            port.publish(&draft, size, &object, None).unwrap();
        }
    }
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
    for _ in 0..5 {
        while Instant::now() < due {
            std::thread::sleep(Duration::from_millis(10));
            if let Some(body) = read_like_the_original(peer) {
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
}

#[test]
fn around_a_check_there_is_quiet_but_not_for_ever() {
    let bus = Bus::new(BrokerConfig::default());
    let mut peer = bus.dial();
    check(&mut peer);
    assert_eq!(read_like_the_original(&mut peer).unwrap(), b"PONG");
    let checked = Instant::now();
    bus.publish(0..1);
    assert_eq!(pid(&read_like_the_original(&mut peer).unwrap()), 0);
    std::thread::sleep((checked + Duration::from_millis(650)).saturating_duration_since(Instant::now()));
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
    std::thread::sleep((checked + Duration::from_millis(650)).saturating_duration_since(Instant::now()));
    bus.publish(3..4);
    assert_eq!(pid(&read_like_the_original(&mut peer).unwrap()), 3);
    let passed = checked.elapsed();
    assert!(
        passed >= Duration::from_millis(1450) && passed < Duration::from_millis(2500),
        "{passed:?}"
    );
}

#[test]
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
    assert!(start.elapsed() >= RHYTHM.proof);
    assert_eq!(bus.broker.statistics().refused["authentication_failed"], 1);
}
