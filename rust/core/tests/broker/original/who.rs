//! Who is a peer of the original, until when, and who is none.

use std::time::{Duration, Instant};

use daemoneye_eventbus_core::broker::{BrokerConfig, ClientKind};
use daemoneye_eventbus_core::wire::auth::Token;
use daemoneye_eventbus_core::wire::text::{Code, FromBroker};

use super::{PROVED, met, original, quick, settled_account, translated};
use crate::support::{Bus, Frame, NEW, frame, guarded, shut_down, text_frame};

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
fn a_late_connect_makes_it_native() {
    guarded(|| {
        let bus = Bus::new();
        let mut publisher = bus.connect();
        let mut peer = met(&bus);
        for n in 0..20 {
            publisher.send(&frame(NEW, n));
        }
        publisher.flush();
        peer.pong();
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
        let others: Vec<_> = (0..16).map(|_| met(&bus)).collect();
        drop(others);
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
        peer.pong();
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
