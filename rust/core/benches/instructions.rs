//! The hot path for a count of instructions: `instructions BATCHES` publishes, routes and delivers that many batches in lockstep.
//!
//! Not for a clock. `benches/instructions.py` runs it under callgrind twice and takes the difference, so that what is counted is
//! [`publish`], [`deliver`] and, as the rest, the broker. One thread has work at a time and the messages' own clock stands still, so
//! that nothing depends on how long anything takes.
#![expect(unsafe_code, reason = "there is no safe poll")]
#![allow(clippy::unwrap_used, clippy::panic)] // A benchmark that fails should stop.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use daemoneye_eventbus_core::broker::Broker;
use daemoneye_eventbus_core::client::{ClientConfig, Inbox, InboxOptions, Link, Reader, State, Ticket};
use daemoneye_eventbus_core::queue::{Content, Overflow};
use daemoneye_eventbus_core::topic;
use daemoneye_eventbus_core::wire::frame::PREFIX;
use daemoneye_eventbus_core::wire::{self, Dialect};
use support::{LIMITS, Nobody, TOPIC, start, subscription, with_draft};

const BATCH: u32 = 64;

/// Encodes one batch into the send buffer and writes it: what a publisher's thread does.
#[inline(never)]
fn publish(link: &Link) {
    for _ in 0..BATCH {
        with_draft(TOPIC, "-D /var/lib/postgresql/data --max-connections=99", |draft| {
            link.publish(draft, None)
        })
        .unwrap();
    }
    link.flush();
}

/// Reads what has come, and decodes each message: what a subscriber's thread does. How many there were.
#[inline(never)]
fn deliver(link: &Link, inbox: &Inbox) -> u32 {
    link.on_readable();
    let mut messages = 0;
    while let Ok(popped) = inbox.queue.pop() {
        let Content::Frames(frame) = popped.content else {
            panic!("a frame comes over a socket");
        };
        let (message, event) = wire::read(Dialect::Bincode, frame.get(PREFIX..).unwrap()).unwrap();
        assert!(message.topic == TOPIC && event.is_some());
        messages += 1;
    }
    messages
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} within a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn connect(broker: &Broker) -> Link {
    let link = Link::open(
        broker.address().clone(),
        ClientConfig::default(),
        Reader::Host,
        Arc::new(Nobody),
    )
    .unwrap();
    until("connected", || link.state() == State::Connected);
    link
}

fn subscribe(link: &Link) -> Arc<Inbox> {
    let asked = subscription("events.process.*");
    let patterns = topic::subscription_patterns(&asked, 8).unwrap();
    let options = InboxOptions {
        limits: LIMITS,
        overflow: Overflow::DropOldest,
        block: false,
    };
    let inbox = Arc::new(Inbox::new(asked, patterns, None, options, Arc::new(Nobody)));
    let ticket = Ticket::new(Arc::new(Nobody));
    link.subscribe(Arc::clone(&inbox), ticket.clone()).unwrap();
    until("subscribed", || {
        link.on_readable();
        ticket.poll().is_some()
    });
    inbox
}

fn main() {
    // Cargo runs every bench target; without a number there is nothing to count.
    let Some(batches) = std::env::args().nth(1).and_then(|number| number.parse::<u32>().ok()) else {
        return;
    };
    let (broker, _directory) = start();
    let (publisher, subscriber) = (connect(&broker), connect(&broker));
    let inbox = subscribe(&subscriber);
    let (_, stream) = subscriber.watch().unwrap();
    for _ in 0..batches {
        publish(&publisher);
        let mut left = BATCH;
        while left > 0 {
            let mut wanted = libc::pollfd {
                fd: stream.raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one descriptor that `stream` keeps open, and room for one answer.
            let ready = unsafe { libc::poll(&raw mut wanted, 1, 60_000) };
            assert_eq!(ready, 1, "the broker delivers");
            left -= deliver(&subscriber, &inbox);
        }
    }
}
