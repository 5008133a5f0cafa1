//! Start, stop, and what an operator can do.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use daemoneye_eventbus_core::Error;
use daemoneye_eventbus_core::broker::{Broker, BrokerConfig};
use daemoneye_eventbus_core::transport::PathState;
use daemoneye_eventbus_core::wire::text::{Code, FromBroker};

use crate::support::{Bus, Client, Frame, NEW, frame, frame_of, frames, guarded, shut_down, start};

/// A bus with a reader that has taken nothing of 10,000 messages, and their publisher.
fn with_a_reader_behind() -> (Bus, Client, Client) {
    let bus = Bus::new();
    let mut reader = bus.connect();
    reader.subscribe(1, &["events.#"]);
    let mut publisher = bus.connect();
    publisher.send(&frames(NEW, 0..10_000));
    publisher.flush();
    (bus, reader, publisher)
}

#[test]
fn a_second_broker_is_refused_and_the_first_undisturbed() {
    guarded(|| {
        let bus = Bus::new();
        let second = Broker::new(bus.address.clone(), BrokerConfig::default()).unwrap();
        assert!(matches!(start(&second), Err(Error::BrokerAlreadyRunning { .. })));
        assert!(!second.is_running() && bus.broker.is_running());
        bus.connect().flush();
        assert_eq!(shut_down(&second, Duration::from_secs(1)).messages, 0);
    });
}

#[test]
fn a_broker_lives_once() {
    guarded(|| {
        let bus = Bus::new();
        assert!(matches!(start(&bus.broker), Err(Error::Lifecycle(_))));
        assert_eq!(bus.broker.path_state(), PathState::Ours);
        shut_down(&bus.broker, Duration::from_secs(1));
        shut_down(&bus.broker, Duration::from_secs(1));
        assert!(matches!(start(&bus.broker), Err(Error::Lifecycle(_))));
        assert!(!bus.broker.is_running());
        assert!(!bus.address.path().exists());
        // Never started, and stopped.
        let never = Broker::new(bus.address.clone(), BrokerConfig::default()).unwrap();
        shut_down(&never, Duration::from_secs(1));
        assert!(start(&never).is_err());
        // The place is free for the next.
        let next = Broker::new(bus.address.clone(), BrokerConfig::default()).unwrap();
        start(&next).unwrap();
        shut_down(&next, Duration::from_secs(1));
    });
}

#[test]
fn a_start_that_is_overtaken_by_a_shutdown_has_left_the_path_when_it_says_so() {
    guarded(|| {
        let bus = Bus::new();
        shut_down(&bus.broker, Duration::from_secs(1));
        let mut overtaken = 0;
        for _ in 0..300 {
            let broker = Broker::new(bus.address.clone(), BrokerConfig::default()).unwrap();
            let next = Broker::new(bus.address.clone(), BrokerConfig::default()).unwrap();
            let (done, wait) = mpsc::channel();
            broker.start(move |result| done.send(result).unwrap());
            broker.shutdown(Duration::from_secs(5), |_| {});
            match wait.recv().unwrap() {
                Ok(()) => drop(shut_down(&broker, Duration::from_secs(1))),
                Err(_) => overtaken += 1,
            }
            start(&next).unwrap();
            shut_down(&next, Duration::from_secs(1));
        }
        assert!(overtaken > 0);
    });
}

#[test]
fn shutdown_delivers_what_is_queued_and_says_goodbye() {
    guarded(|| {
        let bus = Bus::new();
        let mut reader = bus.connect();
        reader.subscribe(1, &["events.#"]);
        let mut publisher = bus.connect();
        publisher.send(&frames(NEW, 0..10_000));
        let (done, wait) = mpsc::channel();
        bus.broker.shutdown(Duration::from_secs(5), move |undelivered| {
            done.send(undelivered).unwrap()
        });
        let (got, lost) = reader.drain(10_000);
        assert!(got.len() == 10_000 && lost.is_empty());
        assert!(
            matches!(reader.next(), Frame::Text(FromBroker::Bye(bye)) if bye.reason.as_deref() == Some("shutdown"))
        );
        reader.ended();
        assert!(matches!(publisher.next(), Frame::Text(FromBroker::Bye(_))));
        publisher.ended();
        let undelivered = wait.recv_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!((undelivered.messages, undelivered.connections), (0, 0));
    });
}

#[test]
fn shutdown_waits_for_nobody_who_has_gone_or_begun_anew() {
    guarded(|| {
        let bus = Bus::new();
        drop(bus.connect());
        let mut cut = bus.connect();
        cut.send(&[0; 4]);
        cut.cut(Code::Protocol);
        // It shows its dialect late, and goes on with another queue.
        let mut peer = bus.dial();
        peer.text("PING");
        assert!(matches!(peer.next(), Frame::Text(FromBroker::Pong)));
        peer.send(&frame(NEW, 1));
        bus.settled(|now| now.connections == 1 && now.bus.messages_published == 1);
        let _native = bus.connect();
        let start = Instant::now();
        let undelivered = shut_down(&bus.broker, Duration::from_secs(40));
        assert_eq!((undelivered.messages, undelivered.connections), (0, 0));
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    });
}

#[test]
fn shutdown_ends_at_its_deadline_and_reports_what_is_left() {
    guarded(|| {
        let (bus, _reader, _publisher) = with_a_reader_behind();
        let _handshaking = bus.dial();
        let delivered = bus.broker.statistics().bus.messages_delivered;
        assert!(delivered < 10_000);
        let start = Instant::now();
        let undelivered = shut_down(&bus.broker, Duration::from_millis(500));
        let took = start.elapsed();
        assert!(
            took >= Duration::from_millis(450) && took < Duration::from_secs(2),
            "{took:?}"
        );
        assert_eq!((undelivered.messages, undelivered.connections), (10_000 - delivered, 1));
        let statistics = bus.broker.statistics();
        assert_eq!(
            statistics.bus.messages_delivered + statistics.dropped["disconnected"],
            10_000
        );
        assert_eq!((statistics.connections, statistics.queued_bytes), (0, 0));
    });
}

#[test]
fn of_several_deadlines_the_nearest_holds() {
    guarded(|| {
        let far = Duration::from_secs(3600);
        for (first, second) in [(far, Duration::from_millis(300)), (Duration::from_millis(300), far)] {
            // Nothing but a deadline ends who does not read.
            let bus = Bus::with(BrokerConfig {
                write_timeout: far,
                ..BrokerConfig::default()
            });
            let mut reader = bus.connect();
            reader.subscribe(1, &["events.#"]);
            let mut publisher = bus.connect();
            publisher.send(&frames(NEW, 0..10_000));
            publisher.flush();
            let (done, wait) = mpsc::channel();
            for deadline in [first, second] {
                let done = done.clone();
                bus.broker
                    .shutdown(deadline, move |undelivered| done.send(undelivered).unwrap());
                // The second finds it stopping.
                while bus.broker.is_running() {
                    std::thread::yield_now();
                }
            }
            let results = [wait.recv().unwrap(), wait.recv().unwrap()];
            assert!(results.iter().all(|result| result.connections == 1), "{results:?}");
        }
    });
}

#[test]
fn what_a_client_loses_that_goes_or_is_cut_while_the_broker_stops_is_reported() {
    type End = fn(&Bus, Client);
    let ends: [(&str, End); 2] = [
        ("goes", |_, reader| drop(reader)),
        ("is cut", |bus, mut reader| {
            let mut clients = bus.broker.clients();
            clients.retain(|client| client.queued_messages > 0);
            assert!(bus.broker.disconnect_client(clients[0].id));
            while !matches!(reader.next(), Frame::End) {}
        }),
    ];
    guarded(move || {
        for (what, end) in ends {
            let (bus, reader, mut publisher) = with_a_reader_behind();
            let (done, wait) = mpsc::channel();
            bus.broker.shutdown(Duration::from_secs(20), move |undelivered| {
                done.send(undelivered).unwrap()
            });
            // From then on nobody's messages come in.
            while !matches!(publisher.next(), Frame::End) {}
            end(&bus, reader);
            let undelivered = wait.recv_timeout(Duration::from_secs(10)).unwrap();
            let lost = bus.broker.statistics().dropped["disconnected"];
            assert!(lost > 0, "{what}");
            assert_eq!((undelivered.messages, undelivered.connections), (lost, 1), "{what}");
        }
    });
}

#[test]
fn what_was_lost_with_a_client_that_left_before_is_nothing_a_shutdown_lost() {
    guarded(|| {
        let bus = Bus::with(BrokerConfig {
            write_timeout: Duration::from_millis(200),
            ..BrokerConfig::default()
        });
        let mut reader = bus.connect();
        reader.subscribe(1, &["events.#"]);
        let mut publisher = bus.connect();
        publisher.send(&frames(NEW, 0..10_000));
        publisher.flush();
        // It is given what is queued, and takes nothing of it.
        reader.text("BYE");
        let statistics = bus.settled(|statistics| statistics.connections == 1);
        assert_eq!(statistics.refused["write_timeout"], 1);
        assert!(statistics.dropped.values().sum::<u64>() > 0);
        let undelivered = shut_down(&bus.broker, Duration::from_secs(5));
        assert_eq!((undelivered.messages, undelivered.connections), (0, 0));
    });
}

#[test]
fn a_blocked_publisher_does_not_take_the_others_their_goodbye() {
    guarded(|| {
        let bus = Bus::new();
        let (mut stuck, _) = bus.connect_with(r#","queue_messages":10"#);
        stuck.subscribe(1, &["events.#"]);
        let (mut publisher, _) = bus.connect_with(r#","congestion":"block""#);
        let bytes = frames(NEW, 0..50_000);
        let publishing = std::thread::spawn(move || {
            // The end comes before it is through.
            let _ = std::io::Write::write_all(&mut publisher.stream, &bytes);
        });
        let published = || bus.broker.statistics().bus.messages_published;
        let mut before = 0;
        while before == 0 || before != published() {
            before = published();
            std::thread::sleep(Duration::from_millis(200));
        }
        let mut other = bus.connect();
        let undelivered = shut_down(&bus.broker, Duration::from_millis(600));
        assert_eq!(undelivered.connections, 2);
        // What was read behind what waited is lost as well.
        let bus_statistics = bus.broker.statistics().bus;
        let lost = bus_statistics.messages_published - bus_statistics.messages_delivered;
        assert!(undelivered.messages == lost && lost > 10, "{undelivered:?}, {lost}");
        publishing.join().unwrap();
        assert!(matches!(other.next(), Frame::Text(FromBroker::Bye(_))));
    });
}

#[test]
fn an_operator_can_disconnect_a_client() {
    guarded(|| {
        let bus = Bus::new();
        let (mut client, info) = bus.connect_with("");
        client.subscribe(1, &["events.#"]);
        assert!(matches!(
            bus.broker.subscribe_client(info.client_id, &["events.#".into()]),
            Err(Error::SubscriptionRefused { .. })
        ));
        assert!(bus.broker.disconnect_client(info.client_id));
        client.cut(Code::DisconnectedByOperator);
        bus.settled(|statistics| statistics.connections == 0);
        assert!(!bus.broker.disconnect_client(info.client_id));
        assert_eq!(bus.broker.statistics().refused["disconnected_by_operator"], 1);
    });
}

#[test]
fn an_operator_can_disconnect_a_client_that_takes_its_time_to_leave() {
    guarded(|| {
        let bus = Bus::with(BrokerConfig {
            write_timeout: Duration::from_secs(50),
            ..BrokerConfig::default()
        });
        let (mut leaving, info) = bus.connect_with("");
        leaving.subscribe(1, &["events.#"]);
        let mut publisher = bus.connect();
        publisher.send(&frames(NEW, 0..10_000));
        publisher.flush();
        leaving.text("BYE");
        bus.settled(|now| now.bus.active_subscribers == 0);
        assert!(bus.broker.disconnect_client(info.client_id));
        bus.settled(|now| now.queued_messages <= 1);
        let mut got = 0;
        while !matches!(leaving.next(), Frame::Text(FromBroker::Bye(_))) {
            got += 1;
        }
        leaving.ended();
        let statistics = bus.settled(|now| now.connections == 1);
        assert!(got < 10_000);
        assert_eq!(
            (statistics.bus.messages_delivered, statistics.dropped["closed"]),
            (got, 10_000 - got)
        );
    });
}

#[test]
fn a_dropped_broker_is_abandoned() {
    guarded(|| {
        let bus = Bus::new();
        let mut client = bus.connect();
        bus.broker.abandon();
        client.ended();
        let start = Instant::now();
        while bus.address.path().exists() {
            assert!(start.elapsed() < Duration::from_secs(5));
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}

#[test]
fn connections_come_and_go_without_a_trace() {
    guarded(|| {
        let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let bus = Bus::new();
        let mut publisher = bus.connect();
        let before = descriptors();
        for round in 0..300 {
            let mut client = bus.connect();
            client.subscribe(1, &["events.#"]);
            publisher.send(&frames(NEW, 0..10));
            if round % 3 == 0 {
                client.stream.shutdown(std::net::Shutdown::Write).unwrap();
            }
            if round % 3 == 1 {
                client.send(&[100, 0]);
            }
        }
        publisher.flush();
        let statistics = bus.settled(|statistics| statistics.connections == 1);
        assert_eq!(
            (statistics.bus.active_subscribers, statistics.bus.active_topics),
            (0, 0)
        );
        // Other tests run beside this one.
        assert!(descriptors() < before + 200, "{} and before {before}", descriptors());
    });
}

#[test]
fn a_reader_that_takes_long_for_a_large_frame_is_served_to_the_end() {
    guarded(|| {
        let bus = Bus::with(BrokerConfig {
            max_frame: 4 << 20,
            write_timeout: Duration::from_millis(1500),
            ..BrokerConfig::default()
        });
        let mut reader = bus.connect();
        reader.subscribe(1, &["events.#"]);
        let mut publisher = bus.connect();
        let large = frame_of(NEW, 0, (2 << 20) - 100);
        publisher.send(&large);
        publisher.flush();
        let (done, wait) = mpsc::channel();
        bus.broker.shutdown(Duration::from_secs(15), move |undelivered| {
            done.send(undelivered).unwrap()
        });
        let mut got = vec![0; large.len()];
        for piece in got.chunks_mut(32 << 10) {
            std::thread::sleep(Duration::from_millis(50));
            std::io::Read::read_exact(&mut reader.stream, piece).unwrap();
        }
        assert!(got == large);
        assert!(matches!(reader.next(), Frame::Text(FromBroker::Bye(_))));
        reader.ended();
        let undelivered = wait.recv_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!((undelivered.messages, undelivered.connections), (0, 0));
    });
}

#[test]
fn a_connection_that_could_neither_read_nor_publish_to_the_end_counts_once() {
    guarded(|| {
        let bus = Bus::new();
        let (mut both, _) = bus.connect_with(r#","queue_messages":10,"congestion":"block""#);
        both.subscribe(1, &["events.#"]);
        both.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        // It waits for itself.
        let _ = std::io::Write::write_all(&mut both.stream, &frames(NEW, 0..50_000));
        let undelivered = shut_down(&bus.broker, Duration::from_millis(600));
        let total = bus.broker.statistics().bus;
        assert_eq!(
            (undelivered.messages, undelivered.connections),
            (total.messages_published - total.messages_delivered, 1)
        );
    });
}
