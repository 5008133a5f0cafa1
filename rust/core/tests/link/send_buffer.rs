//! A publisher who waits for room in the send buffer.

use std::sync::{Arc, mpsc};

use daemoneye_eventbus_core::client::{ClientConfig, Link, Reader, Sent, State};
use daemoneye_eventbus_core::queue::Wake;

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
    // More than the kernel takes, so that the first is cut, and room for no three.
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
    assert_eq!(
        [publish(), publish(), publish()],
        [Sent::Blocked, Sent::Waiting, Sent::Full]
    );
    drop(client);
    broker.turn();
    room.recv_timeout(TIMEOUT).expect("nobody is told of the room");
    assert_eq!((link.state(), publish()), (State::Reconnecting, Sent::Waiting));
}
