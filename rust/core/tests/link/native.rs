//! A broker and links that read for themselves.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use daemoneye_eventbus_core::Error;
use daemoneye_eventbus_core::broker::{Broker, BrokerConfig};
use daemoneye_eventbus_core::client::{ClientConfig, Inbox, Link, Reader, State, Ticket};
use daemoneye_eventbus_core::queue::Wake;
use daemoneye_eventbus_core::transport::Address;
use daemoneye_eventbus_core::wire::text::Congestion;

use crate::support::{Place, TIMEOUT, TestWaker, inbox, pids, publish, wait_done};

struct Home {
    broker: Broker,
    place: Place,
}

fn home() -> Home {
    let place = Place::new();
    Home {
        broker: start(&place.address).unwrap(),
        place,
    }
}

fn start(address: &Address) -> Result<Broker, Error> {
    let broker = Broker::new(address.clone(), BrokerConfig::default())?;
    let (done, wait) = mpsc::channel();
    broker.start(move |result| done.send(result).unwrap());
    wait.recv_timeout(TIMEOUT).expect("start calls back").map(|()| broker)
}

fn stop(broker: &Broker) -> u64 {
    let (done, wait) = mpsc::channel();
    broker.shutdown(Duration::from_secs(2), move |undelivered| {
        done.send(undelivered).unwrap()
    });
    wait.recv_timeout(TIMEOUT).expect("shutdown calls back").messages
}

fn open(address: &Address, config: ClientConfig) -> (Link, Arc<TestWaker>) {
    let waker = Arc::new(TestWaker::default());
    let host: Arc<dyn Wake> = Arc::<TestWaker>::clone(&waker);
    let link = Link::open(address.clone(), config, Reader::Link, host).unwrap();
    waker.until("connected", || link.state() == State::Connected);
    (link, waker)
}

fn subscribe(link: &Link, waker: &Arc<TestWaker>, messages: usize, block: bool) -> Arc<Inbox> {
    let inbox = inbox(waker, &["events.#"], messages, block);
    let ticket = Ticket::new(Arc::<TestWaker>::clone(waker) as _);
    link.subscribe(Arc::clone(&inbox), ticket.clone()).unwrap();
    wait_done(waker, &ticket);
    inbox
}

fn flush(link: &Link, waker: &Arc<TestWaker>) {
    let ticket = Ticket::new(Arc::<TestWaker>::clone(waker) as _);
    link.ping(ticket.clone());
    wait_done(waker, &ticket);
}

#[test]
fn events_arrive_in_order_and_the_goodbye_behind_them() {
    let home = home();
    let (publisher, publisher_waker) = open(&home.place.address, ClientConfig::default());
    let (subscriber, waker) = open(&home.place.address, ClientConfig::default());
    let inbox = subscribe(&subscriber, &waker, 65_536, false);
    for pid in 0..5000 {
        publish(&publisher, &publisher_waker, pid);
    }
    flush(&publisher, &publisher_waker);
    assert_eq!(pids(&inbox, &waker, 5000), (0..5000).collect::<Vec<_>>());
    publisher.leave();
    publisher_waker.until("closed", || publisher.state() == State::Closed);
    assert_eq!(publisher.cause(), None);
    assert_eq!(stop(&home.broker), 0);
}

#[test]
fn what_was_sent_before_the_broker_stops_is_delivered() {
    for _ in 0..20 {
        let home = home();
        let (publisher, publisher_waker) = open(&home.place.address, ClientConfig::default());
        let (subscriber, waker) = open(&home.place.address, ClientConfig::default());
        let inbox = subscribe(&subscriber, &waker, 65_536, false);
        for pid in 0..400 {
            publish(&publisher, &publisher_waker, pid);
        }
        publisher_waker.until("sent", || publisher.local_statistics().unsent == 0);
        assert_eq!(stop(&home.broker), 0);
        assert_eq!(pids(&inbox, &waker, 400), (0..400).collect::<Vec<_>>());
    }
}

#[test]
fn a_reader_that_blocks_stops_the_publisher_and_loses_nothing() {
    let home = home();
    let block = ClientConfig {
        congestion: Congestion::Block,
        broker_queue_messages: Some(50),
        ..ClientConfig::default()
    };
    let (publisher, publisher_waker) = open(&home.place.address, block.clone());
    let (subscriber, waker) = open(&home.place.address, block);
    let inbox = subscribe(&subscriber, &waker, 10, true);
    let count = 3_000;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for pid in 0..count {
                publish(&publisher, &publisher_waker, pid);
            }
        });
        let mut next = 0;
        while next < count {
            assert_eq!(pids(&inbox, &waker, 1), [next]);
            next += 1;
            if inbox.queue.is_empty() {
                subscriber.resume();
            }
        }
    });
    assert_eq!(inbox.queue.snapshot().lost(), 0);
}

#[test]
fn a_broker_that_comes_back_is_found_again() {
    let mut home = home();
    let quick = ClientConfig {
        reconnect_max: Duration::from_millis(100),
        ..ClientConfig::default()
    };
    let (link, waker) = open(&home.place.address, quick);
    let inbox = subscribe(&link, &waker, 100, false);
    for round in 1..=3 {
        stop(&home.broker);
        waker.until("lost", || link.state() == State::Reconnecting);
        home.broker = start(&home.place.address).unwrap();
        waker.until("connected", || link.state() == State::Connected);
        publish(&link, &waker, round);
        assert_eq!(pids(&inbox, &waker, 1), [round]);
        assert_eq!(inbox.gaps(), u64::from(round));
    }
}

#[test]
fn a_second_broker_is_refused_and_the_first_goes_on() {
    let home = home();
    let (link, waker) = open(&home.place.address, ClientConfig::default());
    let inbox = subscribe(&link, &waker, 100, false);
    match start(&home.place.address) {
        Err(Error::BrokerAlreadyRunning { path, .. }) => assert_eq!(path, home.place.address.path()),
        other => panic!("{other:?}"),
    }
    publish(&link, &waker, 7);
    assert_eq!(pids(&inbox, &waker, 1), [7]);
}

#[test]
fn a_broker_that_is_not_there_is_waited_for() {
    let home = home();
    stop(&home.broker);
    let waker = Arc::new(TestWaker::default());
    let host: Arc<dyn Wake> = Arc::<TestWaker>::clone(&waker);
    let link = Link::open(home.place.address.clone(), ClientConfig::default(), Reader::Link, host).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(link.state(), State::Connecting);
    let _broker = start(&home.place.address).unwrap();
    waker.until("connected", || link.state() == State::Connected);
    let host: Arc<dyn Wake> = Arc::<TestWaker>::clone(&waker);
    let short = ClientConfig {
        connect_timeout: Duration::from_millis(200),
        ..ClientConfig::default()
    };
    let nowhere = Address::from_instance("nobody-listens-here").unwrap();
    let lost = Link::open(nowhere, short, Reader::Link, host).unwrap();
    waker.until("given up", || lost.state() == State::Closed);
    assert!(
        matches!(lost.cause(), Some(Error::ConnectTimeout { .. })),
        "{:?}",
        lost.cause()
    );
}
