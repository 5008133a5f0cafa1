//! Fault 58: a defect in the task of one connection. It is provoked from outside, by a collector of `tracing` events that panics when the
//! broker says what it cuts: in the middle of the task, with a message in its queue and a subscription in the router.
#![cfg(unix)]
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

use std::fmt::Debug;
use std::time::Duration;

use daemoneye_eventbus_core::wire::text::FromBroker;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use self::support::{Bus, NEW, frame, guarded, sequence, shut_down};

const UNLUCKY: &str = "unlucky";

struct Panics;

#[derive(Default)]
struct Client(String);

impl Visit for Client {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "client" {
            self.0 = format!("{value:?}");
        }
    }
}

impl Subscriber for Panics {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut client = Client::default();
        event.record(&mut client);
        assert!(client.0 != UNLUCKY, "planted");
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_panic_in_one_connection_ends_that_connection_and_nothing_else() {
    // Each for a reason of its own, of which the log has one line a second: an empty frame, one that is too large, half a message.
    const WRONG: [&[u8]; 3] = [&[0; 4], &[0xff; 4], &[2, 0, 0, 0, 0x10, 0x10]];
    const ROUNDS: u64 = WRONG.len() as u64;
    tracing::subscriber::set_global_default(Panics).unwrap();
    guarded(|| {
        let bus = Bus::new();
        let mut reader = bus.connect();
        reader.subscribe(1, &["events.#"]);
        let mut publisher = bus.connect();
        for (wrong, round) in WRONG.into_iter().zip(1..) {
            let mut unlucky = bus.dial();
            unlucky.text(&format!(
                r#"CONNECT {{"protocol":1,"client":"{UNLUCKY}","dialect":"bincode"}}"#
            ));
            assert!(matches!(unlucky.next(), support::Frame::Text(FromBroker::Info(_))));
            unlucky.subscribe(1, &["events.#"]);
            // Routed in the same piece of work that panics: it comes out all the same.
            let mut sent = frame(NEW, 2 * round);
            sent.extend_from_slice(wrong);
            unlucky.send(&sent);
            while !matches!(unlucky.next(), support::Frame::End) {}
            let now = bus.settled(|now| now.refused["panic"] == round && now.connections == 2);
            assert_eq!(now.bus.active_subscribers, 1, "{now:?}");
            publisher.send(&frame(NEW, 2 * round + 1));
            assert_eq!(sequence(&reader.message()), 2 * round);
            assert_eq!(sequence(&reader.message()), 2 * round + 1);
            assert!(bus.connect().flush().is_empty());
        }
        let now = bus.settled(|now| now.connections == 2 && now.pending == 0);
        assert_eq!(now.bus.messages_published, 2 * ROUNDS);
        let lost: u64 = now.dropped.values().sum();
        // Each unlucky one matched its own message.
        assert_eq!(now.bus.messages_delivered + lost, 3 * ROUNDS, "{now:?}");
        assert_eq!((now.queued_messages, now.queued_bytes), (0, 0));
        assert_eq!(shut_down(&bus.broker, Duration::from_secs(2)).messages, 0);
    });
}
