//! Peers of the original: who is one, what they are sent and when, and that they are accounted for like everybody else.

mod captures;
mod sent;
#[cfg(target_os = "linux")]
mod waits;
mod who;

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use daemoneye_eventbus_core::broker::{BrokerConfig, BrokerStatistics, ClientInfo, ClientKind};
use daemoneye_eventbus_core::wire::text::FromBroker;
use daemoneye_eventbus_core::wire::{self, Dialect};

use crate::support::{Bus, Client, Frame};

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

    /// The first message. Before it stands a `PONG`, by which the broker sees whether the peer reads at all.
    pub(crate) fn first(&mut self) -> Vec<u8> {
        self.pong();
        self.message()
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
