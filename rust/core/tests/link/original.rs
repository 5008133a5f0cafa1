//! A link below a broker of the original. What that broker sends are the bytes that the original once sent.

use std::sync::Arc;
use std::time::Duration;

use daemoneye_eventbus_core::Error;
use daemoneye_eventbus_core::client::{ClientConfig, Inbox, Link, Peer, Reader, State, Ticket};
use daemoneye_eventbus_core::queue::Wake;
use daemoneye_eventbus_core::wire::auth::Token;
use daemoneye_eventbus_core::wire::{self, Dialect};

use crate::support::{ScriptedBroker, TestWaker, frames, inbox};

const CHECK: &[u8] = b"\x04\0\0\0PING";
const ANSWER: &[u8] = b"\x04\0\0\0PONG";

/// The messages among the frames that the original really sent, whole.
fn captured() -> Vec<Vec<u8>> {
    let captures = include_str!("../../../../tests/vectors/captures-bincode.json");
    let captures: serde_json::Value = serde_json::from_str(captures).unwrap();
    let scenarios = captures["scenarios"].as_array().unwrap();
    let found = scenarios.iter().find(|found| found["name"] == "broker").unwrap();
    let unhex = |hex: &str| {
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digit).collect::<Vec<u8>>()
    };
    let frames = found["records"].as_array().unwrap().iter();
    frames
        .filter(|record| record["kind"] == "frame" && record["direction"] == "original->peer")
        .map(|record| unhex(record["hex"].as_str().unwrap()))
        .filter(|frame| frame[4] == 0x10 && wire::check(Dialect::Bincode, &frame[4..], 8).is_ok())
        .collect()
}

fn open(original: &ScriptedBroker, token: Option<Token>) -> (Link, Arc<TestWaker>) {
    let waker = Arc::new(TestWaker::default());
    let host: Arc<dyn Wake> = Arc::<TestWaker>::clone(&waker);
    let config = ClientConfig {
        peer: Peer::Original,
        token,
        reconnect_initial: Duration::from_millis(20),
        reconnect_max: Duration::from_millis(100),
        ..ClientConfig::default()
    };
    let link = Link::open(original.place.address.clone(), config, Reader::Link, host).unwrap();
    (link, waker)
}

fn subscribe(link: &Link, waker: &Arc<TestWaker>) -> Arc<Inbox> {
    let inbox = inbox(waker, &["events.#", "control.#"], 1000, false);
    link.subscribe(Arc::clone(&inbox), Ticket::new(Arc::<TestWaker>::clone(waker) as _))
        .unwrap();
    inbox
}

#[test]
fn what_it_sends_arrives_and_its_checks_are_answered_also_after_a_loss() {
    let mut original = ScriptedBroker::new();
    let sent = captured();
    assert!(!sent.is_empty());
    let (link, waker) = open(&original, None);
    let mut inbox = None;
    for round in 0..3 {
        let peer = original.accept();
        waker.until("connected", || link.state() == State::Connected);
        let inbox = inbox.get_or_insert_with(|| subscribe(&link, &waker));
        original.send(&peer, CHECK);
        assert_eq!(original.read(&peer, ANSWER.len()), ANSWER, "round {round}");
        original.send(&peer, &sent.concat());
        original.send(&peer, CHECK);
        assert_eq!(original.read(&peer, ANSWER.len()), ANSWER);
        assert_eq!(frames(inbox, &waker, sent.len()), sent);
        drop(peer);
        // A pipe closes when the runtime has been told that nothing is under way. Dialled anew it is before anybody accepts.
        original.turn();
    }
    // A broker that was away altogether is found again too.
    drop(original.listener.take());
    original.turn();
    original.listen();
    let _peer = original.accept();
    waker.until("connected", || link.state() == State::Connected);
}

#[test]
fn a_message_above_the_limit_ends_the_connection_however_small_the_limit() {
    let original = ScriptedBroker::new();
    let sent = captured();
    let longest = sent.iter().max_by_key(|frame| frame.len()).unwrap();
    let mut large = 4000_u32.to_le_bytes().to_vec();
    large.extend_from_slice(&longest[4..]);
    let waker = Arc::new(TestWaker::default());
    let host: Arc<dyn Wake> = Arc::<TestWaker>::clone(&waker);
    let config = ClientConfig {
        peer: Peer::Original,
        max_frame: 2000,
        reconnect: false,
        ..ClientConfig::default()
    };
    let link = Link::open(original.place.address.clone(), config, Reader::Link, host).unwrap();
    let peer = original.accept();
    waker.until("connected", || link.state() == State::Connected);
    // Said at once, before any more of it has come.
    original.send(&peer, &large);
    waker.until("closed", || link.state() == State::Closed);
    let too_large = Error::FrameTooLarge {
        size: 4000,
        limit: 2000,
    };
    assert_eq!(link.cause(), Some(too_large));
}

#[test]
fn a_token_is_proved_before_it_is_connected() {
    let original = ScriptedBroker::new();
    let (link, waker) = open(&original, Some(Token::new(b"token of at least sixteen bytes".to_vec())));
    let peer = original.accept();
    // BLAKE3 of the token and "PING", by another program.
    let proof = b"\x45\0\0\0a0df9ffd2790b0a144e912ba3c695008db3457ef7aae986914e8c602098159a3:PING";
    assert_eq!(original.read(&peer, proof.len()), proof);
    assert_eq!(link.state(), State::Connecting);
    original.send(&peer, ANSWER);
    waker.until("connected", || link.state() == State::Connected);
    link.leave();
    assert_eq!(original.read(&peer, 1), b"");
}
