//! The verbs of a native client, each answered in the order of the queue.

use bytes::Bytes;

use super::{Session, Stage, Stop};
use crate::broker::router::Interest;
use crate::broker::statistics::Refusal;
use crate::broker::subscription::Load;
use crate::broker::{subscription, watching};
use crate::error::{Error, Result};
use crate::wire::frame::PREFIX;
use crate::wire::text::{Bye, Code, ErrText, FromBroker, FromClient, OkText, Stats, Sub};

/// Bytes of a verb that asks for nothing: `PING`.
const SHORT: usize = 4;

/// Refused publishes of one kind: the last of them, and how many they are.
pub(super) struct Refusals {
    code: Code,
    message: String,
    topic: String,
    sequence: u64,
    count: u64,
}

impl Session {
    /// Does what a control text asks for.
    pub(super) fn handle_text(&mut self, body: &[u8]) {
        if body.len() > SHORT && !self.shared.has_memory() {
            return self.refuse_for_memory(body);
        }
        match FromClient::parse(body) {
            Ok(FromClient::Sub(sub)) => self.subscribe(*sub),
            Ok(FromClient::Unsub(unsub)) => self.unsubscribe(unsub.id),
            Ok(FromClient::Ping) => self.answer(&FromBroker::Pong),
            Ok(FromClient::Pong) => {}
            Ok(FromClient::Taken) => self.connection.queue.note_taken(),
            Ok(FromClient::Stats(asked)) => self.tell_statistics(asked),
            Ok(FromClient::Bye) => {
                // Its own doing, as if it had closed each of them.
                self.subscriptions.clear();
                self.leave(Bye::default());
            }
            Ok(FromClient::Connect(_)) => self.cut(Code::Protocol, "CONNECT came twice; it opens a connection once"),
            Ok(FromClient::Auth(_)) => self.cut(Code::Protocol, "AUTH came, and nobody asked for it"),
            Ok(FromClient::PingProof(_)) => {
                self.cut(
                    Code::Protocol,
                    "PING with a proof is the original's and has no place in this connection",
                );
            }
            Ok(FromClient::Unknown(verb)) => {
                let verb = verb.escape_debug();
                let err = ErrText::new(Code::UnknownVerb, format!("this broker does not know the verb {verb}"));
                self.note_refusal(&err);
                self.send_error(err);
            }
            // Who can be answered is.
            Err(error) => match FromClient::sub_id(body) {
                Some(id) => {
                    let error = Error::SubscriptionRefused {
                        reason: ErrText::from(&error).message,
                        limit: 0,
                    };
                    self.refuse_verb(id, ErrText::from(&error));
                }
                None => self.cut_by(&error),
            },
        }
    }

    /// Refuses a verb unread: there may be no memory for what it asks for.
    #[cold]
    fn refuse_for_memory(&mut self, body: &[u8]) {
        match FromClient::sub_id(body) {
            Some(id) => {
                let err = ErrText::from(&self.shared.no_memory_for_subscription());
                self.log_refusal(Refusal::NoMemory, &err);
                self.answer(&FromBroker::Err(ErrText { id: Some(id), ..err }));
            }
            None => self.cut_for_memory("there is no memory for it; make room, or try again later"),
        }
    }

    fn subscribe(&mut self, sub: Sub) {
        let id = sub.id;
        match self.admit(sub) {
            Ok((interest, load)) => {
                let rights = self.rights.as_ref();
                if let Some(why) = rights.and_then(|rights| rights.refuse_subscription(&interest.patterns)) {
                    return self.refuse_verb(id, ErrText::new(Code::Rights, why));
                }
                self.subscriptions.insert(id, load);
                self.shared
                    .change_readers()
                    .subscribe(&self.connection.sink, id, interest, Some(ok(id)));
                self.check_answers();
            }
            Err(error) => self.refuse_verb(id, ErrText::from(&error)),
        }
    }

    fn admit(&self, sub: Sub) -> Result<(Interest, Load)> {
        if self.subscriptions.contains_key(&sub.id) {
            return Err(Error::SubscriptionRefused {
                reason: format!(
                    "id {} is subscribed already on this connection; take the next number",
                    sub.id
                ),
                limit: 0,
            });
        }
        let held = self.subscriptions.values().copied().sum();
        let interest = subscription::compile(&self.shared.config, &sub.into_subscription(), held)?;
        let load = Load::of(&interest);
        Ok((interest, load))
    }

    fn unsubscribe(&mut self, id: u64) {
        if self.subscriptions.remove(&id).is_some() {
            self.shared
                .change_readers()
                .unsubscribe(&self.connection.sink, id, Some(ok(id)));
            self.check_answers();
        } else {
            let error = Error::SubscriptionClosed(format!("id {id} is not subscribed on this connection"));
            self.refuse_verb(id, ErrText::from(&error));
        }
    }

    /// The five numbers for everybody; who is connected and what waits where, for those who could ask the kernel as well.
    fn tell_statistics(&mut self, asked: Stats) {
        let uid = self.connection.peer.uid;
        // On Windows a number is part of a SID, and 0 is nobody in particular.
        let may = uid == self.shared.own_uid || cfg!(unix) && uid == 0;
        if (asked.detail || asked.clients) && !may {
            let message = "clients and queues are shown to the broker's own user and to root";
            let err = ErrText::new(Code::Rights, message);
            self.shared.counters.note(Refusal::NotPermitted);
            self.log_refusal(Refusal::NotPermitted, &err);
            return self.answer(&FromBroker::Err(ErrText {
                id: Some(asked.id),
                ..err
            }));
        }
        let detail = asked.detail.then(|| self.shared.statistics());
        let bus = detail
            .as_ref()
            .map_or_else(|| self.shared.bus_statistics(), |now| now.bus);
        let page = asked.clients.then(|| watching::page(&self.shared, asked.after));
        self.answer(&FromBroker::Ok(OkText {
            id: Some(asked.id),
            statistics: Some(bus),
            detail: detail.as_ref().map(|now| Box::new(watching::detail(now))),
            more: page.as_ref().is_some_and(|page| page.more),
            clients: page.map(|page| page.clients),
            ..OkText::default()
        }));
    }

    fn refuse_verb(&mut self, id: u64, err: ErrText) {
        self.note_refusal(&err);
        self.answer(&FromBroker::Err(ErrText { id: Some(id), ..err }));
    }

    /// Counts a refusal that leaves the connection open, and logs it.
    fn note_refusal(&self, err: &ErrText) {
        let reason = Refusal::of(err.code);
        self.shared.counters.note(reason);
        self.log_refusal(reason, err);
    }

    fn log_refusal(&self, reason: Refusal, err: &ErrText) {
        let reason = reason.name();
        if let Some(suppressed) = self.shared.counters.log.due(reason) {
            tracing::warn!(
                target: "daemoneye_eventbus::broker",
                reason,
                client = %self.connection.name,
                uid = self.connection.peer.uid,
                pid = self.connection.peer.pid,
                topic = err.topic.as_deref(),
                messages = err.count,
                suppressed,
                "refused: {}",
                err.message
            );
        }
    }

    /// A message that may not pass; the connection is kept. Neighbours of one kind are told together.
    pub(super) fn refuse_publish(&mut self, code: Code, message: &str, topic: &str, sequence: u64) {
        self.shared.counters.note(Refusal::of(code));
        if self.refusals.as_ref().is_some_and(|known| known.code != code) {
            self.tell_refusals();
        }
        let refusals = self.refusals.get_or_insert_with(|| Refusals {
            code,
            message: String::new(),
            topic: String::new(),
            sequence,
            count: 0,
        });
        message.clone_into(&mut refusals.message);
        topic.clone_into(&mut refusals.topic);
        refusals.sequence = sequence;
        refusals.count += 1;
    }

    /// Says what was refused since the last time, in its place among the answers.
    pub(super) fn tell_refusals(&mut self) {
        let Some(refusals) = self.refusals.take() else { return };
        let err = ErrText {
            topic: Some(refusals.topic),
            sequence: Some(refusals.sequence),
            count: (refusals.count > 1).then_some(refusals.count),
            ..ErrText::new(refusals.code, refusals.message)
        };
        self.log_refusal(Refusal::of(err.code), &err);
        self.send_error(err);
    }

    /// An `ERR` that many may follow: it is counted into an unsent one of the same code.
    fn send_error(&mut self, err: ErrText) {
        let merged = self.connection.queue.merge_answer(|last| {
            let FromBroker::Err(before) = FromBroker::parse(last.get(PREFIX..)?).ok()? else {
                return None;
            };
            (before.code == err.code && before.id.is_none()).then(|| {
                let count = before.count.unwrap_or(1).saturating_add(err.count.unwrap_or(1));
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
        self.check_answers();
    }

    /// With too many answers unsent nothing more is read.
    fn check_answers(&mut self) {
        // What stops it already comes first; with the next answer it is looked at again.
        if self.stage == Stage::Open && self.stop.is_none() && self.connection.queue.answers_full(&self.room) {
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
