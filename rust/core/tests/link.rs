//! A broker and links that read for themselves, through whatever connects processes here: a socket, or a pipe.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml frees test functions only, not what they call"
)]

use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

use daemoneye_eventbus_core::Error;
use daemoneye_eventbus_core::broker::{Broker, BrokerConfig};
use daemoneye_eventbus_core::client::{Answer, ClientConfig, Inbox, InboxOptions, Link, Reader, Sent, State, Ticket};
use daemoneye_eventbus_core::event::{
    CollectionEvent, CorrelationMetadata, EventSubscription, Map, ProcessEvent, Timestamp,
};
use daemoneye_eventbus_core::queue::{Content, Limits, Overflow, Wake};
use daemoneye_eventbus_core::topic;
use daemoneye_eventbus_core::transport::Address;
use daemoneye_eventbus_core::wire::text::Congestion;
use daemoneye_eventbus_core::wire::{self, Dialect, Draft, Payload};

const PATIENCE: Duration = Duration::from_secs(20);

/// Counts how often it was rung.
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
    /// Until `done`, looked at whenever somebody rings.
    fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
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

struct Home {
    broker: Broker,
    address: Address,
    #[cfg(unix)]
    _directory: tempfile::TempDir,
}

#[cfg(unix)]
fn home() -> Home {
    let directory = tempfile::tempdir().unwrap();
    let address = Address::from_path(&directory.path().join("b.sock")).unwrap();
    Home {
        broker: start(&address).unwrap(),
        address,
        _directory: directory,
    }
}

#[cfg(windows)]
fn home() -> Home {
    use std::sync::atomic::{AtomicU32, Ordering};

    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let address = Address::from_instance(&format!("link-{}-{number}", std::process::id())).unwrap();
    Home {
        broker: start(&address).unwrap(),
        address,
    }
}

fn start(address: &Address) -> Result<Broker, Error> {
    let broker = Broker::new(address.clone(), BrokerConfig::default())?;
    let (done, wait) = mpsc::channel();
    broker.start(move |result| done.send(result).unwrap());
    wait.recv_timeout(PATIENCE).expect("start calls back").map(|()| broker)
}

fn stop(broker: &Broker) -> u64 {
    let (done, wait) = mpsc::channel();
    broker.shutdown(Duration::from_secs(2), move |undelivered| {
        done.send(undelivered).unwrap()
    });
    wait.recv_timeout(PATIENCE).expect("shutdown calls back").messages
}

fn open(address: &Address, config: ClientConfig) -> (Link, Arc<Bell>) {
    let bell = Arc::new(Bell::default());
    let host: Arc<dyn Wake> = Arc::<Bell>::clone(&bell);
    let link = Link::open(address.clone(), config, Reader::Link, host).unwrap();
    bell.until("connected", || link.state() == State::Connected);
    (link, bell)
}

fn subscribe(link: &Link, bell: &Arc<Bell>, messages: usize, block: bool) -> Arc<Inbox> {
    let asked = EventSubscription {
        subscriber_id: "s".into(),
        topic_patterns: Some(vec!["events.#".into()]),
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
    let inbox = Arc::new(Inbox::new(asked, patterns, None, options, Arc::clone(&reader)));
    let ticket = Ticket::new(reader);
    link.subscribe(Arc::clone(&inbox), ticket.clone()).unwrap();
    answered(bell, &ticket);
    inbox
}

fn answered(bell: &Bell, ticket: &Ticket) {
    bell.until("answered", || ticket.poll().is_some());
    assert_eq!(ticket.poll(), Some(Ok(Answer::Done)));
}

fn flush(link: &Link, bell: &Arc<Bell>) {
    let waker: Arc<dyn Wake> = Arc::<Bell>::clone(bell);
    let ticket = Ticket::new(waker);
    link.ping(ticket.clone());
    answered(bell, &ticket);
}

fn publish(link: &Link, bell: &Bell, pid: u32) {
    let event = CollectionEvent::Process(ProcessEvent {
        pid,
        name: "sh",
        command_line: None,
        executable_path: None,
        ppid: None,
        start_time: None,
        metadata: Map(vec![]),
    });
    let id = "0b6d2f0e-3f0f-4a27-9c34-0b6f4f0f8d11";
    let mut draft = Draft {
        id: uuid::Uuid::from_u128(u128::from(pid)),
        topic: "events.process.new",
        correlation_metadata: CorrelationMetadata {
            correlation_id: id,
            parent_correlation_id: None,
            root_correlation_id: id,
            sequence_number: 0,
            workflow_stage: None,
            correlation_tags: Map::default(),
            created_at: Timestamp::now(),
        },
        payload: Payload::Event(&event),
        sequence: 0,
        timestamp: Timestamp::now(),
    };
    bell.until("taken", || match link.publish(&mut draft, None).unwrap() {
        Sent::Full => false,
        Sent::Buffered | Sent::Blocked => {
            link.flush_elsewhere();
            true
        }
        Sent::Written | Sent::Waiting => true,
    });
}

fn pids(inbox: &Inbox, bell: &Bell, count: usize) -> Vec<u32> {
    let mut got = Vec::new();
    bell.until("delivered", || {
        while got.len() < count
            && let Ok(popped) = inbox.queue.pop()
        {
            let Content::Frames(frame) = &popped.content else {
                panic!("a message in frames")
            };
            let (_, event) = wire::read(Dialect::Bincode, &frame[4..]).unwrap();
            let Some(CollectionEvent::Process(event)) = event else {
                panic!("a process event")
            };
            got.push(event.pid);
        }
        got.len() == count
    });
    got
}

#[test]
fn events_arrive_in_order_and_the_goodbye_behind_them() {
    let home = home();
    let (publisher, heard) = open(&home.address, ClientConfig::default());
    let (subscriber, bell) = open(&home.address, ClientConfig::default());
    let inbox = subscribe(&subscriber, &bell, 65_536, false);
    for pid in 0..5000 {
        publish(&publisher, &heard, pid);
    }
    flush(&publisher, &heard);
    assert_eq!(pids(&inbox, &bell, 5000), (0..5000).collect::<Vec<_>>());
    publisher.leave();
    heard.until("closed", || publisher.state() == State::Closed);
    assert_eq!(publisher.cause(), None);
    assert_eq!(stop(&home.broker), 0);
}

#[test]
fn what_was_sent_before_the_broker_stops_is_delivered() {
    for _ in 0..20 {
        let home = home();
        let (publisher, heard) = open(&home.address, ClientConfig::default());
        let (subscriber, bell) = open(&home.address, ClientConfig::default());
        let inbox = subscribe(&subscriber, &bell, 65_536, false);
        for pid in 0..400 {
            publish(&publisher, &heard, pid);
        }
        heard.until("sent", || publisher.local_statistics().unsent == 0);
        assert_eq!(stop(&home.broker), 0);
        assert_eq!(pids(&inbox, &bell, 400), (0..400).collect::<Vec<_>>());
    }
}

#[test]
fn a_reader_that_blocks_stops_the_publisher_and_loses_nothing() {
    let home = home();
    let block = ClientConfig {
        congestion: Congestion::Block,
        broker_queue_messages: Some(50),
        ..ClientConfig::default()
    };
    let (publisher, heard) = open(&home.address, block.clone());
    let (subscriber, bell) = open(&home.address, block);
    let inbox = subscribe(&subscriber, &bell, 10, true);
    let count = 3_000;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for pid in 0..count {
                publish(&publisher, &heard, pid);
            }
        });
        let mut next = 0;
        while next < count {
            assert_eq!(pids(&inbox, &bell, 1), [next]);
            next += 1;
            if inbox.queue.is_empty() {
                subscriber.resume();
            }
        }
    });
    assert_eq!(inbox.queue.snapshot().dropped().map(|(_, count)| count).sum::<u64>(), 0);
}

#[test]
fn a_broker_that_comes_back_is_found_again() {
    let mut home = home();
    let quick = ClientConfig {
        reconnect_max: Duration::from_millis(100),
        ..ClientConfig::default()
    };
    let (link, bell) = open(&home.address, quick);
    let inbox = subscribe(&link, &bell, 100, false);
    for round in 1..=3 {
        stop(&home.broker);
        bell.until("lost", || link.state() == State::Reconnecting);
        home.broker = start(&home.address).unwrap();
        bell.until("connected", || link.state() == State::Connected);
        publish(&link, &bell, round);
        assert_eq!(pids(&inbox, &bell, 1), [round]);
        assert_eq!(inbox.gaps(), u64::from(round));
    }
}

#[test]
fn a_second_broker_is_refused_and_the_first_goes_on() {
    let home = home();
    let (link, bell) = open(&home.address, ClientConfig::default());
    let inbox = subscribe(&link, &bell, 100, false);
    match start(&home.address) {
        Err(Error::BrokerAlreadyRunning { path, .. }) => assert_eq!(path, home.address.path()),
        other => panic!("{other:?}"),
    }
    publish(&link, &bell, 7);
    assert_eq!(pids(&inbox, &bell, 1), [7]);
}

#[test]
fn a_broker_that_is_not_there_is_waited_for() {
    let home = home();
    stop(&home.broker);
    let bell = Arc::new(Bell::default());
    let host: Arc<dyn Wake> = Arc::<Bell>::clone(&bell);
    let link = Link::open(home.address.clone(), ClientConfig::default(), Reader::Link, host).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(link.state(), State::Connecting);
    let _broker = start(&home.address).unwrap();
    bell.until("connected", || link.state() == State::Connected);
    let host: Arc<dyn Wake> = Arc::<Bell>::clone(&bell);
    let short = ClientConfig {
        connect_timeout: Duration::from_millis(200),
        ..ClientConfig::default()
    };
    let nowhere = Address::from_instance("nobody-listens-here").unwrap();
    let lost = Link::open(nowhere, short, Reader::Link, host).unwrap();
    bell.until("given up", || lost.state() == State::Closed);
    assert!(
        matches!(lost.cause(), Some(Error::ConnectTimeout { .. })),
        "{:?}",
        lost.cause()
    );
}
