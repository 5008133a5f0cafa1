//! Who waits for a connection, and what is done for whom nobody waits any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use daemoneye_eventbus_core::Error;
use daemoneye_eventbus_core::client::{ClientConfig, Link, Reader, State, Ticket};
use daemoneye_eventbus_core::queue::Wake;
use daemoneye_eventbus_core::transport::Stream;

use crate::support::{ScriptedBroker, TestWaker, greet, info, wait_done, with_draft_of};

/// A link that has lost its connection and whose next one is being made, and that end of it.
fn reconnecting(broker: &ScriptedBroker, connect_timeout: Duration) -> (Link, Arc<TestWaker>, Stream) {
    let waker = Arc::new(TestWaker::default());
    let config = ClientConfig {
        connect_timeout,
        reconnect_max: Duration::from_millis(100),
        ..ClientConfig::default()
    };
    let host: Arc<dyn Wake> = Arc::<TestWaker>::clone(&waker);
    let link = Link::open(broker.place.address.clone(), config, Reader::Link, host).unwrap();
    drop(greet(broker, 30.0));
    broker.turn();
    waker.until("lost", || link.state() == State::Reconnecting);
    let client = broker.accept();
    (link, waker, client)
}

fn wait_connected(link: &Link, waker: &Arc<TestWaker>) -> Ticket {
    let ticket = Ticket::new(Arc::<TestWaker>::clone(waker) as _);
    link.wait_connected(ticket.clone());
    ticket
}

#[test]
fn whose_time_is_over_during_an_attempt_is_told_so_and_the_attempt_goes_on() {
    let broker = ScriptedBroker::new();
    let (link, waker, client) = reconnecting(&broker, Duration::from_millis(300));
    let begun = Instant::now();
    let ticket = wait_connected(&link, &waker);
    waker.until("told", || ticket.poll().is_some());
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert!(matches!(
        ticket.poll(),
        Some(Err(Error::ConnectTimeout { timeout, .. })) if timeout == Duration::from_millis(300)
    ));
    let later = wait_connected(&link, &waker);
    broker.send(&client, &info(30.0));
    wait_done(&waker, &later);
    assert_eq!(link.state(), State::Connected);
    wait_done(&waker, &wait_connected(&link, &waker));
}

#[test]
fn who_has_given_up_is_forgotten() {
    let broker = ScriptedBroker::new();
    let (link, waker, _client) = reconnecting(&broker, Duration::from_secs(600));
    let before = Arc::strong_count(&waker);
    for _ in 0..100 {
        drop(wait_connected(&link, &waker));
    }
    assert!(Arc::strong_count(&waker) <= before + 1);
}

#[test]
fn a_forgotten_link_hands_over_what_it_has_taken_and_ends() {
    let broker = ScriptedBroker::new();
    let waker = Arc::new(TestWaker::default());
    let host: Arc<dyn Wake> = Arc::<TestWaker>::clone(&waker);
    let config = ClientConfig::default();
    let link = Link::open(broker.place.address.clone(), config, Reader::Link, host).unwrap();
    let client = greet(&broker, 30.0);
    waker.until("connected", || link.state() == State::Connected);
    let mut taken = 0;
    with_draft_of(1, &"x".repeat(900_000), |draft| {
        for _ in 0..3 {
            taken += link.publish(draft, None).unwrap().1;
        }
    });
    assert!(link.local_statistics().unsent > 0);
    link.forget();
    drop(link);
    // All of it, and the end.
    let got = broker.read(&client, usize::MAX);
    assert!(got.len() >= taken, "{} of {taken}", got.len());
}
