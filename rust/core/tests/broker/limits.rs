//! What a client may not do: which refusals keep the connection, and which end it.

use std::time::{Duration, Instant};

use daemoneye_eventbus_core::broker::BrokerConfig;
use daemoneye_eventbus_core::wire::text::{Code, FromBroker};
use daemoneye_eventbus_core::wire::{self, Dialect, Message, MessageType};

use crate::support::{Bus, Client, Frame, NEW, frame, frames, guarded, sequence};

/// A frame with an envelope that no honest client writes.
fn forged(change: impl FnOnce(&mut Message<'_>)) -> Vec<u8> {
    let honest = frame(NEW, 7);
    let (mut message, _) = wire::read(Dialect::Bincode, &honest[4..]).unwrap();
    change(&mut message);
    let mut body = Vec::new();
    Dialect::Bincode.encode(&message, &mut body).unwrap();
    [&u32::try_from(body.len()).unwrap().to_le_bytes(), body.as_slice()].concat()
}

#[test]
fn a_refused_publish_is_told_and_counted_and_keeps_the_connection() {
    guarded(|| {
        let bus = Bus::new();
        let mut client = bus.connect();
        client.subscribe_with(1, &["events.#", "health.#", "control.#"], r#","include_control":true"#);
        let cases = [
            (forged(|message| message.topic = "nowhere"), Code::Topic),
            (forged(|message| message.topic = "events.Process"), Code::Topic),
            (forged(|message| message.topic = "events.process.*"), Code::Topic),
            (forged(|message| message.topic = "control.x"), Code::MessageType),
            (
                forged(|message| message.message_type = MessageType::Control),
                Code::MessageType,
            ),
            (
                forged(|message| message.message_type = MessageType::Heartbeat),
                Code::MessageType,
            ),
            (
                forged(|message| message.message_type = MessageType::Shutdown),
                Code::MessageType,
            ),
        ];
        for (bytes, code) in &cases {
            client.send(bytes);
            let err = client.err();
            assert_eq!((err.code, err.sequence, err.id), (*code, Some(7), None));
            assert!(err.topic.is_some());
        }
        client.send(&frame(NEW, 8));
        assert_eq!(sequence(&client.message()), 8);
        let statistics = bus.broker.statistics();
        assert_eq!(
            (statistics.refused["topic"], statistics.refused["message_type"]),
            (3, 4)
        );
        assert_eq!(statistics.bus.messages_published, 1);
    });
}

#[test]
fn unsent_refusals_of_one_kind_are_one_answer() {
    guarded(|| {
        let bus = Bus::new();
        let mut client = bus.connect();
        let bad = forged(|message| message.topic = "nowhere");
        client.send(&bad.repeat(1000));
        let mut count = 0;
        while count < 1000 {
            let err = client.err();
            assert_eq!((err.code, err.topic.as_deref()), (Code::Topic, Some("nowhere")));
            count += err.count.unwrap_or(1);
        }
        assert_eq!(count, 1000);
        assert_eq!(bus.broker.statistics().refused["topic"], 1000);
        client.flush();
    });
}

#[test]
fn what_does_not_decode_ends_the_connection_after_what_came_before() {
    guarded(|| {
        let bus = Bus::new();
        let mut reader = bus.connect();
        reader.subscribe(1, &["events.#"]);
        let good = frame(NEW, 1);
        let cut_short = {
            let mut bytes = frame(NEW, 2);
            bytes.truncate(bytes.len() - 1);
            let len = u32::try_from(bytes.len() - 4).unwrap();
            bytes[..4].copy_from_slice(&len.to_le_bytes());
            bytes
        };
        let trailing = {
            let mut bytes = frame(NEW, 3);
            bytes.push(0);
            let len = u32::try_from(bytes.len() - 4).unwrap();
            bytes[..4].copy_from_slice(&len.to_le_bytes());
            bytes
        };
        let bad_payload = forged(|message| message.payload = b"\xff\xff");
        for (before, bad) in (0..).zip([cut_short, trailing, bad_payload]) {
            let mut publisher = bus.connect();
            publisher.send(&[good.clone(), bad, good.clone()].concat());
            publisher.cut(Code::Decode);
            assert_eq!(reader.message(), good);
            bus.settled(|statistics| statistics.refused["decode"] == before + 1);
        }
        for bad in [
            crate::support::text_frame("SUB {\"id\":"),
            crate::support::text_frame("SUB nothing"),
            vec![0; 4],
        ] {
            let mut publisher = bus.connect();
            publisher.send(&bad);
            publisher.cut(Code::Protocol);
        }
        assert_eq!(reader.flush().len(), 0);
    });
}

fn refused_sub(client: &mut Client, json: &str) -> daemoneye_eventbus_core::wire::text::ErrText {
    client.text(&format!("SUB {json}"));
    client.err()
}

#[test]
fn bad_subscriptions_are_answered_by_their_id() {
    guarded(|| {
        let bus = Bus::with(BrokerConfig {
            max_patterns_per_client: 3,
            max_filter_terms: 2,
            ..BrokerConfig::default()
        });
        let mut client = bus.connect();
        client.subscribe(1, &["events.#", "health.#"]);
        let cases = [
            (
                r#"{"id":1,"topic_patterns":["events.#"]}"#,
                Code::SubscriptionRefused,
                None,
            ),
            (r#"{"id":2,"topic_patterns":["events.#.x"]}"#, Code::Pattern, None),
            (
                r#"{"id":3,"topic_patterns":["events.*"],"enable_wildcards":false}"#,
                Code::Pattern,
                None,
            ),
            (r#"{"id":4}"#, Code::SubscriptionRefused, None),
            (
                r#"{"id":5,"topic_patterns":["events.a","events.b"]}"#,
                Code::SubscriptionRefused,
                Some(3),
            ),
            (
                r#"{"id":6,"topic_patterns":["events.a"],"event_filter":{"pids":[1,2,3]}}"#,
                Code::SubscriptionRefused,
                Some(2),
            ),
        ];
        for (json, code, limit) in cases {
            let err = refused_sub(&mut client, json);
            assert_eq!((err.code, err.limit), (code, limit), "{json}: {err:?}");
            assert!(err.id.is_some());
        }
        client.text(r#"UNSUB {"id":99}"#);
        let err = client.err();
        assert_eq!((err.id, err.code), (Some(99), Code::UnknownSubscription));
        // From capabilities, and without wildcards.
        client.text(r#"SUB {"id":7,"capabilities":{"event_types":["process"],"collectors":[],"max_priority":0},"enable_wildcards":false}"#);
        assert_eq!(client.ok().id, Some(7));
        client.send(&frame(NEW, 1));
        assert_eq!(client.flush().len(), 1);
        assert_eq!(bus.broker.statistics().bus.messages_delivered, 2);
    });
}

#[test]
fn a_frame_begun_must_end() {
    guarded(|| {
        let bus = Bus::with(BrokerConfig {
            frame_timeout: Duration::from_millis(1500),
            ..BrokerConfig::default()
        });
        let mut reader = bus.connect();
        reader.subscribe(1, &["events.#"]);
        let mut slow = bus.connect();
        let bytes = frame(NEW, 1);
        slow.send(&bytes[..20]);
        std::thread::sleep(Duration::from_millis(150));
        slow.send(&bytes[20..]);
        assert_eq!(reader.message(), bytes);
        std::thread::sleep(Duration::from_millis(1600));
        slow.flush();
        slow.send(&bytes[..1]);
        std::thread::sleep(Duration::from_millis(500));
        let more = Instant::now();
        slow.send(&bytes[1..3]);
        slow.cut(Code::FrameTimeout);
        assert!(
            more.elapsed() < Duration::from_millis(1500),
            "what came later gained it time"
        );
        assert_eq!(bus.broker.statistics().refused["frame_timeout"], 1);
    });
}

#[test]
fn who_is_silent_is_pinged_and_then_cut() {
    guarded(|| {
        let bus = Bus::with(BrokerConfig {
            ping_interval: Duration::from_millis(100),
            ping_timeout: Duration::from_millis(1500),
            ..BrokerConfig::default()
        });
        let mut good = bus.connect();
        let mut dead = bus.connect();
        // Longer than it takes the broker to cut the other.
        while bus.broker.statistics().refused["ping_timeout"] == 0 {
            assert!(matches!(good.next(), Frame::Text(FromBroker::Ping)));
            good.text("PONG");
        }
        assert!(matches!(dead.next(), Frame::Text(FromBroker::Ping)));
        dead.cut(Code::PingTimeout);
        assert_eq!(bus.broker.statistics().refused["ping_timeout"], 1);
    });
}

#[test]
fn who_does_not_read_is_not_taken_for_dead() {
    guarded(|| {
        let bus = Bus::with(BrokerConfig {
            ping_interval: Duration::from_millis(50),
            ping_timeout: Duration::from_millis(150),
            ..BrokerConfig::default()
        });
        let bytes = frames(NEW, 0..10_000);
        let mut reader = bus.connect();
        reader.subscribe(1, &["events.#"]);
        bus.connect().send(&bytes);
        std::thread::sleep(Duration::from_millis(600));
        // Without an answer of its own, and with more unsent than the kernel holds.
        assert_eq!(
            bus.broker
                .clients()
                .iter()
                .filter(|client| client.subscriptions == 1)
                .count(),
            1
        );
        let mut got = 0;
        while got < 10_000 {
            if let Frame::Message(_) = reader.next() {
                got += 1;
            }
        }
    });
}

/// One step outside of each bound is refused by name, and each bound itself is taken.
#[test]
fn every_number_has_its_bounds() {
    type Set<T> = fn(&mut BrokerConfig, T);
    let verdict = |change: &dyn Fn(&mut BrokerConfig)| {
        let mut config = BrokerConfig {
            // The pattern that it has otherwise needs a depth of two.
            original_patterns: Vec::new(),
            ..BrokerConfig::default()
        };
        change(&mut config);
        match config.validate() {
            Ok(()) => None,
            Err(daemoneye_eventbus_core::Error::Invalid { field, .. }) => Some(field),
            Err(other) => panic!("expected a refusal, got {other:?}"),
        }
    };
    let numbers: [(&str, Set<usize>, usize, usize); 10] = [
        ("max_frame", |c, n| c.max_frame = n, 1024, 64 << 20),
        ("max_connections", |c, n| c.max_connections = n, 1, 65_536),
        (
            "max_connections_per_uid",
            |c, n| c.max_connections_per_uid = n,
            1,
            65_536,
        ),
        ("queue_messages", |c, n| c.queue_messages = n, 1, 1 << 30),
        ("queue_bytes", |c, n| c.queue_bytes = n, 1, 1 << 40),
        ("total_queue_bytes", |c, n| c.total_queue_bytes = n, 1, 1 << 40),
        (
            "max_patterns_per_client",
            |c, n| c.max_patterns_per_client = n,
            1,
            1 << 20,
        ),
        ("max_filter_terms", |c, n| c.max_filter_terms = n, 0, 1 << 20),
        ("max_topic_depth", |c, n| c.max_topic_depth = n, 1, 128),
        ("max_original_peers", |c, n| c.max_original_peers = n, 0, 65_536),
    ];
    for (name, set, least, most) in numbers {
        for bound in [least, most] {
            assert_eq!(verdict(&|config| set(config, bound)), None, "{name} = {bound}");
        }
        for outside in least.checked_sub(1).into_iter().chain([most + 1]) {
            assert_eq!(
                verdict(&|config| set(config, outside)),
                Some(name),
                "{name} = {outside}"
            );
        }
    }
    let week = Duration::from_secs(7 * 24 * 3600);
    let times: [(&str, Set<Duration>); 6] = [
        ("handshake_timeout", |c, time| c.handshake_timeout = time),
        ("frame_timeout", |c, time| c.frame_timeout = time),
        ("write_timeout", |c, time| c.write_timeout = time),
        ("stall_timeout", |c, time| c.stall_timeout = time),
        ("ping_interval", |c, time| c.ping_interval = time),
        ("ping_timeout", |c, time| c.ping_timeout = time),
    ];
    for (name, set) in times {
        for outside in [Duration::ZERO, week + Duration::from_nanos(1)] {
            assert_eq!(
                verdict(&|config| set(config, outside)),
                Some(name),
                "{name} = {outside:?}"
            );
        }
        // The longest interval leaves no time-out that is longer.
        if name != "ping_interval" {
            assert_eq!(verdict(&|config| set(config, week)), None, "{name}");
        }
    }
}

#[test]
fn settings_are_checked_together() {
    let refused = |change: &dyn Fn(&mut BrokerConfig)| {
        let mut config = BrokerConfig::default();
        change(&mut config);
        match config.validate() {
            Err(daemoneye_eventbus_core::Error::Invalid { field, .. }) => field,
            other => panic!("expected a refusal, got {other:?}"),
        }
    };
    BrokerConfig::default().validate().unwrap();
    assert_eq!(refused(&|config| config.max_frame = 0), "max_frame");
    assert_eq!(refused(&|config| config.max_connections = 0), "max_connections");
    assert_eq!(
        refused(&|config| config.handshake_timeout = Duration::ZERO),
        "handshake_timeout"
    );
    assert_eq!(
        refused(&|config| config.ping_timeout = Duration::from_secs(30)),
        "ping_timeout"
    );
    assert_eq!(refused(&|config| config.socket_mode = 0o666), "socket_mode");
    assert_eq!(refused(&|config| config.socket_mode = 0o660), "socket_group");
    assert_eq!(refused(&|config| config.socket_group = Some(1)), "socket_group");
    assert_eq!(refused(&|config| config.allowed_uids = vec![65_534]), "allowed_uids");
    assert_eq!(refused(&|config| config.original_auth = true), "original_auth");
    assert_eq!(
        refused(&|config| config.original_patterns = vec!["#.x".into()]),
        "original_patterns"
    );
    let mut config = BrokerConfig {
        allowed_uids: vec![0, daemoneye_eventbus_core::transport::Peer::own_uid()],
        ..BrokerConfig::default()
    };
    config.validate().expect("both pass every mode");
    config.socket_mode = 0o660;
    config.socket_group = Some(1);
    config.allowed_uids = vec![1234];
    config.validate().unwrap();
    config.socket_mode = 0o666;
    config.validate().unwrap_err();
}

#[test]
fn topics_that_are_new_to_very_many_subscriptions_leave_others_their_turn() {
    guarded(|| {
        let bus = Bus::new();
        let _readers: Vec<_> = (0..4)
            .map(|_| {
                let mut reader = bus.connect();
                for id in 0..500 {
                    reader.subscribe(id, &["events.#"]);
                }
                reader
            })
            .collect();
        let mut other = bus.connect();
        let count = 300;
        // A client, and a peer of the original.
        for (before, mut publisher) in [(0, bus.connect()), (count, bus.dial())] {
            let frames: Vec<u8> = (0..count)
                .flat_map(|number| frame(&format!("events.new.t{number}"), number))
                .collect();
            publisher.send(&frames);
            let mut seen = std::collections::BTreeSet::new();
            while seen.last() != Some(&(before + count)) {
                other.flush();
                seen.insert(bus.broker.statistics().bus.messages_published);
            }
            // Before the first of them, behind the last, and in between: they are few enough to be read at once.
            assert!(
                seen.len() > 4,
                "others had their turn after {seen:?} of {count} messages"
            );
        }
    });
}
