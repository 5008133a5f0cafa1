//! Requests that a broker leaves unanswered, while callers give up and ask anew: what they cost stays small.

use std::sync::{Arc, Weak};
use std::time::Duration;

use daemoneye_eventbus_core::client::{Answer, Link, State, Ticket};
use daemoneye_eventbus_core::queue::{DropReason, Snapshot};
use daemoneye_eventbus_core::transport::Stream;
use daemoneye_eventbus_core::wire::frame::{self, Kind, PREFIX};
use daemoneye_eventbus_core::wire::text::{FromBroker, FromClient, OkText, Stats};

use crate::support::{ScriptedBroker, TestWaker, greet, inbox, next_text, open, pids, publish, wait_done};

/// As one who asks each second has asked within hours.
const REQUESTS: usize = 5000;
/// Subscriptions that are asked for at once.
const IN_FLIGHT: usize = 64;
/// Tickets that nobody holds any more and the link still does.
const MAX_HELD: usize = 300;

/// A broker and its one client, connected.
fn connected() -> (ScriptedBroker, Link, Arc<TestWaker>, Stream) {
    let broker = ScriptedBroker::new();
    let (link, waker) = open(&broker);
    let client = greet(&broker, 30.0);
    waker.until("connected", || link.state() == State::Connected);
    (broker, link, waker, client)
}

fn ticket(waker: &Arc<TestWaker>) -> Ticket {
    Ticket::new(Arc::<TestWaker>::clone(waker) as _)
}

/// Asks `REQUESTS` times and once more, for which alone somebody waits.
fn ask(waker: &Arc<TestWaker>, ask: impl Fn(Ticket)) -> Ticket {
    let before = Arc::strong_count(waker);
    for _ in 0..REQUESTS {
        ask(ticket(waker));
    }
    // A ticket keeps whom it wakes.
    let kept = Arc::strong_count(waker) - before;
    assert!(kept < MAX_HELD, "{kept} tickets are kept that nobody waits for");
    let last = ticket(waker);
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
fn next_frame(broker: &ScriptedBroker, client: &Stream, read: &mut Vec<u8>) -> (Kind, Vec<u8>) {
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
fn abandoned_flushes_of_an_outage_leave_nothing() {
    let mut broker = ScriptedBroker::new();
    let (link, waker) = open(&broker);
    let client = greet(&broker, 30.0);
    waker.until("connected", || link.state() == State::Connected);
    drop(broker.listener.take());
    drop(client);
    broker.turn();
    waker.until("lost", || link.state() == State::Reconnecting);
    let last = ask(&waker, |ticket| link.ping(ticket));
    broker.listen();
    let client = greet(&broker, 30.0);
    let mut read = Vec::new();
    assert_eq!(next_text(&broker, &client, &mut read), FromClient::Ping);
    broker.send(&client, &FromBroker::Pong.frame());
    wait_done(&waker, &last);
    // That was all.
    broker.send(&client, &FromBroker::Ping.frame());
    assert_eq!(next_text(&broker, &client, &mut read), FromClient::Pong);
}

#[test]
fn unanswered_flushes_share_one_ping() {
    let (broker, link, waker, client) = connected();
    let last = ask(&waker, |ticket| link.ping(ticket));
    let mut read = Vec::new();
    assert_eq!(next_text(&broker, &client, &mut read), FromClient::Ping);
    broker.send(&client, &FromBroker::Pong.frame());
    wait_done(&waker, &last);
    // Who asks after the answer is not answered by it.
    let next = ticket(&waker);
    link.ping(next.clone());
    assert_eq!(next_text(&broker, &client, &mut read), FromClient::Ping);
    assert_eq!(next.poll(), None);
    broker.send(&client, &FromBroker::Pong.frame());
    wait_done(&waker, &next);
}

#[test]
fn abandoned_statistics_requests_leave_nothing() {
    let (broker, link, waker, client) = connected();
    let last = ask(&waker, |ticket| link.statistics(Stats::default(), ticket));
    let (mut read, mut asked) = (Vec::new(), 0);
    broker.send(&client, &FromBroker::Ping.frame());
    loop {
        match next_text(&broker, &client, &mut read) {
            FromClient::Stats(stats) => {
                asked += 1;
                assert!(asked < MAX_HELD, "requests are sent that nobody waits for");
                answer(&broker, &client, stats.id);
                broker.send(&client, &FromBroker::Ping.frame());
            }
            // Whatever an answer led to stands before this.
            FromClient::Pong if last.poll().is_some() => break,
            _ => {}
        }
    }
    assert_eq!(last.poll(), Some(Ok(Answer::Done)));
}

#[test]
fn more_requests_than_fit_in_flight_are_all_answered() {
    let (broker, link, waker, client) = connected();
    let tickets: Vec<Ticket> = (0..2 * MAX_HELD)
        .map(|_| {
            let ticket = ticket(&waker);
            link.statistics(Stats::default(), ticket.clone());
            ticket
        })
        .collect();
    let mut read = Vec::new();
    for _ in &tickets {
        let FromClient::Stats(stats) = next_text(&broker, &client, &mut read) else {
            panic!("something else than a request")
        };
        answer(&broker, &client, stats.id);
    }
    for ticket in &tickets {
        wait_done(&waker, ticket);
    }
}

#[test]
fn abandoned_subscriptions_without_an_answer_are_bounded() {
    let (broker, link, waker, client) = connected();
    publish(&link, &waker, 1);
    let mut read = Vec::new();
    let (kind, message) = next_frame(&broker, &client, &mut read);
    assert_eq!(kind, Kind::Message);
    let before = Arc::strong_count(&waker);
    let mut given_up = Vec::new();
    for _ in 0..REQUESTS {
        let inbox = inbox(&waker, &["events.#"], 10, false);
        given_up.push(Arc::downgrade(&inbox));
        let id = link.subscribe(Arc::clone(&inbox), ticket(&waker)).unwrap();
        link.unsubscribe(id, &inbox, ticket(&waker), Some(DropReason::Closed));
    }
    // A queue keeps whom it wakes, as its ticket does.
    let kept = Arc::strong_count(&waker) - before;
    assert!(kept < MAX_HELD, "{kept} queues and tickets are kept that nobody has");
    let (wanted, asks) = (inbox(&waker, &["events.#"], 10, false), ticket(&waker));
    let mut inboxes: Vec<_> = given_up.iter().filter_map(Weak::upgrade).collect();
    inboxes.push(Arc::clone(&wanted));
    let id = link.subscribe(Arc::clone(&wanted), asks.clone()).unwrap();
    // The broker wakes up. What it sends for those that it has not ended yet is lost, and nothing else.
    let (mut asked, mut ended, mut sent) = (0, 0, 0);
    while asked == 0 || asked > ended + 1 || asks.poll().is_none() {
        match next_text(&broker, &client, &mut read) {
            FromClient::Sub(sub) => {
                asked += 1;
                assert!(asked < MAX_HELD, "the broker is asked for what nobody wants");
                answer(&broker, &client, sub.id);
                broker.send(&client, &message);
                sent += 1;
                if sub.id == id {
                    wait_done(&waker, &asks);
                }
            }
            FromClient::Unsub(unsub) => {
                ended += 1;
                answer(&broker, &client, unsub.id);
            }
            _ => {}
        }
    }
    assert_eq!((asked, pids(&wanted, &waker, 1)), (ended + 1, vec![1]));
    waker.until("counted", || {
        let mut account = Snapshot::default();
        for inbox in &inboxes {
            account.add_settled(&inbox.queue.snapshot());
        }
        let closed = account.dropped().find(|(reason, _)| *reason == DropReason::Closed);
        account.delivered + account.lost() == sent && closed == Some((DropReason::Closed, sent - 1))
    });
}

#[test]
fn more_subscriptions_than_fit_in_flight_are_all_answered() {
    let (broker, link, waker, client) = connected();
    let tickets: Vec<Ticket> = (0..2 * MAX_HELD)
        .map(|_| {
            let ticket = ticket(&waker);
            link.subscribe(inbox(&waker, &["events.#"], 10, false), ticket.clone())
                .unwrap();
            ticket
        })
        .collect();
    let mut read = Vec::new();
    for _ in &tickets {
        let FromClient::Sub(sub) = next_text(&broker, &client, &mut read) else {
            panic!("something else than a subscription")
        };
        answer(&broker, &client, sub.id);
    }
    for ticket in &tickets {
        wait_done(&waker, ticket);
    }
}

#[test]
fn a_new_connection_has_no_more_subs_in_flight() {
    let (broker, link, waker, client) = connected();
    let mut read = Vec::new();
    for _ in 0..2 * MAX_HELD {
        let ticket = ticket(&waker);
        link.subscribe(inbox(&waker, &["events.#"], 10, false), ticket.clone())
            .unwrap();
        let FromClient::Sub(sub) = next_text(&broker, &client, &mut read) else {
            panic!("something else than a subscription")
        };
        answer(&broker, &client, sub.id);
        wait_done(&waker, &ticket);
    }
    drop(client);
    broker.turn();
    let client = greet(&broker, 30.0);
    let mut read = Vec::new();
    let mut asked = Vec::new();
    broker.send(&client, &FromBroker::Ping.frame());
    // What is asked before the broker is known to be alive is all that it is asked without an answer.
    while let FromClient::Sub(sub) = next_text(&broker, &client, &mut read) {
        asked.push(sub.id);
        assert!(asked.len() < MAX_HELD, "all are asked for at once");
    }
    for answers in 0..2 * MAX_HELD {
        answer(&broker, &client, asked[answers]);
        if asked.len() < 2 * MAX_HELD {
            let FromClient::Sub(sub) = next_text(&broker, &client, &mut read) else {
                panic!("something else than a subscription")
            };
            asked.push(sub.id);
        }
    }
    waker.until("connected", || link.state() == State::Connected);
}

#[test]
fn an_answer_to_what_was_not_asked_for_yet_is_none() {
    let (broker, link, waker, client) = connected();
    let (tickets, ids): (Vec<_>, Vec<_>) = (0..IN_FLIGHT + 1)
        .map(|_| {
            let ticket = ticket(&waker);
            let id = link
                .subscribe(inbox(&waker, &["events.#"], 10, false), ticket.clone())
                .unwrap();
            (ticket, id)
        })
        .unzip();
    let mut read = Vec::new();
    for _ in 0..IN_FLIGHT {
        assert!(matches!(next_text(&broker, &client, &mut read), FromClient::Sub(_)));
    }
    let (last, first) = (ids[IN_FLIGHT], ids[0]);
    answer(&broker, &client, last);
    answer(&broker, &client, first);
    wait_done(&waker, &tickets[0]);
    assert_eq!(tickets[IN_FLIGHT].poll(), None);
    assert!(matches!(next_text(&broker, &client, &mut read), FromClient::Sub(sub) if sub.id == last));
    answer(&broker, &client, last);
    wait_done(&waker, &tickets[IN_FLIGHT]);
}

#[test]
fn whoever_asks_for_statistics_is_told_of_the_connection_that_there_is_not() {
    let mut broker = ScriptedBroker::new();
    let (link, waker) = open(&broker);
    let asked = || {
        let ticket = ticket(&waker);
        link.statistics(Stats::default(), ticket.clone());
        ticket.poll().unwrap().unwrap_err().to_string()
    };
    assert!(asked().contains("not connected yet"), "{}", asked());
    let client = greet(&broker, 30.0);
    waker.until("connected", || link.state() == State::Connected);
    drop((broker.listener.take(), client));
    broker.turn();
    waker.until("lost", || link.state() == State::Reconnecting);
    assert!(asked().contains("reconnecting"), "{}", asked());
}

/// A link with so many subscriptions that the broker has confirmed, whose connection has broken.
fn broken_with(broker: &ScriptedBroker, patterns: &[&str], count: usize) -> (Link, Arc<TestWaker>) {
    let (link, waker) = open(broker);
    let client = greet(broker, 30.0);
    waker.until("connected", || link.state() == State::Connected);
    let mut read = Vec::new();
    for _ in 0..count {
        let ticket = ticket(&waker);
        link.subscribe(inbox(&waker, patterns, 10, false), ticket.clone())
            .unwrap();
        let FromClient::Sub(sub) = next_text(broker, &client, &mut read) else {
            panic!("something else than a subscription")
        };
        answer(broker, &client, sub.id);
        wait_done(&waker, &ticket);
    }
    drop(client);
    broker.turn();
    (link, waker)
}

#[test]
fn a_new_connection_is_kept_while_its_broker_answers_however_long_that_takes() {
    // More than are asked for at once.
    let (broker, count) = (ScriptedBroker::new(), 180);
    let (link, waker) = broken_with(&broker, &["events.#"], count);
    let client = greet(&broker, 30.0);
    let mut read = Vec::new();
    for _ in 0..count {
        let FromClient::Sub(sub) = next_text(&broker, &client, &mut read) else {
            panic!("something else than a subscription")
        };
        std::thread::sleep(Duration::from_millis(30));
        answer(&broker, &client, sub.id);
    }
    waker.until("connected", || link.state() == State::Connected);
}

#[test]
fn a_broker_that_stops_reading_until_it_is_read_is_read() {
    let broker = ScriptedBroker::new();
    let patterns: Vec<String> = (0..200)
        .map(|number| format!("events.t{number}.{}", "x".repeat(200)))
        .collect();
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    let count = 40;
    let (link, waker) = broken_with(&broker, &patterns, count);
    let client = greet(&broker, 30.0);
    // More than a socket holds, in both directions.
    let mut noise = format!("NEWER {{\"than\":\"{}\"}}", "x".repeat(60_000)).into_bytes();
    noise.splice(..0, u32::try_from(noise.len()).unwrap().to_le_bytes());
    for _ in 0..40 {
        broker.send(&client, &noise);
    }
    let mut read = Vec::new();
    for _ in 0..count {
        let FromClient::Sub(sub) = next_text(&broker, &client, &mut read) else {
            panic!("something else than a subscription")
        };
        answer(&broker, &client, sub.id);
    }
    waker.until("connected", || link.state() == State::Connected);
}

#[test]
fn unanswered_pings_are_bounded() {
    let (broker, link, waker, client) = connected();
    let last = ask(&waker, |ticket| {
        publish(&link, &waker, 1);
        link.ping(ticket);
    });
    let numbers = link.local_statistics();
    let all = REQUESTS as u64 + 1;
    assert_eq!((numbers.published, numbers.unconfirmed + numbers.unsent), (all, all));
    // It takes everything, and only then says the first word.
    let (mut read, mut messages, mut pings) = (Vec::new(), 0, 0);
    while messages < all {
        match next_frame(&broker, &client, &mut read) {
            (Kind::Message, _) => messages += 1,
            _ => pings += 1,
        }
        assert!(pings < MAX_HELD, "confirmation is asked for without end");
    }
    for _ in 0..pings {
        broker.send(&client, &FromBroker::Pong.frame());
    }
    // One more speaks for all that is left.
    assert_eq!(next_text(&broker, &client, &mut read), FromClient::Ping);
    assert_eq!(last.poll(), None);
    broker.send(&client, &FromBroker::Pong.frame());
    wait_done(&waker, &last);
    let numbers = link.local_statistics();
    assert_eq!((numbers.published, numbers.unconfirmed, numbers.unsent), (all, 0, 0));
}

#[test]
fn what_was_kept_over_a_broken_connection_is_confirmed_on_the_next() {
    let (broker, link, waker, client) = connected();
    // More than the kernel takes for a broker that does not read, however much that is, and than waits to share a write.
    let mut all = 0;
    while link.local_statistics().unsent < 2000 {
        publish(&link, &waker, 1);
        all += 1;
    }
    // Within this time it has been; then nothing is published any more.
    std::thread::sleep(Duration::from_millis(1500));
    let kept = link.local_statistics().unsent;
    assert!(kept > 0);
    drop(client);
    broker.turn();
    let client = greet(&broker, 30.0);
    waker.until("connected", || link.state() == State::Connected);
    let (mut read, mut messages) = (Vec::new(), 0);
    loop {
        match next_frame(&broker, &client, &mut read) {
            (Kind::Message, _) => messages += 1,
            (_, body) => {
                assert_eq!(FromClient::parse(&body[PREFIX..]).unwrap(), FromClient::Ping);
                break;
            }
        }
    }
    assert!((kept - 1..=kept).contains(&messages), "{messages} of {kept}");
    broker.send(&client, &FromBroker::Pong.frame());
    waker.until("confirmed", || link.local_statistics().unconfirmed == all - messages);
}
