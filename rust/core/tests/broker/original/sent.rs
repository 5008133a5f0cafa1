//! What a peer of the original is sent, in which dialect and when; what it may send, and what becomes of the rest.

use std::time::Duration;

use daemoneye_eventbus_core::broker::BrokerConfig;
use daemoneye_eventbus_core::error::Error;
use daemoneye_eventbus_core::wire::text::Code;
use daemoneye_eventbus_core::wire::{self, Dialect, Message, MessageType};

use super::{met, original, quick, settled_account, translated};
use crate::support::{Bus, NEW, control, frame, frame_of, guarded, text_frame, trigger};

#[test]
fn the_silent_one_is_sent_nothing_before_the_time_out_and_events_after_it() {
    guarded(|| {
        // Long enough for what comes before the silence is listened to.
        let bus = Bus::with(BrokerConfig {
            handshake_timeout: Duration::from_secs(2),
            ..BrokerConfig::default()
        });
        let mut publisher = bus.connect();
        let mut peer = bus.dial();
        publisher.send(&frame(NEW, 1));
        publisher.flush();
        peer.hears_nothing(Duration::from_millis(300));
        let info = original(&bus);
        assert_eq!((info.dialect, info.subscriptions), (Dialect::Postcard, 1));
        let sent = frame(NEW, 2);
        publisher.send(&sent);
        assert_eq!(peer.in_flight(), text_frame("PONG"));
        assert_eq!(peer.in_flight(), translated(&sent));
        // A first frame that is not whole is no silence.
        let mut half = bus.dial();
        half.send(&[9, 0]);
        half.cut(Code::HandshakeTimeout);
    });
}

#[test]
fn it_is_spoken_to_in_the_dialect_in_which_it_spoke() {
    guarded(|| {
        let bus = Bus::with(quick());
        let mut reader = bus.connect();
        reader.subscribe(1, &["events.#"]);
        for (dialect, id) in [(Dialect::Bincode, 10), (Dialect::Postcard, 20)] {
            let own = frame(NEW, id);
            let mut peer = bus.dial();
            peer.send(&if dialect == Dialect::Bincode {
                own.clone()
            } else {
                translated(&own)
            });
            // Translated for who speaks another, untouched for who speaks the same.
            assert_eq!(reader.message(), own);
            assert_eq!(original(&bus).dialect, dialect);
            let sent = frame(NEW, id + 1);
            reader.send(&sent);
            assert_eq!(reader.message(), sent);
            let expected = if dialect == Dialect::Bincode {
                sent
            } else {
                translated(&sent)
            };
            assert_eq!(peer.first(), expected);
            drop(peer);
            bus.settled(|now| now.connections == 1);
        }
    });
}

#[test]
fn one_that_shows_its_dialect_late_is_spoken_to_in_it_from_then_on() {
    guarded(|| {
        let bus = Bus::new();
        let mut publisher = bus.connect();
        let mut peer = met(&bus);
        let before = original(&bus);
        assert_eq!(before.dialect, Dialect::Postcard);
        let early = frame(NEW, 1);
        publisher.send(&early);
        assert_eq!(peer.first(), translated(&early));
        bus.broker
            .subscribe_client(before.id, &["control.#".to_owned()])
            .unwrap();
        // Below 128 everywhere, the times too: the same bytes in both, which says nothing.
        peer.send(&alike());
        publisher.send(&control("control.a", 2));
        publisher.flush();
        assert_eq!(original(&bus).dialect, Dialect::Postcard);
        peer.message();
        peer.send(&frame(NEW, 3));
        bus.settled(|_| original(&bus).dialect == Dialect::Bincode);
        let late = control("control.a", 4);
        publisher.send(&late);
        assert_eq!(peer.message(), late);
        // Still the same client, with what an operator has set for it.
        let after = original(&bus);
        assert_eq!((after.id, after.delivered), (before.id, 3));
        settled_account(&bus, 3, 0);
    });
}

/// A message that is the same in every dialect.
fn alike() -> Vec<u8> {
    let mut body = Vec::new();
    let read = frame(NEW, 5);
    let (mut message, _) = wire::read(Dialect::Bincode, &read[4..]).unwrap();
    let early = daemoneye_eventbus_core::event::Timestamp { secs: 5, nanos: 6 };
    message.timestamp = early;
    message.correlation_metadata.created_at = early;
    Dialect::Bincode.encode(&message, &mut body).unwrap();
    [&u32::try_from(body.len()).unwrap().to_le_bytes()[..], &body].concat()
}

#[test]
fn what_it_publishes_reaches_everybody_but_itself() {
    guarded(|| {
        let bus = Bus::new();
        let (mut one, mut two) = (met(&bus), bus.dial());
        two.text("PING");
        two.pong();
        let mut native = bus.connect();
        native.subscribe(1, &["events.#"]);
        let sent = frame(NEW, 7);
        one.send(&sent);
        assert_eq!(native.message(), sent);
        assert_eq!(two.first(), translated(&sent));
        one.text("PING");
        one.pong();
        let now = settled_account(&bus, 2, 0);
        assert_eq!((now.bus.messages_published, now.bus.active_subscribers), (1, 3));
    });
}

#[test]
fn one_message_is_in_flight_and_a_check_is_answered_before_the_next() {
    guarded(|| {
        let bus = Bus::new();
        let mut publisher = bus.connect();
        let mut peer = met(&bus);
        let sent: Vec<_> = (0..50).map(|n| frame(NEW, n)).collect();
        publisher.send(&sent.concat());
        publisher.flush();
        assert_eq!(original(&bus).queued_messages, 50, "it has not shown that it reads");
        peer.pong();
        bus.settled(|now| now.pending == 49);
        assert_eq!(original(&bus).queued_messages, 49);
        // Behind what the kernel has already, ahead of everything else.
        peer.text("PING");
        assert_eq!(peer.message(), translated(&sent[0]));
        peer.pong();
        for frame in &sent[1..] {
            assert_eq!(peer.in_flight(), translated(frame));
        }
        settled_account(&bus, 50, 0);
    });
}

#[test]
fn checks_that_nobody_reads_the_answers_of_stop_the_reading() {
    guarded(|| {
        let bus = Bus::new();
        let mut peer = met(&bus);
        let flood = text_frame("PING").repeat(400_000);
        let mut other = peer.stream.try_clone().unwrap();
        let writer = std::thread::spawn(move || std::io::Write::write_all(&mut other, &flood));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!writer.is_finished(), "the broker kept on reading");
        for _ in 0..400_000 {
            peer.pong();
        }
        writer.join().unwrap().unwrap();
    });
}

#[test]
fn it_is_refused_what_no_client_may_send_and_keeps_its_connection() {
    guarded(|| {
        let bus = Bus::new();
        let mut peer = met(&bus);
        let typed = |message_type| {
            let event = frame(NEW, 1);
            let (message, _) = wire::read(Dialect::Bincode, &event[4..]).unwrap();
            let mut body = Vec::new();
            let message = Message {
                message_type,
                ..message
            };
            Dialect::Bincode.encode(&message, &mut body).unwrap();
            [&u32::try_from(body.len()).unwrap().to_le_bytes()[..], &body].concat()
        };
        peer.send(&typed(MessageType::Heartbeat));
        peer.send(&typed(MessageType::Shutdown));
        peer.text("direct-bytes");
        peer.text("NOVERB");
        peer.send(&[1, 0, 0, 0, 0xff]);
        peer.text("PING");
        peer.pong();
        let now = bus.broker.statistics();
        assert_eq!((now.refused["message_type"], now.refused["bare_payload"]), (2, 3));
        assert_eq!(now.bus.messages_published, 0);
        // What no stream can go on after ends it, without a word.
        peer.send(&[5, 0, 0, 0, 0x10, 1, 2, 3, 4]);
        peer.ended();
        assert_eq!(bus.refused("decode"), 1);
        let mut peer = met(&bus);
        peer.send(&[0, 0, 0, 0x10]);
        peer.ended();
        assert_eq!(bus.refused("frame_too_large"), 1);
    });
}

#[test]
fn it_is_sent_what_was_set_and_what_it_can_read() {
    guarded(|| {
        let bus = Bus::with(BrokerConfig {
            original_patterns: vec!["events.network.+".into(), "#".into()],
            ..BrokerConfig::default()
        });
        let mut publisher = bus.connect();
        let mut peer = met(&bus);
        let id = original(&bus).id;
        let readable = frame("events.a.b.c.d", 1);
        publisher.send(&frame("events.a.b.c.d.e", 2));
        publisher.send(&frame("health.agent", 3));
        publisher.send(&readable);
        assert_eq!(peer.first(), translated(&readable));
        let (asked, other) = (trigger(4, 1), control("control.collector", 5));
        publisher.send(&asked);
        assert_eq!(peer.message(), translated(&asked));
        publisher.send(&other);
        assert_eq!(peer.message(), translated(&other));

        let subscribe = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|text| (*text).to_owned()).collect();
            bus.broker.subscribe_client(id, &patterns)
        };
        subscribe(&["events.process.+"]).unwrap();
        assert_eq!(bus.broker.statistics().bus.active_topics, 1);
        publisher.send(&frame("events.network.new", 6));
        let wanted = frame(NEW, 7);
        publisher.send(&wanted);
        assert_eq!(peer.message(), translated(&wanted));
        for bad in ["events.*", "health.#", "events.#.new", "events.a.b.c.d.e", "other"] {
            assert!(matches!(subscribe(&[bad]), Err(Error::Pattern(_))), "{bad}");
        }
        subscribe(&[]).unwrap();
        publisher.send(&frame(NEW, 8));
        publisher.flush();
        peer.text("PING");
        peer.pong();
        let now = settled_account(&bus, 4, 0);
        assert_eq!((now.bus.active_subscribers, now.bus.active_topics), (1, 0));
        // Natives ask themselves, and strangers are none.
        let native = bus.broker.clients().into_iter().find(|client| client.id != id).unwrap();
        for id in [native.id, uuid::Uuid::nil()] {
            let refused = bus.broker.subscribe_client(id, &["events.#".to_owned()]);
            assert!(matches!(refused, Err(Error::SubscriptionRefused { .. })));
        }
    });
}

#[test]
fn what_its_single_read_would_not_take_is_dropped_for_it_alone() {
    guarded(|| {
        let bus = Bus::new();
        let mut publisher = bus.connect();
        publisher.subscribe(1, &["events.#"]);
        let mut peer = bus.dial();
        peer.send(&frame(NEW, 1));
        publisher.message();
        // It speaks bincode now, so its size is the publisher's.
        let (fits, above) = (frame_of(NEW, 2, 192 * 1024), frame_of(NEW, 3, 192 * 1024 + 1));
        publisher.send(&[above.clone(), fits.clone()].concat());
        assert_eq!((publisher.message(), publisher.message()), (above, fits.clone()));
        assert_eq!(peer.first(), fits);
        let now = settled_account(&bus, 4, 1);
        assert_eq!(now.dropped["max_frame"], 1);
        assert_eq!(original(&bus).dropped["max_frame"], 1);
    });
}

#[test]
fn a_full_queue_drops_and_says_nothing_about_it() {
    guarded(|| {
        let bus = Bus::with(BrokerConfig {
            queue_messages: 10,
            ..BrokerConfig::default()
        });
        let mut publisher = bus.connect();
        let mut peer = met(&bus);
        let sent: Vec<_> = (0..100).map(|n| frame(NEW, n)).collect();
        publisher.send(&sent[0]);
        peer.pong();
        bus.settled(|now| now.bus.messages_delivered == 1);
        publisher.send(&sent[1..].concat());
        publisher.flush();
        assert_eq!(peer.message(), translated(&sent[0]));
        for frame in &sent[90..] {
            assert_eq!(peer.message(), translated(frame));
        }
        settled_account(&bus, 11, 89);
    });
}
