//! That the broker hears of a link which publishes nothing, whatever its host does.

use std::io;
use std::time::{Duration, Instant};

use daemoneye_eventbus_core::client::State;
use daemoneye_eventbus_core::wire::frame::DEFAULT_MAX_FRAME;
use daemoneye_eventbus_core::wire::text::FromClient;
use daemoneye_eventbus_core::wire::{self, Dialect};

use crate::support::{ScriptedBroker, TIMEOUT, greet, next_text, open, subscribed, with_draft};

#[test]
fn nobody_is_silent_for_longer_than_a_ping_interval() {
    let broker = ScriptedBroker::new();
    let (link, waker) = open(&broker);
    let client = greet(&broker, 1.0);
    waker.until("connected", || link.state() == State::Connected);
    let (_inbox, id) = subscribed(&broker, &link, &waker, &client);
    let mut read = Vec::new();
    assert!(matches!(next_text(&broker, &client, &mut read), FromClient::Sub(sub) if sub.id == id));
    for _ in 0..2 {
        let heard = Instant::now();
        assert_eq!(next_text(&broker, &client, &mut read), FromClient::Pong);
        // A half more is for a loaded machine.
        assert!(heard.elapsed() < Duration::from_millis(1500), "{:?}", heard.elapsed());
    }
}

#[test]
fn who_reads_all_the_time_is_heard() {
    let broker = ScriptedBroker::new();
    let (link, waker) = open(&broker);
    let client = greet(&broker, 0.2);
    waker.until("connected", || link.state() == State::Connected);
    let mut message = Vec::new();
    with_draft(7, |draft| {
        wire::write(Dialect::Bincode, draft, DEFAULT_MAX_FRAME, 8, &mut message).unwrap();
    });
    // A PING may stand behind so many events that a slow reader does not come to it in time.
    let (end, mut said) = (Instant::now() + TIMEOUT, [0; 8]);
    loop {
        broker.send(&client, &message);
        match client.try_read(&mut said) {
            Ok(len) => break assert_eq!(said[..len], FromClient::Pong.frame()),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        assert!(Instant::now() < end, "never heard");
        std::thread::sleep(Duration::from_millis(20));
    }
}
