//! What is published arrives: the same bytes, in order, at the right place between the answers, to the right subscriptions.

use std::time::Duration;

use daemoneye_eventbus_core::wire::text::{Code, FromBroker};

use crate::support::{Bus, Frame, NEW, control, frame, frame_of, frames, guarded, sequence, trigger};

#[test]
fn frames_arrive_unchanged_and_in_order() {
    guarded(|| {
        let bus = Bus::new();
        let mut reader = bus.connect();
        reader.subscribe(7, &["events.process.*"]);
        let mut publisher = bus.connect();
        let sent: Vec<_> = (0..5000)
            .map(|n| frame(if n % 3 == 0 { NEW } else { "events.process.exit" }, n))
            .collect();
        publisher.send(&sent.concat());
        for frame in &sent {
            assert_eq!(&reader.message(), frame);
        }
        let statistics = bus.broker.statistics();
        assert_eq!(
            (statistics.bus.messages_published, statistics.bus.messages_delivered),
            (5000, 5000)
        );
        assert_eq!(
            (statistics.bus.active_subscribers, statistics.bus.active_topics),
            (1, 1)
        );
    });
}

#[test]
fn frames_in_pieces_are_put_together() {
    guarded(|| {
        let bus = Bus::new();
        let mut client = bus.connect();
        client.subscribe(1, &["events.#"]);
        let one = frame(NEW, 1);
        for byte in &one {
            client.send(&[*byte]);
        }
        assert_eq!(client.message(), one);
        let large = frame_of(NEW, 2, 300_000);
        let stream = [large.clone(), one.clone(), large.clone()].concat();
        for piece in stream.chunks(70_001) {
            client.send(piece);
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(client.message(), large);
        assert_eq!(client.message(), one);
        assert_eq!(client.message(), large);
    });
}

#[test]
fn the_largest_frame_passes_and_one_byte_more_does_not() {
    guarded(|| {
        let bus = Bus::new();
        let mut reader = bus.connect();
        reader.subscribe(1, &["events.#"]);
        let mut publisher = bus.connect();
        let most = frame_of(NEW, 1, 1 << 20);
        publisher.send(&most);
        assert!(reader.message() == most);
        for prefix in [(1_u32 << 20) + 1, 1 << 31, u32::MAX] {
            let mut publisher = bus.connect();
            publisher.send(&prefix.to_le_bytes());
            publisher.cut(Code::FrameTooLarge);
        }
    });
}

#[test]
fn a_subscription_counts_from_its_ok_to_its_end() {
    guarded(|| {
        let bus = Bus::new();
        let mut client = bus.connect();
        let mut stream = frame(NEW, 1);
        stream.extend(crate::support::text_frame(
            r#"SUB {"id":1,"topic_patterns":["events.#"]}"#,
        ));
        stream.extend(frame(NEW, 2));
        stream.extend(crate::support::text_frame(
            r#"SUB {"id":2,"topic_patterns":["events.process.new"]}"#,
        ));
        stream.extend(frame(NEW, 3));
        stream.extend(crate::support::text_frame(r#"UNSUB {"id":1}"#));
        stream.extend(frame(NEW, 4));
        stream.extend(crate::support::text_frame(r#"UNSUB {"id":2}"#));
        stream.extend(frame(NEW, 5));
        stream.extend(crate::support::text_frame("PING"));
        client.send(&stream);
        assert_eq!(client.ok().id, Some(1));
        assert_eq!(sequence(&client.message()), 2);
        assert_eq!(client.ok().id, Some(2));
        assert_eq!(sequence(&client.message()), 3);
        assert_eq!(client.ok().id, Some(1));
        assert_eq!(sequence(&client.message()), 4);
        assert_eq!(client.ok().id, Some(2));
        assert!(matches!(client.next(), Frame::Text(FromBroker::Pong)));
        // Message 3 was one frame for two subscriptions.
        let statistics = bus.broker.statistics();
        assert_eq!(
            (statistics.bus.messages_published, statistics.bus.messages_delivered),
            (5, 4)
        );
        assert_eq!(
            (statistics.bus.active_subscribers, statistics.bus.active_topics),
            (0, 0)
        );
    });
}

#[test]
fn several_patterns_of_one_subscription_count_once() {
    guarded(|| {
        let bus = Bus::new();
        let mut client = bus.connect();
        client.subscribe(1, &["events.#", "events.process.*", NEW]);
        client.send(&frame(NEW, 1));
        assert_eq!(client.flush().len(), 1);
        let statistics = bus.broker.statistics();
        assert_eq!(
            (statistics.bus.messages_delivered, statistics.bus.active_topics),
            (1, 3)
        );
    });
}

#[test]
fn filters_are_applied_in_the_broker() {
    guarded(|| {
        let bus = Bus::new();
        let mut reader = bus.connect();
        reader.subscribe_with(1, &["events.#"], r#","event_filter":{"pids":[3,4,900]}"#);
        let mut both = bus.connect();
        both.subscribe_with(1, &["events.#"], r#","event_filter":{"pids":[5]}"#);
        both.subscribe_with(2, &["events.#"], r#","event_filter":{"pids":[5,6]}"#);
        let mut all = bus.connect();
        all.subscribe(1, &["events.#"]);
        let mut publisher = bus.connect();
        publisher.send(&frames(NEW, 0..1000));
        publisher.flush();
        let got: Vec<_> = reader.flush().iter().map(|frame| sequence(frame)).collect();
        assert_eq!(got, [3, 4, 900]);
        let got: Vec<_> = both.flush().iter().map(|frame| sequence(frame)).collect();
        assert_eq!(got, [5, 6]);
        let got: Vec<_> = all.flush().iter().map(|frame| sequence(frame)).collect();
        assert_eq!(got, (0..1000).collect::<Vec<_>>());
        assert_eq!(bus.broker.statistics().bus.messages_delivered, 3 + 3 + 1000);
    });
}

#[test]
fn control_goes_to_those_who_asked_and_triggers_to_everyone() {
    guarded(|| {
        let bus = Bus::new();
        let mut plain = bus.connect();
        plain.subscribe(1, &["control.#", "health.#"]);
        let mut asking = bus.connect();
        asking.subscribe_with(1, &["control.#", "health.#"], r#","include_control":true"#);
        let mut publisher = bus.connect();
        publisher.send(&control("control.collector.status", 1));
        publisher.send(&trigger(2, 5));
        publisher.send(&control("control.trigger.request", 3));
        publisher.send(&control("health.status", 4));
        publisher.send(&frame("health.status", 5));
        publisher.flush();
        let sequences = |frames: Vec<Vec<u8>>| frames.iter().map(|frame| sequence(frame)).collect::<Vec<_>>();
        assert_eq!(sequences(plain.flush()), [2, 5]);
        assert_eq!(sequences(asking.flush()), [1, 2, 3, 4, 5]);
    });
}

#[test]
fn a_reader_with_a_smaller_limit_is_told_what_it_cannot_have() {
    guarded(|| {
        let bus = Bus::new();
        let (mut small, info) = bus.connect_with(r#","max_frame":2000"#);
        assert_eq!(info.max_frame, 2000);
        small.subscribe(4, &["events.#"]);
        let mut large = bus.connect();
        large.subscribe(4, &["events.#"]);
        let mut publisher = bus.connect();
        let sent = [
            frame(NEW, 1),
            frame_of(NEW, 2, 2000),
            frame_of(NEW, 3, 2001),
            frame_of(NEW, 4, 9999),
            frame(NEW, 5),
        ];
        publisher.send(&sent.concat());
        publisher.flush();
        assert_eq!(large.flush().len(), 5);
        assert_eq!(sequence(&small.message()), 1);
        assert_eq!(sequence(&small.message()), 2);
        let dropped = small.dropped();
        assert_eq!((dropped.subscriptions[&4], dropped.reason.as_str()), (2, "max_frame"));
        assert_eq!(sequence(&small.message()), 5);
        assert_eq!(bus.broker.statistics().dropped["max_frame"], 2);
    });
}

#[test]
fn each_reader_gets_its_own_dialect() {
    guarded(|| {
        let bus = Bus::new();
        let connect = |dialect: &str| {
            let mut client = bus.dial();
            client.text(&format!(r#"CONNECT {{"protocol":1,"dialect":"{dialect}"}}"#));
            assert!(matches!(client.next(), Frame::Text(FromBroker::Info(info)) if info.dialect == dialect));
            client
        };
        let mut readers = [connect("bincode"), connect("postcard")];
        for reader in &mut readers {
            reader.subscribe(1, &["events.#"]);
        }
        let sent = frames(NEW, 0..500);
        let mut publisher = bus.connect();
        publisher.send(&sent);
        publisher.flush();
        let translated: Vec<_> = readers[1].flush();
        let translated = translated.concat();
        assert_eq!(readers[0].flush().concat(), sent);
        // And back: the same bytes again.
        let mut publisher = connect("postcard");
        publisher.send(&translated);
        publisher.flush();
        assert_eq!(readers[0].flush().concat(), sent);
        assert_eq!(readers[1].flush().concat(), translated);
        assert_eq!(bus.broker.statistics().bus.messages_delivered, 2000);
    });
}

#[test]
fn a_client_that_says_goodbye_gets_what_is_queued() {
    guarded(|| {
        let bus = Bus::new();
        let mut reader = bus.connect();
        reader.subscribe(1, &["events.#"]);
        let mut publisher = bus.connect();
        // More than the kernel takes at once.
        publisher.send(&frames(NEW, 0..20_000));
        publisher.flush();
        reader.text("BYE");
        let (got, lost) = reader.drain(20_000);
        assert_eq!((got.len(), lost.len()), (20_000, 0));
        assert!(matches!(reader.next(), Frame::Text(FromBroker::Bye(_))));
        reader.ended();
        publisher.text("BYE");
        assert!(matches!(publisher.next(), Frame::Text(FromBroker::Bye(_))));
        publisher.ended();
        assert_eq!(
            bus.settled(|statistics| statistics.connections == 0)
                .bus
                .messages_delivered,
            20_000
        );
    });
}

#[test]
fn unknown_verbs_are_told_and_not_fatal() {
    guarded(|| {
        let bus = Bus::new();
        let mut client = bus.connect();
        client.text(r#"FLY {"to":"the moon"}"#);
        assert_eq!(client.err().code, Code::UnknownVerb);
        client.text(r#"STATS {"id":9}"#);
        let ok = client.ok();
        assert_eq!((ok.id, ok.statistics.unwrap().active_subscribers), (Some(9), 0));
        assert_eq!(bus.refused("unknown_verb"), 1);
    });
}
