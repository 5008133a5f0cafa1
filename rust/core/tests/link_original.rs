//! A link below a broker of the original, through whatever connects processes here: a socket, or a pipe. What that broker sends are the
//! bytes that the original once sent.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml frees test functions only, not what they call"
)]

use std::io::{self, IoSlice};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use daemoneye_eventbus_core::client::{ClientConfig, Inbox, InboxOptions, Link, Peer, Reader, State, Ticket};
use daemoneye_eventbus_core::event::EventSubscription;
use daemoneye_eventbus_core::queue::{Content, Limits, Overflow, Wake};
use daemoneye_eventbus_core::topic;
use daemoneye_eventbus_core::transport::{Address, ListenOptions, Listener, Stream};
use daemoneye_eventbus_core::wire::auth::Token;
use daemoneye_eventbus_core::wire::{self, Dialect};
use tokio::runtime::Runtime;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);
const CHECK: &[u8] = b"\x04\0\0\0PING";
const ANSWER: &[u8] = b"\x04\0\0\0PONG";

#[derive(Default)]
struct Bell {
    rung: Mutex<u64>,
    changed: Condvar,
}

impl Wake for Bell {
    fn wake(&self) {
        *self.rung.lock().unwrap() += 1;
        self.changed.notify_all();
    }
}

impl Bell {
    fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < end, "never {what}");
            let rung = self.rung.lock().unwrap();
            drop(self.changed.wait_timeout(rung, Duration::from_millis(20)).unwrap());
        }
    }
}

/// The broker's end: it listens, writes what it is told to, and reads.
struct Original {
    runtime: Runtime,
    listener: Option<Listener>,
    address: Address,
    #[cfg(unix)]
    _directory: tempfile::TempDir,
}

impl Original {
    fn new() -> Self {
        #[cfg(unix)]
        let directory = tempfile::tempdir().unwrap();
        #[cfg(unix)]
        let address = Address::from_path(&directory.path().join("b.sock")).unwrap();
        #[cfg(windows)]
        let address = {
            use std::sync::atomic::{AtomicU32, Ordering};
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            Address::from_instance(&format!("original-{}-{number}", std::process::id())).unwrap()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut original = Self {
            listener: None,
            runtime,
            address,
            #[cfg(unix)]
            _directory: directory,
        };
        original.listen();
        original
    }

    fn listen(&mut self) {
        let options = ListenOptions::default();
        let bound = self.runtime.block_on(Listener::bind(&self.address, &options));
        self.listener = Some(bound.unwrap());
    }

    fn turn(&self) {
        self.runtime
            .block_on(async { tokio::time::sleep(Duration::from_millis(100)).await });
    }

    fn accept(&self) -> Stream {
        let accept = self.listener.as_ref().unwrap().accept();
        let accepted = self.runtime.block_on(async { timeout(PATIENCE, accept).await });
        accepted.expect("nobody dials").unwrap().0
    }

    fn send(&self, stream: &Stream, mut bytes: &[u8]) {
        let send = async {
            while !bytes.is_empty() {
                match stream.try_write(&[IoSlice::new(bytes)]) {
                    Ok(written) => bytes = &bytes[written..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await.unwrap(),
                    Err(error) => panic!("{error}"),
                }
            }
            // Written is not sent yet where somebody has to turn the event loop.
            stream.writable().await.unwrap();
        };
        self.runtime
            .block_on(async { timeout(PATIENCE, send).await })
            .expect("nobody reads");
    }

    fn read(&self, stream: &Stream, wanted: usize) -> Vec<u8> {
        let mut got = Vec::new();
        let read = async {
            let readable = stream.readable().unwrap();
            while got.len() < wanted {
                let mut chunk = [0; 4096];
                match readable.read_with(|| stream.try_read(&mut chunk)).await.unwrap() {
                    0 => break,
                    len => got.extend_from_slice(&chunk[..len]),
                }
            }
        };
        self.runtime
            .block_on(async { timeout(PATIENCE, read).await })
            .expect("nothing is sent");
        got
    }
}

/// The messages among the frames that the original really sent, whole.
fn captured() -> Vec<Vec<u8>> {
    let captures = include_str!("../../../tests/vectors/captures-bincode.json");
    let captures: serde_json::Value = serde_json::from_str(captures).unwrap();
    let scenarios = captures["scenarios"].as_array().unwrap();
    let found = scenarios.iter().find(|found| found["name"] == "broker").unwrap();
    let unhex = |hex: &str| {
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digit).collect::<Vec<u8>>()
    };
    let frames = found["records"].as_array().unwrap().iter();
    frames
        .filter(|record| record["kind"] == "frame" && record["direction"] == "original->peer")
        .map(|record| unhex(record["hex"].as_str().unwrap()))
        .filter(|frame| frame[4] == 0x10 && wire::check(Dialect::Bincode, &frame[4..], 8).is_ok())
        .collect()
}

fn open(original: &Original, token: Option<Token>) -> (Link, Arc<Bell>) {
    let bell = Arc::new(Bell::default());
    let host: Arc<dyn Wake> = Arc::<Bell>::clone(&bell);
    let config = ClientConfig {
        peer: Peer::Original,
        token,
        reconnect_initial: Duration::from_millis(20),
        reconnect_max: Duration::from_millis(100),
        ..ClientConfig::default()
    };
    let link = Link::open(original.address.clone(), config, Reader::Link, host).unwrap();
    (link, bell)
}

fn subscribe(link: &Link, bell: &Arc<Bell>) -> Arc<Inbox> {
    let asked = EventSubscription {
        subscriber_id: "s".into(),
        topic_patterns: Some(vec!["events.#".into(), "control.#".into()]),
        include_control: true,
        ..EventSubscription::default()
    };
    let patterns = topic::of_subscription(&asked, 8).unwrap();
    let options = InboxOptions {
        limits: Limits {
            messages: 1000,
            bytes: 1 << 20,
        },
        overflow: Overflow::DropOldest,
        block: false,
    };
    let reader: Arc<dyn Wake> = Arc::<Bell>::clone(bell);
    let inbox = Arc::new(Inbox::new(asked, patterns, None, options, Arc::clone(&reader)));
    link.subscribe(Arc::clone(&inbox), Ticket::new(reader)).unwrap();
    inbox
}

fn frames(inbox: &Inbox, bell: &Bell, count: usize) -> Vec<Vec<u8>> {
    let mut got = Vec::new();
    bell.until("delivered", || {
        while got.len() < count
            && let Ok(popped) = inbox.queue.pop()
        {
            let Content::Frames(frame) = &popped.content else {
                panic!("a message in frames")
            };
            got.push(frame.to_vec());
        }
        got.len() == count
    });
    got
}

#[test]
fn what_it_sends_arrives_and_its_checks_are_answered_also_after_a_loss() {
    let mut original = Original::new();
    let sent = captured();
    assert!(!sent.is_empty());
    let (link, bell) = open(&original, None);
    let mut inbox = None;
    for round in 0..3 {
        let peer = original.accept();
        bell.until("connected", || link.state() == State::Connected);
        let inbox = inbox.get_or_insert_with(|| subscribe(&link, &bell));
        original.send(&peer, CHECK);
        assert_eq!(original.read(&peer, ANSWER.len()), ANSWER, "round {round}");
        original.send(&peer, &sent.concat());
        original.send(&peer, CHECK);
        assert_eq!(original.read(&peer, ANSWER.len()), ANSWER);
        assert_eq!(frames(inbox, &bell, sent.len()), sent);
        drop(peer);
        // A pipe closes when the runtime has been told that nothing is under way. Dialled anew it is before anybody accepts.
        original.turn();
    }
    // A broker that was away altogether is found again too.
    drop(original.listener.take());
    original.turn();
    original.listen();
    let _peer = original.accept();
    bell.until("connected", || link.state() == State::Connected);
}

#[test]
fn a_token_is_proved_before_it_is_connected() {
    let original = Original::new();
    let (link, bell) = open(&original, Some(Token::new(b"token of at least sixteen bytes".to_vec())));
    let peer = original.accept();
    // BLAKE3 of the token and "PING", by another program.
    let proof = b"\x45\0\0\0a0df9ffd2790b0a144e912ba3c695008db3457ef7aae986914e8c602098159a3:PING";
    assert_eq!(original.read(&peer, proof.len()), proof);
    assert_eq!(link.state(), State::Connecting);
    original.send(&peer, ANSWER);
    bell.until("connected", || link.state() == State::Connected);
    link.leave();
    assert_eq!(original.read(&peer, 1), b"");
}
