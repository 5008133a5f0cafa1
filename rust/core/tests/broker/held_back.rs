//! What a bus of the broker's own process holds back for the end of its host's turn, and what it does not.

use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use daemoneye_eventbus_core::broker::{Caller, ClientKind, Port, PortOptions, Published, Undelivered};
use daemoneye_eventbus_core::queue::{Object, Wake};
use daemoneye_eventbus_core::wire::Payload;
use daemoneye_eventbus_core::wire::text::{Congestion, FromBroker};

use crate::support::{Bus, Client, Frame, NEW, Nobody, frame, guarded, process, sequence, shut_down, with_draft};

/// Messages in which two at least follow each other within the time for which a write is held back.
const TRIES: u64 = 1000;
const GATHERED: u64 = 60;

const HOST: Caller<'_> = Caller {
    waker: None,
    flushes: true,
};

fn port(bus: &Bus) -> Port {
    bus.broker.port(PortOptions::default()).unwrap()
}

fn publish(port: &Port, number: u64, text: Option<&str>, caller: Caller<'_>) -> Published {
    let event = process(u32::try_from(number).unwrap(), text);
    with_draft(NEW, number, Payload::Event(&event), |draft| {
        port.publish(draft, |_| -> Object { Arc::new(()) }, caller).unwrap().0
    })
}

/// Publishes until the last message is held back; the number of the next one.
fn hold_back(port: &Port) -> u64 {
    hold_back_from(port, 0)
}

fn hold_back_from(port: &Port, first: u64) -> u64 {
    let held = (first..first + TRIES).find(|number| matches!(publish(port, *number, None, HOST), Published::HeldBack));
    held.expect("no two messages were close to each other") + 1
}

fn reader(bus: &Bus) -> Client {
    let mut client = bus.connect();
    client.subscribe(1, &["events.#"]);
    client
}

/// It has been sent `count` messages, in order.
fn has(client: &mut Client, count: u64) {
    has_from(client, 0, count);
}

fn has_from(client: &mut Client, first: u64, end: u64) {
    for number in first..end {
        assert_eq!(sequence(&client.message()), number);
    }
}

#[test]
fn the_end_of_the_turn_brings_it_to_all_readers() {
    guarded(|| {
        let bus = Bus::new();
        // More than one thread writes to.
        let mut readers: Vec<Client> = (0..10).map(|_| reader(&bus)).collect();
        let port = port(&bus);
        let published = hold_back(&port);
        port.flush();
        for reader in &mut readers {
            has(reader, published);
        }
    });
}

#[test]
fn a_host_that_stands_still_keeps_nobody_waiting() {
    guarded(|| {
        let bus = Bus::new();
        let mut reader = reader(&bus);
        let port = port(&bus);
        let mut published = 0;
        for _ in 0..3 {
            // No turn ends, nobody else publishes, and what was seen to before is seen to again.
            let before = published;
            published = hold_back_from(&port, before);
            has_from(&mut reader, before, published);
        }
    });
}

#[test]
fn nobody_elses_messages_wait_for_it() {
    guarded(|| {
        let bus = Bus::new();
        let (mut reader, mut collector) = (reader(&bus), bus.connect());
        let port = port(&bus);
        let published = hold_back(&port);
        // No turn of the host ends; what comes from elsewhere goes out all the same, and takes along what stands before it.
        collector.send(&frame(NEW, published));
        has(&mut reader, published + 1);
    });
}

#[test]
fn who_has_no_turns_takes_it_along() {
    guarded(|| {
        let bus = Bus::new();
        let mut reader = reader(&bus);
        let port = port(&bus);
        let published = hold_back(&port);
        let done = publish(&port, published, None, Caller::default());
        assert!(matches!(done, Published::Done), "{done:?}");
        has(&mut reader, published + 1);
    });
}

#[test]
fn a_closing_bus_leaves_nothing_behind() {
    guarded(|| {
        let bus = Bus::new();
        let mut reader = reader(&bus);
        let port = port(&bus);
        let published = hold_back(&port);
        drop(port);
        has(&mut reader, published);
    });
}

#[test]
fn a_stopping_broker_takes_it_along() {
    guarded(|| {
        let bus = Bus::new();
        let mut reader = reader(&bus);
        let port = port(&bus);
        let published = hold_back(&port);
        let undelivered = shut_down(&bus.broker, Duration::from_secs(5));
        assert_eq!(undelivered, Undelivered::default());
        has(&mut reader, published);
    });
}

#[test]
fn a_reader_that_ends_is_accounted_for_what_was_published_before() {
    type End = fn(&Bus, &Client);
    let ends: [End; 2] = [
        |bus, _| {
            assert!(
                bus.broker
                    .clients()
                    .iter()
                    .any(|client| bus.broker.disconnect_client(client.id))
            )
        },
        |_, reader| reader.stream.shutdown(Shutdown::Write).unwrap(),
    ];
    for end in ends {
        guarded(move || {
            let bus = Bus::new();
            let mut reader = reader(&bus);
            let first = hold_back(&port(&bus));
            has(&mut reader, first);
            let port = port(&bus);
            for number in 0..GATHERED {
                publish(&port, number, None, HOST);
            }
            end(&bus, &reader);
            // Whoever asks for the numbers first has it handed on.
            while !matches!(reader.next(), Frame::End) {}
            let now = bus.settled(|now| now.connections == 0);
            let published = first + GATHERED;
            let (delivered, lost) = (now.bus.messages_delivered, now.dropped["disconnected"]);
            assert_eq!((now.bus.messages_published, delivered + lost), (published, published));
        });
    }
}

#[test]
fn what_a_peer_of_the_original_is_sent_changes_behind_what_was_published_before() {
    guarded(|| {
        let bus = Bus::new();
        let mut peer = bus.dial();
        peer.text("PING");
        assert!(matches!(peer.next(), Frame::Text(FromBroker::Pong)));
        let port = port(&bus);
        let id = |kind| {
            bus.broker
                .clients()
                .iter()
                .find(|client| client.kind == kind)
                .map(|client| client.id)
        };
        bus.settled(|_| id(ClientKind::Original).is_some());
        let id = id(ClientKind::Original).unwrap();
        for number in 0..GATHERED {
            publish(&port, number, None, HOST);
        }
        bus.broker.subscribe_client(id, &[]).unwrap();
        let now = bus.broker.statistics();
        assert_eq!(now.bus.messages_delivered + now.pending, GATHERED);
    });
}

#[test]
fn turns_full_of_messages_share_a_write_and_the_last_one_does_not_wait() {
    guarded(|| {
        let bus = Bus::new();
        let mut reader = reader(&bus);
        let port = port(&bus);
        let mut published = 0;
        let mut full_turn = || {
            for _ in 0..64 {
                publish(&port, published, None, HOST);
                published += 1;
            }
            port.end_turn()
        };
        let shares = (0..TRIES).any(|_| !full_turn());
        assert!(shares, "no two turns were close to each other");
        assert!(port.end_turn(), "nothing was published in this turn");
        has(&mut reader, published);
    });
}

#[test]
fn a_publisher_who_waits_keeps_to_the_limits_of_its_readers() {
    guarded(|| {
        let bus = Bus::new();
        let (mut reader, _) = bus.connect_with(r#","queue_messages":1000"#);
        reader.subscribe(1, &["events.#"]);
        let port = bus.broker.port(PortOptions {
            congestion: Congestion::Block,
            ..PortOptions::default()
        });
        let (port, waker) = (port.unwrap(), Arc::new(Nobody) as Arc<dyn Wake>);
        let host = Caller {
            waker: Some(&waker),
            ..HOST
        };
        let text = "x".repeat(500);
        let mut published = 0;
        let pending = loop {
            match publish(&port, published, Some(&text), host) {
                Published::Wait(pending) => break pending,
                Published::Done | Published::HeldBack => published += 1,
            }
            assert!(bus.broker.statistics().queued_messages <= 1000);
        };
        // The kernel has more than the queue.
        assert!(published > 1000, "{published}");
        assert_eq!(bus.broker.statistics().queued_messages, 1000);
        has(&mut reader, published);
        drop(pending);
        assert!(bus.broker.statistics().dropped.values().all(|dropped| *dropped == 0));
    });
}

#[test]
fn no_more_than_a_write_is_held_back() {
    guarded(|| {
        let bus = Bus::new();
        let mut reader = reader(&bus);
        let port = port(&bus);
        let text = "x".repeat(1024);
        for number in 0..200 {
            publish(&port, number, Some(&text), HOST);
        }
        has(&mut reader, 200 - 128);
        // What has been written holds back nothing any more.
        port.flush();
        hold_back_from(&port, 200);
    });
}
