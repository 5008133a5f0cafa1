//! Peers of the original: who is one, what they are sent and when, and that they are accounted for like everybody else.

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use daemoneye_eventbus_core::broker::{BrokerConfig, BrokerStatistics, ClientInfo, ClientKind};
use daemoneye_eventbus_core::error::Error;
use daemoneye_eventbus_core::wire::auth::Token;
use daemoneye_eventbus_core::wire::text::{Code, FromBroker};
use daemoneye_eventbus_core::wire::{self, Dialect, Message, MessageType};

use crate::support::{Bus, Client, Frame, NEW, control, frame, frame_of, guarded, shut_down, text_frame, trigger};

const PROVED: &str = "54169902e229d87a48e6656c4bc4f5f318c70971e7a1d1795d059dd97aa46623";

fn quick() -> BrokerConfig {
    BrokerConfig {
        handshake_timeout: Duration::from_millis(100),
        ..BrokerConfig::default()
    }
}

/// What a bincode frame is in postcard.
fn translated(frame: &[u8]) -> Vec<u8> {
    wire::translate(Dialect::Bincode, Dialect::Postcard, &frame[4..]).unwrap()
}

impl Client {
    fn pong(&mut self) {
        match self.next() {
            Frame::Text(FromBroker::Pong) => {}
            other => panic!("expected PONG, got {other:?}"),
        }
    }

    /// Nothing comes for `time`.
    fn hears_nothing(&mut self, time: Duration) {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => panic!("expected silence, got {other:?}"),
        }
        self.stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    }

    /// What one read gives: all that is in flight.
    fn in_flight(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 20];
        let len = self.stream.read(&mut bytes).unwrap();
        bytes.truncate(len);
        bytes
    }
}

fn original(bus: &Bus) -> ClientInfo {
    let start = Instant::now();
    loop {
        let clients = bus.broker.clients();
        if let Some(client) = clients.into_iter().find(|client| client.kind == ClientKind::Original) {
            return client;
        }
        assert!(start.elapsed() < Duration::from_secs(5), "no original peer");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A peer that the broker has taken for one of the original.
fn met(bus: &Bus) -> Client {
    let mut peer = bus.dial();
    peer.text("PING");
    peer.pong();
    original(bus);
    peer
}

fn settled_account(bus: &Bus, delivered: u64, dropped: u64) -> BrokerStatistics {
    bus.settled(|now| {
        now.bus.messages_delivered == delivered && now.dropped.values().sum::<u64>() == dropped && now.pending == 0
    })
}

#[test]
fn the_first_frame_says_who_is_one() {
    guarded(|| {
        let bus = Bus::new();
        for first in [
            frame(NEW, 1),
            translated(&frame(NEW, 1)),
            text_frame("PING"),
            text_frame("PONG"),
            text_frame("PING:00"),
        ] {
            let mut peer = bus.dial();
            peer.send(&first);
            assert_eq!(original(&bus).pid, Some(std::process::id()));
            assert_eq!(bus.broker.statistics().bus.active_subscribers, 1);
            drop(peer);
            bus.settled(|now| now.connections == 0 && now.bus.active_subscribers == 0);
        }
        // What is none of these is told so, in the way of native clients.
        for (first, code) in [
            (
                text_frame(r#"SUB {"id":1,"topic_patterns":["events.#"]}"#),
                Code::Protocol,
            ),
            (text_frame("BYE"), Code::Protocol),
            (text_frame(&format!("{PROVED}:PING")), Code::Protocol),
            (vec![3, 0, 0, 0, 0x10, 1, 2], Code::Decode),
            (vec![0, 0, 0, 0], Code::Protocol),
        ] {
            let mut peer = bus.dial();
            peer.send(&first);
            peer.cut(code);
        }
    });
}

#[test]
fn the_silent_one_is_sent_nothing_before_the_time_out_and_events_after_it() {
    guarded(|| {
        let bus = Bus::with(BrokerConfig {
            handshake_timeout: Duration::from_millis(400),
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
            assert_eq!(peer.message(), expected);
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
        assert_eq!(peer.message(), translated(&early));
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
        assert_eq!(original(&bus).id, before.id);
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
        assert_eq!(two.message(), translated(&sent));
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
fn there_are_so_many_and_no_more() {
    guarded(|| {
        let bus = Bus::with(BrokerConfig {
            max_original_peers: 2,
            ..quick()
        });
        let (_one, silent) = (met(&bus), bus.dial());
        bus.settled(|now| now.bus.active_subscribers == 2);
        for first in [text_frame("PING"), frame(NEW, 1), Vec::new()] {
            let mut peer = bus.dial();
            peer.send(&first);
            peer.cut(Code::Busy);
        }
        assert_eq!(bus.broker.statistics().refused["busy_original"], 3);
        bus.connect().flush();
        drop(silent);
        bus.settled(|now| now.bus.active_subscribers == 1);
        met(&bus);
    });
}

#[test]
fn nobody_is_one_where_they_are_not_served() {
    guarded(|| {
        let token = vec![Token::new(b"token-1".to_vec())];
        for config in [
            BrokerConfig {
                original_peers: false,
                ..quick()
            },
            BrokerConfig {
                tokens: token,
                ..quick()
            },
        ] {
            let bus = Bus::with(config);
            for (first, code) in [
                (text_frame("PING"), Code::Protocol),
                (frame(NEW, 1), Code::Protocol),
                (text_frame(&format!("{PROVED}:PING")), Code::Protocol),
                (Vec::new(), Code::HandshakeTimeout),
            ] {
                let mut peer = bus.dial();
                peer.send(&first);
                peer.cut(code);
            }
            assert_eq!(bus.broker.statistics().bus.messages_published, 0);
        }
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
        assert_eq!(peer.message(), translated(&readable));
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
        assert_eq!(peer.message(), fits);
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

#[test]
fn a_late_connect_makes_it_native() {
    guarded(|| {
        let bus = Bus::new();
        let mut publisher = bus.connect();
        let mut peer = met(&bus);
        for n in 0..20 {
            publisher.send(&frame(NEW, n));
        }
        publisher.flush();
        bus.settled(|now| now.pending == 19);
        let said = [
            "PING",
            r#"CONNECT {"protocol":1,"client":"late"}"#,
            r#"SUB {"id":1,"topic_patterns":["events.#"]}"#,
        ];
        peer.send(&said.map(text_frame).concat());
        // What was in flight, then the answers; what was queued is accounted for.
        peer.message();
        peer.pong();
        assert!(matches!(peer.next(), Frame::Text(FromBroker::Info(_))));
        assert_eq!(peer.ok().id, Some(1));
        let now = settled_account(&bus, 1, 19);
        assert_eq!(now.dropped["closed"], 19);
        assert_eq!(now.bus.active_subscribers, 1);
        let sent = frame(NEW, 30);
        publisher.send(&sent);
        assert_eq!(peer.message(), sent);
        assert!(
            bus.broker
                .clients()
                .iter()
                .all(|client| client.kind == ClientKind::Native)
        );
        // Its place is free again.
        for _ in 0..16 {
            std::mem::forget(met(&bus));
        }
    });
}

#[test]
fn a_token_is_proved_before_anything_is_sent_or_taken() {
    guarded(|| {
        let bus = Bus::with(BrokerConfig {
            tokens: vec![Token::new(b"another".to_vec()), Token::new(b"token-1".to_vec())],
            original_auth: true,
            ..quick()
        });
        for proof in [format!("PING:{PROVED}"), format!("{PROVED}:anything:more")] {
            let mut peer = bus.dial();
            peer.send(&frame(NEW, 1));
            peer.text("PING");
            peer.hears_nothing(Duration::from_millis(200));
            assert!(bus.broker.clients().is_empty());
            assert_eq!(bus.broker.statistics().bus.active_subscribers, 0);
            peer.text(&proof);
            peer.pong();
            original(&bus);
            peer.send(&frame(NEW, 2));
            peer.text("PING");
            peer.pong();
            drop(peer);
            bus.settled(|now| now.connections == 0);
        }
        let now = bus.broker.statistics();
        assert_eq!((now.bus.messages_published, now.refused["unproven"]), (2, 2));
        for wrong in [
            format!("PING:{}", PROVED.replace('5', "6")),
            format!("{}:PING", PROVED.replace('5', "6")),
            format!("PING:{}", PROVED.to_uppercase()),
            "PING:".to_owned(),
        ] {
            let mut peer = bus.dial();
            let start = Instant::now();
            peer.text(&wrong);
            peer.ended();
            assert!(start.elapsed() >= Duration::from_millis(90), "{wrong}");
        }
        assert_eq!(bus.broker.statistics().refused["authentication_failed"], 4);
    });
}

#[test]
fn the_end_comes_without_a_word_and_with_what_was_queued() {
    guarded(|| {
        let bus = Bus::new();
        let mut publisher = bus.connect();
        let mut peer = met(&bus);
        let sent: Vec<_> = (0..30).map(|n| frame(NEW, n)).collect();
        publisher.send(&sent.concat());
        publisher.flush();
        let reader = std::thread::spawn(move || {
            for frame in &sent {
                assert_eq!(peer.message(), translated(frame));
            }
            peer.ended();
        });
        assert_eq!(shut_down(&bus.broker, Duration::from_secs(5)).messages, 0);
        reader.join().unwrap();
        let bus = Bus::new();
        let mut peer = met(&bus);
        assert!(bus.broker.disconnect_client(original(&bus).id));
        peer.ended();
        assert_eq!(bus.broker.statistics().refused["disconnected_by_operator"], 1);
    });
}

/// The frames that the original really sent in one scenario, whole.
fn captured(dialect: Dialect, scenario: &str) -> Vec<Vec<u8>> {
    let path = format!(
        "{}/../../tests/vectors/captures-{}.json",
        env!("CARGO_MANIFEST_DIR"),
        dialect.name()
    );
    let captures: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let unhex = |hex: &str| {
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digit).collect::<Vec<u8>>()
    };
    let scenarios = captures["scenarios"].as_array().unwrap();
    let found = scenarios.iter().find(|found| found["name"] == scenario).unwrap();
    let records = found["records"].as_array().unwrap().iter();
    records
        .filter(|record| record["kind"] == "frame" && record["direction"] == "original->peer")
        .map(|record| unhex(record["hex"].as_str().unwrap()))
        .collect()
}

/// What of these frames a native reader must get: those that are messages for topics of this bus, in bincode.
fn expected(dialect: Dialect, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let passes = |frame: &&Vec<u8>| frame[4] == 0x10 && wire::check(dialect, &frame[4..], 8).is_ok();
    let in_bincode = |frame: &Vec<u8>| wire::translate(dialect, Dialect::Bincode, &frame[4..]).unwrap();
    frames.iter().filter(passes).map(in_bincode).collect()
}

#[test]
fn what_the_original_sent_is_taken_wherever_it_is_split() {
    guarded(|| {
        let bus = Bus::new();
        let mut reader = bus.connect();
        reader.subscribe_with(1, &["#"], r#","include_control":true"#);
        for dialect in [Dialect::Bincode, Dialect::Postcard] {
            for scenario in [
                "client",
                "client-auth",
                "broker",
                "broker-dial-out",
                "broker-silent-client",
            ] {
                let frames = captured(dialect, scenario);
                let wanted = expected(dialect, &frames);
                let checks = frames.iter().filter(|frame| frame[4..].starts_with(b"PING")).count();
                let stream = frames.concat();
                // Every frame at every byte: the whole stream in two parts, and byte by byte.
                let mut pieces: Vec<Vec<usize>> = (1..stream.len()).step_by(7).map(|at| vec![at]).collect();
                pieces.push((1..stream.len()).collect());
                for cuts in pieces {
                    let mut peer = bus.dial();
                    let mut from = 0;
                    for cut in cuts.into_iter().chain([stream.len()]) {
                        peer.send(&stream[from..cut]);
                        from = cut;
                    }
                    for frame in &wanted {
                        assert_eq!(&reader.message(), frame, "{scenario}");
                    }
                    for _ in 0..checks {
                        peer.pong();
                    }
                    peer.text("PING");
                    peer.pong();
                }
            }
        }
        let now = bus.broker.statistics();
        assert_eq!((now.refused["protocol"], now.refused["frame_timeout"]), (0, 0));
    });
}
