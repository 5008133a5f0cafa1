//! Frames that the original really sent, replayed: cut in two at every byte, and byte by byte.

use std::io::IoSlice;
use std::time::{Duration, Instant};

use daemoneye_eventbus_core::broker::BrokerConfig;
use daemoneye_eventbus_core::transport::{Peer, Stream};
use daemoneye_eventbus_core::wire::{self, Dialect};

use crate::support::{Bus, guarded};

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

/// Returns when the broker has read everything.
fn send(peer: &Stream, bytes: &[u8]) {
    assert_eq!(peer.try_write(&[IoSlice::new(bytes)]).unwrap(), bytes.len());
    let start = Instant::now();
    while peer.unsent() != Some(0) {
        assert!(start.elapsed() < Duration::from_secs(10), "the broker does not read");
        std::thread::yield_now();
    }
}

fn heard(peer: &Stream, frames: usize) -> Vec<u8> {
    let (mut got, start) = (Vec::new(), Instant::now());
    while got.len() < frames * 8 && start.elapsed() < Duration::from_secs(10) {
        let mut chunk = [0; 4096];
        match peer.try_read(&mut chunk) {
            Ok(len) => got.extend_from_slice(&chunk[..len]),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    got
}

#[test]
fn what_the_original_sent_is_taken_wherever_it_is_cut() {
    guarded(|| {
        // On a busy machine all of it takes longer than until the first ping.
        let bus = Bus::with(BrokerConfig {
            ping_interval: Duration::from_secs(600),
            ping_timeout: Duration::from_secs(1200),
            ..BrokerConfig::default()
        });
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
                let peer = Stream::dial(&bus.address, &[Peer::own_uid()]).unwrap();
                let mut checks = 0;
                for frame in captured(dialect, scenario) {
                    let wanted = expected(dialect, std::slice::from_ref(&frame));
                    let is_check = frame[4..].starts_with(b"PING");
                    for cut in 1..=frame.len() {
                        send(&peer, &frame[..cut]);
                        if cut < frame.len() {
                            send(&peer, &frame[cut..]);
                        }
                        checks += usize::from(is_check);
                        for frame in &wanted {
                            assert_eq!(&reader.message(), frame, "{scenario}");
                        }
                    }
                    for byte in &frame {
                        send(&peer, &[*byte]);
                    }
                    checks += usize::from(is_check);
                    for frame in &wanted {
                        assert_eq!(&reader.message(), frame, "{scenario}");
                    }
                }
                // Nothing but the answers, and as many: its own messages do not come back to it.
                assert_eq!(heard(&peer, checks), b"\x04\0\0\0PONG".repeat(checks), "{scenario}");
            }
        }
        let now = bus.broker.statistics();
        assert_eq!((now.refused["protocol"], now.refused["frame_timeout"]), (0, 0));
    });
}
