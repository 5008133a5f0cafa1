//! Publishers that wait for room in a queue are served in turn, however much each of them has.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use daemoneye_eventbus_core::broker::{BrokerConfig, LocalSubscription, PortOptions};
use daemoneye_eventbus_core::queue::{Content, Limits, Overflow};

use crate::support::{Bus, Client, NEW, Nobody, asked, frame_of, guarded, sequence};

/// Bytes of a frame's body.
const SIZE: usize = 1000;
/// The sequences of one publisher, from its number times this.
const EACH: u64 = 1_000_000;

/// Nobody is given up for being slow.
fn bus() -> Bus {
    Bus::with(BrokerConfig {
        stall_timeout: Duration::from_secs(60),
        ..BrokerConfig::default()
    })
}

/// Sends so many frames, and waits for room while there is none.
fn flood(bus: &Bus, publisher: u64, frames: u64) -> JoinHandle<Client> {
    let (mut client, _) = bus.connect_with(r#","congestion":"block""#);
    let all: Vec<u8> = (0..frames)
        .flat_map(|number| frame_of(NEW, publisher * EACH + number, SIZE))
        .collect();
    std::thread::spawn(move || {
        client.send(&all);
        client
    })
}

fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "never came");
        std::thread::yield_now();
    }
}

fn publisher_of_next(reader: &LocalSubscription) -> u64 {
    match reader.queue.pop().unwrap().content {
        Content::Frames(frame) => sequence(&frame) / EACH,
        Content::Object(..) => panic!("nobody publishes in process"),
    }
}

#[test]
fn each_message_that_is_taken_lets_another_publisher_go_on() {
    guarded(|| {
        let bus = bus();
        let port = bus.broker.port(PortOptions::default()).unwrap();
        let limits = Limits {
            messages: 4,
            bytes: 1 << 20,
        };
        let reader = port
            .subscribe(&asked(&["events.#"]), limits, Overflow::DropOldest, Arc::new(Nobody))
            .unwrap();
        // So many are read at once, and are one run.
        let (publishers, each) = (3, 60);
        let mut clients = Vec::new();
        for publisher in 0..publishers {
            clients.push(flood(&bus, publisher, each));
            // Each is in the line before the next comes.
            bus.settled(|statistics| statistics.bus.messages_published == each * (publisher + 1));
        }
        let mut probe = bus.connect();
        let mut served = [0_u64; 3];
        // When these are taken, none has put in all that it has.
        for _ in 0..publishers * each / 2 {
            served[publisher_of_next(&reader) as usize] += 1;
            wait_until(|| reader.queue.snapshot().pending == 4);
            // By then all have tried who were woken.
            probe.flush();
        }
        // The first had the queue for itself before.
        served[0] -= 4;
        // A busy machine may have one come a little late; the first once had them all.
        assert!(served.iter().all(|count| *count > each / 3), "{served:?}");
        drop(clients);
    });
}

#[test]
fn a_reader_that_takes_much_at_once_takes_it_of_all_publishers() {
    guarded(|| {
        let bus = bus();
        let (mut reader, _) = bus.connect_with(r#","queue_messages":256"#);
        reader.subscribe(1, &["events.#"]);
        let (publishers, each) = (8, 1500);
        let clients: Vec<_> = (0..publishers).map(|publisher| flood(&bus, publisher, each)).collect();
        // The first fills queue and kernel; the others have sent no less then.
        bus.settled(|statistics| statistics.queued_messages == 256);
        let mut served = [0; 8];
        while served.iter().all(|count| *count < each) {
            served[(sequence(&reader.message()) / EACH) as usize] += 1;
        }
        assert!(served.iter().all(|count| *count > each / 10), "{served:?}");
        while served != [each; 8] {
            served[(sequence(&reader.message()) / EACH) as usize] += 1;
        }
        for client in clients {
            client.join().unwrap();
        }
    });
}
