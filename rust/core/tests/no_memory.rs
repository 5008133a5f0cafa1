//! Fault 47: the broker's thread is refused every allocation of 4 KiB or more, so that none of those that clients can bring about is
//! left that ends the process. Either all of them, as where memory runs out, or those below 1 MiB alone: then the broker finds
//! memory when it looks, and none where it grows.
#![cfg(unix)]
#![allow(unsafe_code, reason = "an allocator is unsafe to write")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml frees test functions only, not what they call"
)]

#[path = "broker/support.rs"]
#[allow(dead_code, reason = "shared with another binary that uses all of it")]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use daemoneye_eventbus_core::Error;
use daemoneye_eventbus_core::broker::{BrokerConfig, BrokerStatistics, PortOptions};
use daemoneye_eventbus_core::event::EventSubscription;
use daemoneye_eventbus_core::queue::{Limits, Overflow, Wake};
use daemoneye_eventbus_core::wire::text::{Code, FromBroker};

use self::support::{Bus, Client, Frame, NEW, frame, frame_of, frames, guarded};

const LEAST: usize = 4 * 1024;
const MIB: usize = 1 << 20;

/// Refused from here on, and up to there.
static FROM: AtomicUsize = AtomicUsize::new(usize::MAX);
static TO: AtomicUsize = AtomicUsize::new(usize::MAX);
/// What is refused is refused to all tests of a process.
static TURN: Mutex<()> = Mutex::new(());

thread_local! {
    /// The test's own threads have what they like.
    static EXEMPT: Cell<bool> = const { Cell::new(false) };
}

struct Refusing;

fn refuses(size: usize) -> bool {
    (FROM.load(Ordering::Relaxed)..TO.load(Ordering::Relaxed)).contains(&size) && !EXEMPT.get()
}

// SAFETY: what is not refused is passed on unchanged to the system allocator; the thread local is const-initialised and has no
// destructor, so it does not allocate.
unsafe impl GlobalAlloc for Refusing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if refuses(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > layout.size() && refuses(size) {
            return ptr::null_mut();
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Refusing = Refusing;

fn refuse(from: usize, to: usize) {
    TO.store(to, Ordering::Relaxed);
    FROM.store(from, Ordering::Relaxed);
}

/// A test that is exempt itself.
fn starving(test: impl FnOnce() + Send + 'static) {
    guarded(|| {
        EXEMPT.set(true);
        let _alone = TURN.lock().unwrap();
        test();
        refuse(usize::MAX, usize::MAX);
    });
}

/// Sends as much as the broker takes before it cuts the connection.
fn send(client: &mut Client, bytes: &[u8]) {
    let _cut = client.stream.write_all(bytes);
}

fn lost(now: &BrokerStatistics) -> u64 {
    now.dropped.values().sum()
}

#[test]
fn nothing_is_taken_and_everybody_is_told() {
    starving(|| {
        let bus = Bus::new();
        let (mut reader, mut publisher, mut heavy) = (bus.connect(), bus.connect(), bus.connect());
        reader.subscribe(1, &["events.#"]);
        refuse(LEAST, usize::MAX);
        publisher.send(&frames(NEW, 0..100));
        assert!(publisher.flush().is_empty());
        let told = reader.dropped();
        assert_eq!((told.subscriptions[&1], told.reason.as_str()), (100, "no_memory"));
        send(&mut heavy, &frame_of(NEW, 1, MIB - 100));
        heavy.cut(Code::Busy);
        publisher.text(r#"SUB {"id":1,"topic_patterns":["events.a"]}"#);
        let refused = publisher.err();
        assert_eq!((refused.id, refused.code), (Some(1), Code::SubscriptionRefused));
        bus.dial().cut(Code::Busy);
        refuse(usize::MAX, usize::MAX);
        // Who has been refused is not worse off for it.
        publisher.subscribe(1, &["events.a"]);
        publisher.send(&frame(NEW, 100));
        reader.message();
        let now = bus.settled(|now| now.connections == 2 && now.pending == 0);
        assert_eq!((now.bus.messages_published, now.dropped["no_memory"]), (101, 100));
        assert_eq!((now.bus.messages_delivered, lost(&now)), (1, 100));
        assert_eq!((now.refused["no_memory"], now.refused["subscription_refused"]), (3, 0));
    });
}

#[test]
fn a_bus_in_process_is_refused_what_one_elsewhere_would_be() {
    struct Nobody;

    impl Wake for Nobody {
        fn wake(&self) {}
    }

    starving(|| {
        let bus = Bus::new();
        let mut original = bus.dial();
        original.text("PING");
        assert!(matches!(original.next(), Frame::Text(FromBroker::Pong)));
        let id = bus.broker.clients()[0].id;
        let port = bus.broker.port(PortOptions::default()).unwrap();
        let asked = EventSubscription {
            topic_patterns: Some(vec!["events.#".into()]),
            ..EventSubscription::default()
        };
        let limits = Limits {
            messages: 10,
            bytes: MIB,
        };
        // The calling thread is the one that is refused here.
        let subscribe = || {
            EXEMPT.set(false);
            let local = port
                .subscribe(&asked, limits, Overflow::DropOldest, Arc::new(Nobody))
                .map(drop);
            let of_client = bus.broker.subscribe_client(id, &["events.process.+".to_owned()]);
            EXEMPT.set(true);
            [local, of_client]
        };
        for made in subscribe() {
            made.unwrap();
        }
        refuse(MIB, usize::MAX);
        for refused in subscribe() {
            let error = refused.unwrap_err();
            assert!(matches!(&error, Error::SubscriptionRefused { limit: 0, .. }), "{error}");
            assert!(error.to_string().contains("no memory"), "{error}");
        }
        assert_eq!(bus.broker.statistics().refused["no_memory"], 2);
        refuse(usize::MAX, usize::MAX);
        for made in subscribe() {
            made.unwrap();
        }
    });
}

#[test]
fn who_leaves_and_cannot_be_told_what_it_lost_is_let_go_at_once() {
    starving(|| {
        let bus = Bus::new();
        let (mut reader, mut publisher) = (bus.connect_with(r#","queue_messages":4"#).0, bus.connect());
        // What tells of their losses is larger than what is granted.
        for id in 1..=1000 {
            reader.subscribe(id, &["events.#"]);
        }
        for number in 0..50 {
            publisher.send(&frame_of(NEW, number, 100_000));
        }
        publisher.flush();
        reader.text("BYE");
        bus.settled(|now| now.bus.active_subscribers == 0);
        refuse(LEAST, usize::MAX);
        let mut got = 0;
        loop {
            match reader.next() {
                Frame::Message(_) => got += 1,
                Frame::End => break,
                other => panic!("expected messages, got {other:?}"),
            }
        }
        refuse(usize::MAX, usize::MAX);
        let now = bus.settled(|now| now.connections == 1);
        assert_eq!(now.refused["write_timeout"], 0);
        assert_eq!(
            (now.bus.messages_delivered, lost(&now)),
            (got * 1000, (50 - got) * 1000)
        );
    });
}

#[test]
fn who_has_subscribed_very_often_can_go() {
    starving(|| {
        let bus = Bus::new();
        let (mut reader, mut other) = (bus.connect(), bus.connect());
        for id in 1..=500 {
            reader.subscribe(id, &["events.#", &format!("events.a{id}")]);
        }
        refuse(LEAST, MIB);
        drop(reader);
        bus.settled(|now| now.connections == 1);
        refuse(usize::MAX, usize::MAX);
        other.flush();
        let now = bus.broker.statistics().bus;
        assert_eq!((now.active_subscribers, now.active_topics), (0, 0));
    });
}

#[test]
fn who_cannot_be_told_what_was_trimmed_is_cut_also_if_it_reads_nothing() {
    starving(|| {
        let bus = Bus::with(BrokerConfig {
            total_queue_bytes: 50_000,
            ..BrokerConfig::default()
        });
        let (mut reader, mut publisher) = (bus.connect(), bus.connect());
        // What tells of their losses is larger than what is granted.
        for id in 1..=1000 {
            reader.subscribe(id, &["events.#"]);
        }
        publisher.send(&frame(NEW, 0));
        publisher.flush();
        // No timer of its connection rings again soon.
        std::thread::sleep(std::time::Duration::from_millis(200));
        refuse(LEAST, MIB);
        let mut number = 0;
        // Until the kernel and the queues are full.
        while lost(&bus.broker.statistics()) == 0 {
            number += 1;
            publisher.send(&frame_of(NEW, number, 3_000));
            publisher.flush();
        }
        assert_eq!(bus.refused("no_memory"), 1);
        refuse(usize::MAX, usize::MAX);
        drop(reader);
    });
}

#[test]
fn what_grows_finds_no_memory_though_it_seemed_to_be_there() {
    starving(|| {
        let bus = Bus::new();
        let filter = r#","event_filter":{"event_types":[],"pids":[7],"metadata_filters":{}}"#;
        let (mut plain, mut filtered) = (bus.connect(), bus.connect());
        let mut other = bus.dial();
        other.text(r#"CONNECT {"protocol":1,"client":"test","dialect":"postcard"}"#);
        assert!(matches!(other.next(), Frame::Text(FromBroker::Info(_))));
        plain.subscribe(1, &["events.#"]);
        filtered.subscribe_with(1, &["events.#"], filter);
        other.subscribe(1, &["events.#"]);
        let mut publishers: Vec<_> = ["drop", "block"]
            .map(|congestion| bus.connect_with(&format!(r#","congestion":"{congestion}""#)).0)
            .into();
        refuse(LEAST, MIB);
        for publisher in &mut publishers {
            for round in 0..20 {
                // Runs of many and of one, and neighbours for others.
                send(publisher, &frames(NEW, round * 200..round * 200 + 150));
                send(publisher, &frame("events.other.kind", round));
                send(publisher, &frame_of(NEW, round, 5_000));
            }
            publisher.flush();
        }
        refuse(usize::MAX, usize::MAX);
        plain.flush_all();
        publishers[0].send(&frame(NEW, 7));
        publishers[0].flush();
        let now = bus.settled(|now| now.pending == 0);
        assert!(now.dropped["no_memory"] > 0, "{now:?}");
        assert!(now.bus.messages_published >= 2 * 20 * 152, "{now:?}");
    });
}
