//! Questions that a broker leaves unanswered, for as long as somebody asks anew: what they cost stays small.

use std::sync::{Arc, Weak};
use std::time::Duration;

use daemoneye_eventbus_core::client::{Answer, Link, State, Ticket};
use daemoneye_eventbus_core::queue::{DropReason, Snapshot};
use daemoneye_eventbus_core::transport::Stream;
use daemoneye_eventbus_core::wire::frame::{self, Kind, PREFIX};
use daemoneye_eventbus_core::wire::text::{FromBroker, FromClient, OkText, Stats};

use crate::support::{Bell, ScriptedBroker, answered, greet, inbox, open, pids, publish, said};

/// As one who asks each second has asked within hours.
const ASKED: usize = 5000;
/// Tickets that nobody holds any more and the link still does.
const FEW: usize = 300;

/// A broker that has greeted its one client, which knows.
fn connected() -> (ScriptedBroker, Link, Arc<Bell>, Stream) {
    let broker = ScriptedBroker::new();
    let (link, bell) = open(&broker);
    let client = greet(&broker, 30.0);
    bell.until("connected", || link.state() == State::Connected);
    (broker, link, bell, client)
}

fn ticket(bell: &Arc<Bell>) -> Ticket {
    Ticket::new(Arc::<Bell>::clone(bell) as _)
}

/// Asks `ASKED` times and once more, for which alone somebody waits.
fn ask(bell: &Arc<Bell>, ask: impl Fn(Ticket)) -> Ticket {
    let before = Arc::strong_count(bell);
    for _ in 0..ASKED {
        ask(ticket(bell));
    }
    // A ticket keeps whom it wakes.
    let kept = Arc::strong_count(bell) - before;
    assert!(kept < FEW, "{kept} tickets are kept that nobody waits for");
    let last = ticket(bell);
    ask(last.clone());
    last
}

fn answer(broker: &ScriptedBroker, client: &Stream, id: u64) {
    let ok = OkText {
        id: Some(id),
        ..OkText::default()
    };
    broker.send(client, &FromBroker::Ok(ok).frame());
}

/// The next frame of the client, which may be a message.
fn heard(broker: &ScriptedBroker, client: &Stream, read: &mut Vec<u8>) -> (Kind, Vec<u8>) {
    loop {
        if let Some((kind, body)) = frame::next(read, 1 << 20).unwrap() {
            let len = PREFIX + body.len();
            return (kind, read.drain(..len).collect());
        }
        let more = broker.read(client, 1);
        assert!(!more.is_empty(), "the client hung up");
        read.extend(more);
    }
}

#[test]
fn flushes_that_were_given_up_in_an_outage_leave_nothing() {
    let mut broker = ScriptedBroker::new();
    let (link, bell) = open(&broker);
    let client = greet(&broker, 30.0);
    bell.until("connected", || link.state() == State::Connected);
    drop(broker.listener.take());
    drop(client);
    broker.turn();
    bell.until("lost", || link.state() == State::Reconnecting);
    let last = ask(&bell, |ticket| link.ping(ticket));
    broker.listen();
    let client = greet(&broker, 30.0);
    let mut read = Vec::new();
    assert_eq!(said(&broker, &client, &mut read), FromClient::Ping);
    broker.send(&client, &FromBroker::Pong.frame());
    answered(&bell, &last);
    // That was all.
    broker.send(&client, &FromBroker::Ping.frame());
    assert_eq!(said(&broker, &client, &mut read), FromClient::Pong);
}

#[test]
fn flushes_that_a_broker_does_not_answer_are_one_question() {
    let (broker, link, bell, client) = connected();
    let last = ask(&bell, |ticket| link.ping(ticket));
    let mut read = Vec::new();
    assert_eq!(said(&broker, &client, &mut read), FromClient::Ping);
    broker.send(&client, &FromBroker::Pong.frame());
    answered(&bell, &last);
    // Who asks after the answer is not answered by it.
    let next = ticket(&bell);
    link.ping(next.clone());
    assert_eq!(said(&broker, &client, &mut read), FromClient::Ping);
    assert_eq!(next.poll(), None);
    broker.send(&client, &FromBroker::Pong.frame());
    answered(&bell, &next);
}

#[test]
fn questions_for_statistics_that_were_given_up_leave_nothing() {
    let (broker, link, bell, client) = connected();
    let last = ask(&bell, |ticket| link.statistics(Stats::default(), ticket));
    let (mut read, mut asked) = (Vec::new(), 0);
    broker.send(&client, &FromBroker::Ping.frame());
    loop {
        match said(&broker, &client, &mut read) {
            FromClient::Stats(stats) => {
                asked += 1;
                assert!(asked < FEW, "questions are asked that nobody waits for");
                answer(&broker, &client, stats.id);
                broker.send(&client, &FromBroker::Ping.frame());
            }
            // Whatever an answer led to stands before this.
            FromClient::Pong if last.poll().is_some() => break,
            _ => {}
        }
    }
    assert_eq!(last.poll(), Some(std::result::Result::Ok(Answer::Done)));
}

#[test]
fn more_questions_than_are_asked_at_once_are_all_answered() {
    let (broker, link, bell, client) = connected();
    let tickets: Vec<Ticket> = (0..2 * FEW)
        .map(|_| {
            let ticket = ticket(&bell);
            link.statistics(Stats::default(), ticket.clone());
            ticket
        })
        .collect();
    let mut read = Vec::new();
    for _ in &tickets {
        let FromClient::Stats(stats) = said(&broker, &client, &mut read) else {
            panic!("something else than a question")
        };
        answer(&broker, &client, stats.id);
    }
    for ticket in &tickets {
        answered(&bell, ticket);
    }
}

#[test]
fn subscriptions_that_a_broker_does_not_answer_are_so_many_at_most_when_they_are_given_up() {
    let (broker, link, bell, client) = connected();
    publish(&link, &bell, 1);
    let mut read = Vec::new();
    let (kind, message) = heard(&broker, &client, &mut read);
    assert_eq!(kind, Kind::Message);
    let before = Arc::strong_count(&bell);
    let mut given_up = Vec::new();
    for _ in 0..ASKED {
        let inbox = inbox(&bell, &["events.#"], 10, false);
        given_up.push(Arc::downgrade(&inbox));
        let id = link.subscribe(inbox, ticket(&bell)).unwrap();
        link.unsubscribe(id, ticket(&bell), Some(DropReason::Closed));
    }
    // A queue keeps whom it wakes, as its ticket does.
    let kept = Arc::strong_count(&bell) - before;
    assert!(kept < FEW, "{kept} queues and tickets are kept that nobody has");
    let (wanted, asks) = (inbox(&bell, &["events.#"], 10, false), ticket(&bell));
    let mut inboxes: Vec<_> = given_up.iter().filter_map(Weak::upgrade).collect();
    inboxes.push(Arc::clone(&wanted));
    let id = link.subscribe(Arc::clone(&wanted), asks.clone()).unwrap();
    // The broker wakes up. What it sends for those that it has not ended yet is lost, and nothing else.
    let (mut asked, mut ended, mut sent) = (0, 0, 0);
    while asked == 0 || asked > ended + 1 || asks.poll().is_none() {
        match said(&broker, &client, &mut read) {
            FromClient::Sub(sub) => {
                asked += 1;
                assert!(asked < FEW, "the broker is asked for what nobody wants");
                answer(&broker, &client, sub.id);
                broker.send(&client, &message);
                sent += 1;
                if sub.id == id {
                    answered(&bell, &asks);
                }
            }
            FromClient::Unsub(unsub) => {
                ended += 1;
                answer(&broker, &client, unsub.id);
            }
            _ => {}
        }
    }
    assert_eq!((asked, pids(&wanted, &bell, 1)), (ended + 1, vec![1]));
    bell.until("counted", || {
        let mut account = Snapshot::default();
        for inbox in &inboxes {
            account.add_settled(&inbox.queue.snapshot());
        }
        let closed = account.dropped().find(|(reason, _)| *reason == DropReason::Closed);
        account.delivered + account.lost() == sent && closed == Some((DropReason::Closed, sent - 1))
    });
}

#[test]
fn more_subscriptions_than_are_asked_for_at_once_are_all_answered() {
    let (broker, link, bell, client) = connected();
    let tickets: Vec<Ticket> = (0..2 * FEW)
        .map(|_| {
            let ticket = ticket(&bell);
            link.subscribe(inbox(&bell, &["events.#"], 10, false), ticket.clone())
                .unwrap();
            ticket
        })
        .collect();
    let mut read = Vec::new();
    for _ in &tickets {
        let FromClient::Sub(sub) = said(&broker, &client, &mut read) else {
            panic!("something else than a subscription")
        };
        answer(&broker, &client, sub.id);
    }
    for ticket in &tickets {
        answered(&bell, ticket);
    }
}

#[test]
fn a_new_connection_is_asked_for_no_more_at_once() {
    let (broker, link, bell, client) = connected();
    let mut read = Vec::new();
    for _ in 0..2 * FEW {
        let ticket = ticket(&bell);
        link.subscribe(inbox(&bell, &["events.#"], 10, false), ticket.clone())
            .unwrap();
        let FromClient::Sub(sub) = said(&broker, &client, &mut read) else {
            panic!("something else than a subscription")
        };
        answer(&broker, &client, sub.id);
        answered(&bell, &ticket);
    }
    drop(client);
    broker.turn();
    let client = greet(&broker, 30.0);
    let mut read = Vec::new();
    let mut asked = Vec::new();
    broker.send(&client, &FromBroker::Ping.frame());
    // What is asked before the broker is known to be alive is all that it is asked without an answer.
    while let FromClient::Sub(sub) = said(&broker, &client, &mut read) {
        asked.push(sub.id);
        assert!(asked.len() < FEW, "all are asked for at once");
    }
    for answers in 0..2 * FEW {
        answer(&broker, &client, asked[answers]);
        if asked.len() < 2 * FEW {
            let FromClient::Sub(sub) = said(&broker, &client, &mut read) else {
                panic!("something else than a subscription")
            };
            asked.push(sub.id);
        }
    }
    bell.until("connected", || link.state() == State::Connected);
}

/// A link with so many subscriptions that the broker has confirmed, whose connection has broken.
fn broken_with(broker: &ScriptedBroker, patterns: &[&str], count: usize) -> (Link, Arc<Bell>) {
    let (link, bell) = open(broker);
    let client = greet(broker, 30.0);
    bell.until("connected", || link.state() == State::Connected);
    let mut read = Vec::new();
    for _ in 0..count {
        let ticket = ticket(&bell);
        link.subscribe(inbox(&bell, patterns, 10, false), ticket.clone())
            .unwrap();
        let FromClient::Sub(sub) = said(broker, &client, &mut read) else {
            panic!("something else than a subscription")
        };
        answer(broker, &client, sub.id);
        answered(&bell, &ticket);
    }
    drop(client);
    broker.turn();
    (link, bell)
}

#[test]
fn a_new_connection_is_kept_while_its_broker_answers_however_long_that_takes() {
    // More than are asked for at once.
    let (broker, count) = (ScriptedBroker::new(), 180);
    let (link, bell) = broken_with(&broker, &["events.#"], count);
    let client = greet(&broker, 30.0);
    let mut read = Vec::new();
    for _ in 0..count {
        let FromClient::Sub(sub) = said(&broker, &client, &mut read) else {
            panic!("something else than a subscription")
        };
        std::thread::sleep(Duration::from_millis(30));
        answer(&broker, &client, sub.id);
    }
    bell.until("connected", || link.state() == State::Connected);
}

#[test]
fn a_broker_that_reads_no_more_until_it_is_read_is_read() {
    let broker = ScriptedBroker::new();
    let patterns: Vec<String> = (0..200)
        .map(|number| format!("events.t{number}.{}", "x".repeat(200)))
        .collect();
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    let count = 40;
    let (link, bell) = broken_with(&broker, &patterns, count);
    let client = greet(&broker, 30.0);
    // More than a socket holds, in both directions.
    let mut noise = format!("NEWER {{\"than\":\"{}\"}}", "x".repeat(60_000)).into_bytes();
    noise.splice(..0, u32::try_from(noise.len()).unwrap().to_le_bytes());
    for _ in 0..40 {
        broker.send(&client, &noise);
    }
    let mut read = Vec::new();
    for _ in 0..count {
        let FromClient::Sub(sub) = said(&broker, &client, &mut read) else {
            panic!("something else than a subscription")
        };
        answer(&broker, &client, sub.id);
    }
    bell.until("connected", || link.state() == State::Connected);
}

#[test]
fn confirmations_that_a_broker_does_not_give_are_so_many_at_most() {
    let (broker, link, bell, client) = connected();
    let last = ask(&bell, |ticket| {
        publish(&link, &bell, 1);
        link.ping(ticket);
    });
    let numbers = link.local_statistics();
    let all = ASKED as u64 + 1;
    assert_eq!((numbers.published, numbers.unconfirmed + numbers.unsent), (all, all));
    // It takes everything, and only then says the first word.
    let (mut read, mut messages, mut pings) = (Vec::new(), 0, 0);
    while messages < all {
        match heard(&broker, &client, &mut read) {
            (Kind::Message, _) => messages += 1,
            _ => pings += 1,
        }
        assert!(pings < FEW, "confirmation is asked for without end");
    }
    for _ in 0..pings {
        broker.send(&client, &FromBroker::Pong.frame());
    }
    // One more speaks for all that is left.
    assert_eq!(said(&broker, &client, &mut read), FromClient::Ping);
    assert_eq!(last.poll(), None);
    broker.send(&client, &FromBroker::Pong.frame());
    answered(&bell, &last);
    let numbers = link.local_statistics();
    assert_eq!((numbers.published, numbers.unconfirmed, numbers.unsent), (all, 0, 0));
}

#[test]
fn what_was_kept_over_a_broken_connection_is_confirmed_on_the_next() {
    let (broker, link, bell, client) = connected();
    // More than the kernel takes of it for a broker that does not read.
    let all = 3000;
    for _ in 0..all {
        publish(&link, &bell, 1);
    }
    bell.until("asked to confirm", || link.local_statistics().unsent > 0);
    // Within this time it has been; then nothing is published any more.
    std::thread::sleep(Duration::from_millis(1500));
    let kept = link.local_statistics().unsent;
    assert!(kept > 0);
    drop(client);
    broker.turn();
    let client = greet(&broker, 30.0);
    bell.until("connected", || link.state() == State::Connected);
    let (mut read, mut messages) = (Vec::new(), 0);
    loop {
        match heard(&broker, &client, &mut read) {
            (Kind::Message, _) => messages += 1,
            (_, body) => {
                assert_eq!(FromClient::parse(&body[PREFIX..]).unwrap(), FromClient::Ping);
                break;
            }
        }
    }
    assert!((kept - 1..=kept).contains(&messages), "{messages} of {kept}");
    broker.send(&client, &FromBroker::Pong.frame());
    bell.until("confirmed", || link.local_statistics().unconfirmed == all - messages);
}
