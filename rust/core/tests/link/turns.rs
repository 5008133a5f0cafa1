//! A small queue that is full: its reader has turns of the host's loop to make room, as long as it takes something in some of them.

use std::sync::Arc;

use daemoneye_eventbus_core::client::{ClientConfig, Inbox, Link, Patience, Read, Reader, State, Ticket};
use daemoneye_eventbus_core::queue::Wake;
use daemoneye_eventbus_core::transport::Stream;
use daemoneye_eventbus_core::wire::frame::DEFAULT_MAX_FRAME;
use daemoneye_eventbus_core::wire::text::{FromBroker, FromClient};
use daemoneye_eventbus_core::wire::{self, Dialect};

use crate::support::{ScriptedBroker, TestWaker, greet, inbox_with, next_text, ok_frame, pids, with_draft};

/// In which a reader may take nothing.
const IDLE_TURNS: u32 = 8;

fn events(numbers: std::ops::Range<u32>) -> Vec<u8> {
    let mut sent = Vec::new();
    for pid in numbers {
        with_draft(pid, |draft| {
            wire::write(Dialect::Bincode, draft, DEFAULT_MAX_FRAME, 8, &mut sent).unwrap();
        });
    }
    sent
}

/// A link with a subscription that takes ten messages, and the broker's end.
fn subscribed(broker: &ScriptedBroker, reader: Reader) -> (Link, Arc<TestWaker>, Arc<Inbox>, Stream) {
    let waker = Arc::new(TestWaker::default());
    let host: Arc<dyn Wake> = Arc::<TestWaker>::clone(&waker);
    let link = Link::open(broker.place.address.clone(), ClientConfig::default(), reader, host).unwrap();
    let client = greet(broker, 30.0);
    waker.until("connected", || link.state() == State::Connected);
    let inbox = inbox_with(Patience::Turns, &waker, &["events.#"], 10);
    let ticket = Ticket::new(Arc::<TestWaker>::clone(&waker) as _);
    let id = link.subscribe(Arc::clone(&inbox), ticket.clone()).unwrap();
    broker.send(&client, &ok_frame(id));
    waker.until("answered", || {
        (reader == Reader::Link || link.on_readable() == Read::Open) && ticket.poll().is_some()
    });
    (link, waker, inbox, client)
}

#[test]
fn a_reader_that_keeps_up_loses_nothing() {
    let broker = ScriptedBroker::new();
    let (link, waker, inbox, client) = subscribed(&broker, Reader::Host);
    broker.send(&client, &events(0..35));
    waker.until("read", || link.on_readable() == Read::NextTurn);
    for turn in [0..10, 10..20, 20..30] {
        assert!(link.watch().is_none(), "nothing more is read meanwhile");
        assert_eq!(
            link.resume(),
            Read::NextTurn,
            "what else happens to it gives the reader no turn"
        );
        assert_eq!(pids(&inbox, &waker, 10), turn.collect::<Vec<_>>());
        let read = link.next_turn();
        assert_eq!(read == Read::Open, inbox.queue.snapshot().messages == 5);
    }
    assert_eq!(pids(&inbox, &waker, 5), (30..35).collect::<Vec<_>>());
    assert!(link.watch().is_some());
    assert_eq!(inbox.queue.snapshot().lost(), 0);
}

/// The turns until the connection is read again.
fn turns(link: &Link) -> u32 {
    let turns = 1..=100;
    turns.into_iter().find(|_| link.next_turn() == Read::Open).unwrap()
}

#[test]
fn a_reader_that_takes_something_in_the_last_of_its_turns_loses_nothing() {
    let broker = ScriptedBroker::new();
    let (link, waker, inbox, client) = subscribed(&broker, Reader::Host);
    broker.send(&client, &events(0..15));
    waker.until("read", || link.on_readable() == Read::NextTurn);
    for taken in 0..5 {
        for _ in 1..IDLE_TURNS {
            assert_eq!(link.next_turn(), Read::NextTurn);
        }
        assert_eq!(pids(&inbox, &waker, 1), [taken]);
        let read = link.next_turn();
        assert_eq!(read == Read::Open, taken == 4);
    }
    assert_eq!(inbox.queue.snapshot().lost(), 0);
}

#[test]
fn a_reader_that_takes_nothing_is_waited_for_once() {
    let broker = ScriptedBroker::new();
    let (link, waker, inbox, client) = subscribed(&broker, Reader::Host);
    broker.send(&client, &events(0..35));
    waker.until("read", || link.on_readable() == Read::NextTurn);
    assert_eq!(turns(&link), IDLE_TURNS);
    broker.send(&client, &events(35..100));
    waker.until("read", || {
        assert_eq!(link.on_readable(), Read::Open);
        inbox.queue.snapshot().lost() == 90
    });
    assert_eq!(pids(&inbox, &waker, 10), (90..100).collect::<Vec<_>>());
    broker.send(&client, &events(0..35));
    waker.until("read", || link.on_readable() == Read::NextTurn);
    assert_eq!(turns(&link), IDLE_TURNS, "again, since it took something");
}

#[test]
fn what_no_reader_has_a_turn_for_is_accounted_for() {
    let broker = ScriptedBroker::new();
    let (link, waker, inbox, client) = subscribed(&broker, Reader::Host);
    // Runs of one message.
    let sent = (0..35).flat_map(|pid| [events(pid..pid + 1), FromBroker::Pong.frame()].concat());
    broker.send(&client, &sent.collect::<Vec<_>>());
    waker.until("read", || link.on_readable() == Read::NextTurn);
    link.close();
    let kept = inbox.queue.snapshot();
    assert_eq!((kept.messages, kept.lost()), (10, 25));
}

#[test]
fn what_stands_behind_the_answers_of_a_new_connection_does_not_keep_it_from_going_live() {
    let broker = ScriptedBroker::new();
    let (link, waker, inbox, client) = subscribed(&broker, Reader::Link);
    drop(client);
    broker.turn();
    waker.until("lost", || link.state() == State::Reconnecting);
    let client = greet(&broker, 30.0);
    let FromClient::Sub(sub) = next_text(&broker, &client, &mut Vec::new()) else {
        panic!("subscribed again");
    };
    broker.send(&client, &[ok_frame(sub.id), events(0..100)].concat());
    waker.until("connected", || link.state() == State::Connected);
    waker.until("processed", || {
        link.next_turn();
        inbox.queue.snapshot().lost() == 90
    });
    assert_eq!(pids(&inbox, &waker, 10), (90..100).collect::<Vec<_>>());
}
