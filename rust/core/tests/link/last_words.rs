//! What a broker says in one breath with something else, or as its last: all of it is heard.

use daemoneye_eventbus_core::client::State;
use daemoneye_eventbus_core::wire::frame::DEFAULT_MAX_FRAME;
use daemoneye_eventbus_core::wire::text::{Code, Err as ErrText, FromBroker, FromClient};
use daemoneye_eventbus_core::wire::{self, Dialect};

use crate::midway::{broken, said, yes};
use crate::native::{pids, with_draft};
use crate::numbers::{greet, open, subscribed};
use crate::support::FarEnd;

fn refusal() -> ErrText {
    ErrText::new(Code::DisconnectedByOperator, "for good")
}

#[test]
fn a_last_refusal_behind_the_answers_of_a_new_connection_is_the_last() {
    let broker = FarEnd::new();
    let (link, bell, _inbox, id) = broken(&broker);
    let client = greet(&broker, 30.0);
    assert!(matches!(said(&broker, &client, &mut Vec::new()), FromClient::Sub(sub) if sub.id == id));
    broker.send(&client, &[yes(id), FromBroker::Err(refusal()).frame()].concat());
    bell.until("closed", || link.state() == State::Closed);
    assert_eq!(link.cause(), Some(refusal().into_error()));
}

#[test]
fn a_ping_behind_the_answers_of_a_new_connection_is_answered() {
    let broker = FarEnd::new();
    let (link, bell, _inbox, id) = broken(&broker);
    let client = greet(&broker, 30.0);
    let mut read = Vec::new();
    assert!(matches!(said(&broker, &client, &mut read), FromClient::Sub(sub) if sub.id == id));
    broker.send(&client, &[yes(id), FromBroker::Ping.frame()].concat());
    bell.until("connected", || link.state() == State::Connected);
    assert_eq!(said(&broker, &client, &mut read), FromClient::Pong);
}

#[test]
fn a_last_refusal_before_a_frame_that_cannot_be_is_the_last() {
    let broker = FarEnd::new();
    let (link, bell) = open(&broker);
    let client = greet(&broker, 30.0);
    bell.until("connected", || link.state() == State::Connected);
    broker.send(&client, &[FromBroker::Err(refusal()).frame(), vec![0; 4]].concat());
    bell.until("closed", || link.state() == State::Closed);
    assert_eq!(link.cause(), Some(refusal().into_error()));
}

#[test]
fn what_came_whole_before_a_frame_that_cannot_be_is_delivered() {
    let broker = FarEnd::new();
    let (link, bell) = open(&broker);
    let client = greet(&broker, 30.0);
    let (inbox, _id) = subscribed(&broker, &link, &bell, &client);
    let mut sent = Vec::new();
    for pid in 0..3 {
        with_draft(pid, |draft| {
            wire::write(Dialect::Bincode, draft, DEFAULT_MAX_FRAME, 8, &mut sent).unwrap();
        });
    }
    sent.extend(0_u32.to_le_bytes());
    broker.send(&client, &sent);
    assert_eq!(pids(&inbox, &bell, 3), [0, 1, 2]);
    bell.until("lost", || link.state() == State::Reconnecting);
}
