//! What the links of these tests are given: a place to dial, somebody to ring for, a queue, and an end that does as it is told.

use std::io::{self, IoSlice};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use daemoneye_eventbus_core::client::{Answer, Inbox, InboxOptions, Ticket};
use daemoneye_eventbus_core::event::EventSubscription;
use daemoneye_eventbus_core::queue::{Content, Limits, Overflow, Wake};
use daemoneye_eventbus_core::topic;
use daemoneye_eventbus_core::transport::{Address, ListenOptions, Listener, Stream};
use tokio::runtime::Runtime;
use tokio::time::timeout;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Counts how often it was rung.
#[derive(Default)]
pub(crate) struct Bell {
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
    /// Until `done`, looked at whenever somebody rings.
    pub(crate) fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            // Looking may itself ring.
            let seen = *self.rung.lock().unwrap();
            if done() {
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "never {what}");
            let rung = self.rung.lock().unwrap();
            let wait = left.min(Duration::from_millis(20));
            drop(
                self.changed
                    .wait_timeout_while(rung, wait, |rung| *rung == seen)
                    .unwrap(),
            );
        }
    }
}

/// An address of its own.
pub(crate) struct Place {
    pub(crate) address: Address,
    #[cfg(unix)]
    _directory: tempfile::TempDir,
}

impl Place {
    #[cfg(unix)]
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            address: Address::from_path(&directory.path().join("b.sock")).unwrap(),
            _directory: directory,
        }
    }

    #[cfg(windows)]
    pub(crate) fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};

        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            address: Address::from_instance(&format!("link-{}-{number}", std::process::id())).unwrap(),
        }
    }
}

/// The queue of a subscription to `patterns`.
pub(crate) fn inbox(bell: &Arc<Bell>, patterns: &[&str], messages: usize, block: bool) -> Arc<Inbox> {
    let asked = EventSubscription {
        subscriber_id: "s".into(),
        topic_patterns: Some(patterns.iter().map(|pattern| (*pattern).into()).collect()),
        include_control: true,
        ..EventSubscription::default()
    };
    let patterns = topic::of_subscription(&asked, 8).unwrap();
    let options = InboxOptions {
        limits: Limits {
            messages,
            bytes: 1 << 20,
        },
        overflow: Overflow::DropOldest,
        block,
    };
    let reader: Arc<dyn Wake> = Arc::<Bell>::clone(bell);
    Arc::new(Inbox::new(asked, patterns, None, options, reader))
}

pub(crate) fn answered(bell: &Bell, ticket: &Ticket) {
    bell.until("answered", || ticket.poll().is_some());
    assert_eq!(ticket.poll(), Some(Ok(Answer::Done)));
}

/// The next `count` messages, as their frames.
pub(crate) fn frames(inbox: &Inbox, bell: &Bell, count: usize) -> Vec<Vec<u8>> {
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

/// A broker's end that does what a test says: it listens, writes what it is told to, and reads.
pub(crate) struct FarEnd {
    runtime: Runtime,
    pub(crate) listener: Option<Listener>,
    pub(crate) place: Place,
}

impl FarEnd {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut end = Self {
            listener: None,
            runtime,
            place: Place::new(),
        };
        end.listen();
        end
    }

    pub(crate) fn listen(&mut self) {
        let options = ListenOptions::default();
        let bound = self.runtime.block_on(Listener::bind(&self.place.address, &options));
        self.listener = Some(bound.unwrap());
    }

    pub(crate) fn turn(&self) {
        self.runtime
            .block_on(async { tokio::time::sleep(Duration::from_millis(100)).await });
    }

    pub(crate) fn accept(&self) -> Stream {
        let accept = self.listener.as_ref().unwrap().accept();
        let accepted = self.runtime.block_on(async { timeout(PATIENCE, accept).await });
        accepted.expect("nobody dials").unwrap().0
    }

    pub(crate) fn send(&self, stream: &Stream, mut bytes: &[u8]) {
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

    pub(crate) fn read(&self, stream: &Stream, wanted: usize) -> Vec<u8> {
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
