//! A publisher who waits for room in the send buffer.

use std::sync::{Arc, mpsc};

use daemoneye_eventbus_core::client::{ClientConfig, Link, Reader, Sent, State};
use daemoneye_eventbus_core::queue::Wake;
#[cfg(target_os = "linux")]
use daemoneye_eventbus_core::wire::text::FromClient;

use crate::support::{ScriptedBroker, TIMEOUT, TestWaker, greet, with_draft_of};

struct Room(mpsc::Sender<()>);

impl Wake for Room {
    fn wake(&self) {
        // Woken again when all is over, and nobody waits.
        let _told = self.0.send(());
    }
}

#[test]
fn what_a_broken_connection_took_along_leaves_room() {
    let broker = ScriptedBroker::new();
    let (woken, room) = mpsc::channel();
    let publisher: Arc<dyn Wake> = Arc::new(Room(woken));
    let waker = Arc::new(TestWaker::default());
    // The kernel takes some of them and cuts one; beside what is left of that there is room for one more.
    let name = "x".repeat(900_000);
    let config = ClientConfig {
        send_buffer_bytes: 2_000_000,
        ..ClientConfig::default()
    };
    let host: Arc<dyn Wake> = Arc::<TestWaker>::clone(&waker);
    let link = Link::open(broker.place.address.clone(), config, Reader::Link, host).unwrap();
    let client = greet(&broker, 30.0);
    waker.until("connected", || link.state() == State::Connected);
    let publish = || with_draft_of(1, &name, |draft| link.publish(draft, Some(&publisher)).unwrap().0);
    let sent = std::iter::repeat_with(publish).skip_while(|sent| *sent == Sent::Written);
    let sent: Vec<_> = sent.take(3).collect();
    assert_eq!(sent, [Sent::Blocked, Sent::Waiting, Sent::Full]);
    drop(client);
    broker.turn();
    room.recv_timeout(TIMEOUT).expect("nobody is told of the room");
    assert_eq!((link.state(), publish()), (State::Reconnecting, Sent::Waiting));
}

/// Of this process.
#[cfg(target_os = "linux")]
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = pages.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
#[cfg(target_os = "linux")]
fn an_idle_bus_gives_back_what_a_burst_has_taken() {
    const MIB: usize = 1 << 20;
    let broker = ScriptedBroker::new();
    let waker = Arc::new(TestWaker::default());
    let config = ClientConfig {
        send_buffer_bytes: 40 * MIB,
        ..ClientConfig::default()
    };
    let host: Arc<dyn Wake> = Arc::<TestWaker>::clone(&waker);
    let link = Link::open(broker.place.address.clone(), config, Reader::Link, host).unwrap();
    let client = greet(&broker, 0.2);
    waker.until("connected", || link.state() == State::Connected);
    let before = resident();
    let name = "x".repeat(MIB / 2);
    while with_draft_of(1, &name, |draft| link.publish(draft, None).unwrap().0) != Sent::Full {}
    assert!(resident() > before + 30 * MIB);
    link.flush_elsewhere();
    // It says that it lives once all else is sent: twice and it was idle for as long as that takes.
    let (alive, mut heard, mut read) = (FromClient::Pong.frame(), 0, Vec::new());
    while heard < 3 {
        let more = broker.read(&client, 1);
        assert!(!more.is_empty(), "the client hung up");
        read.extend(more);
        heard += usize::from(read.ends_with(&alive));
        read.drain(..read.len().saturating_sub(alive.len()));
    }
    let kept = resident().saturating_sub(before);
    assert!(kept < 10 * MIB, "{kept} bytes");
}
