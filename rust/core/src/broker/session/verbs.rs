//! The verbs of a native client, each answered in the order of the queue.

use bytes::Bytes;

use super::{Refusal, Session, Stage, Stop};
use crate::broker::{subscription, watching};
use crate::error::{Error, Result};
use crate::wire::frame::PREFIX;
use crate::wire::text::{Bye, Code, Err as ErrText, FromBroker, FromClient, Ok as OkText, Stats, Sub};

impl Session {
    /// Does what a text frame says.
    pub(super) fn obey(&mut self, body: &[u8]) {
        match FromClient::parse(body) {
            Ok(FromClient::Sub(sub)) => self.subscribe(*sub),
            Ok(FromClient::Unsub(unsub)) => self.unsubscribe(unsub.id),
            Ok(FromClient::Ping) => self.answer(&FromBroker::Pong),
            Ok(FromClient::Pong) => {}
            Ok(FromClient::Stats(asked)) => self.tell_statistics(asked),
            Ok(FromClient::Bye) => self.leave(Bye::default()),
            Ok(FromClient::Connect(_)) => self.cut(Code::Protocol, "CONNECT came twice; it opens a connection once"),
            Ok(FromClient::Auth(_)) => self.cut(Code::Protocol, "AUTH came, and nobody asked for it"),
            Ok(FromClient::PingProof(_)) => {
                self.cut(
                    Code::Protocol,
                    "PING with a proof is the original's and has no place in this connection",
                );
            }
            Ok(FromClient::Unknown(verb)) => {
                self.shared.counters.note(Refusal::UnknownVerb);
                let verb = verb.escape_debug();
                self.complain(ErrText::new(
                    Code::UnknownVerb,
                    format!("this broker does not know the verb {verb}"),
                ));
            }
            Err(error) => self.cut(error.code(), &error.to_string()),
        }
    }

    fn subscribe(&mut self, sub: Sub) {
        let id = sub.id;
        match self.admit(sub) {
            Ok((interest, patterns)) => {
                self.subscriptions.insert(id, patterns);
                self.shared
                    .router
                    .subscribe(&self.connection.sink, id, interest, Some(ok(id)));
                self.mind_answers();
            }
            Err(error) => self.refuse_verb(id, &error),
        }
    }

    fn admit(&self, sub: Sub) -> Result<(crate::broker::router::Interest, usize)> {
        if self.subscriptions.contains_key(&sub.id) {
            return Err(Error::SubscriptionRefused {
                reason: format!(
                    "id {} is subscribed already on this connection; take the next number",
                    sub.id
                ),
                limit: 0,
            });
        }
        let held = self.subscriptions.values().sum();
        let interest = subscription::compile(&self.shared.config, &sub.into_subscription(), held)?;
        let patterns = interest.patterns.len();
        Ok((interest, patterns))
    }

    fn unsubscribe(&mut self, id: u64) {
        if self.subscriptions.remove(&id).is_some() {
            self.shared.router.unsubscribe(&self.connection.sink, id, Some(ok(id)));
            self.mind_answers();
        } else {
            let error = Error::SubscriptionClosed(format!("id {id} is not subscribed on this connection"));
            self.refuse_verb(id, &error);
        }
    }

    /// The five numbers for everybody; who is connected and what waits where, for those who could ask the kernel as well.
    fn tell_statistics(&mut self, asked: Stats) {
        let uid = self.connection.peer.uid;
        if (asked.detail || asked.clients) && uid != self.shared.own_uid && uid != 0 {
            self.shared.counters.note(Refusal::NotPermitted);
            let message = "clients and queues are shown to the broker's own user and to root";
            return self.answer(&FromBroker::Err(ErrText {
                id: Some(asked.id),
                ..ErrText::new(Code::Rights, message)
            }));
        }
        let now = self.shared.statistics();
        let page = asked.clients.then(|| watching::page(&self.shared, asked.after));
        self.answer(&FromBroker::Ok(OkText {
            id: Some(asked.id),
            statistics: Some(now.bus),
            detail: asked.detail.then(|| Box::new(watching::detail(&now))),
            more: page.as_ref().is_some_and(|page| page.more),
            clients: page.map(|page| page.clients),
            ..OkText::default()
        }));
    }

    fn refuse_verb(&mut self, id: u64, error: &Error) {
        self.shared.counters.note(Refusal::of(error.code()));
        self.answer(&FromBroker::Err(ErrText {
            id: Some(id),
            ..ErrText::from(error)
        }));
    }

    /// A message that may not pass; the connection is kept.
    pub(super) fn refuse_publish(&mut self, code: Code, message: &str, topic: &str, sequence: u64) {
        self.shared.counters.note(Refusal::of(code));
        self.complain(ErrText {
            topic: Some(topic.to_owned()),
            sequence: Some(sequence),
            ..ErrText::new(code, message)
        });
    }

    /// An `ERR` that many may follow: it is counted into an unsent one of the same code.
    fn complain(&mut self, err: ErrText) {
        let merged = self.connection.queue.merge_answer(|last| {
            let FromBroker::Err(before) = FromBroker::parse(last.get(PREFIX..)?).ok()? else {
                return None;
            };
            (before.code == err.code && before.id.is_none()).then(|| {
                let count = before.count.unwrap_or(1).saturating_add(1);
                let err = ErrText {
                    count: Some(count),
                    ..err.clone()
                };
                Bytes::from(FromBroker::Err(err).frame())
            })
        });
        if !merged {
            self.answer(&FromBroker::Err(err));
        }
    }

    fn answer(&mut self, answer: &FromBroker) {
        self.connection.queue.answer(Bytes::from(answer.frame()));
        self.mind_answers();
    }

    /// With too many answers unsent nothing more is read.
    fn mind_answers(&mut self) {
        if self.stage == Stage::Open && self.connection.queue.answers_full(&self.room) {
            self.stop = Some(Stop::Answers);
        }
    }
}

fn ok(id: u64) -> Bytes {
    let ok = OkText {
        id: Some(id),
        ..OkText::default()
    };
    Bytes::from(FromBroker::Ok(ok).frame())
}
