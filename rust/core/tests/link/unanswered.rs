//! Questions that a broker leaves unanswered, for as long as somebody asks anew: what they cost stays small.

use std::sync::Arc;

use daemoneye_eventbus_core::client::{Answer, State, Ticket};
use daemoneye_eventbus_core::transport::Stream;
use daemoneye_eventbus_core::wire::text::{FromBroker, FromClient, Ok, Stats};

use crate::midway::said;
use crate::numbers::{greet, open};
use crate::support::{Bell, FarEnd, answered};

/// As one who asks each second has asked within hours.
const ASKED: usize = 5000;
/// Tickets that nobody holds any more and the link still does.
const FEW: usize = 300;

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

fn answer(broker: &FarEnd, client: &Stream, id: u64) {
    let ok = Ok {
        id: Some(id),
        ..Ok::default()
    };
    broker.send(client, &FromBroker::Ok(ok).frame());
}

#[test]
fn flushes_that_were_given_up_in_an_outage_leave_nothing() {
    let mut broker = FarEnd::new();
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
    let broker = FarEnd::new();
    let (link, bell) = open(&broker);
    let client = greet(&broker, 30.0);
    bell.until("connected", || link.state() == State::Connected);
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
    let broker = FarEnd::new();
    let (link, bell) = open(&broker);
    let client = greet(&broker, 30.0);
    bell.until("connected", || link.state() == State::Connected);
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
    let broker = FarEnd::new();
    let (link, bell) = open(&broker);
    let client = greet(&broker, 30.0);
    bell.until("connected", || link.state() == State::Connected);
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
