//! The receiving half of a link: bytes in; messages for inboxes and control events out. Does no I/O.
//!
//! The broker sends a message once per connection; here it is delivered to each subscription that matches, with the same matcher and
//! filters. Consecutive messages of one topic are delivered as one run. A subscription gets what stands behind the answer to its SUB,
//! and nothing that was sent before for others of the connection.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;

use super::inbox::Inbox;
use super::requests::{self, MAX_IN_FLIGHT, StatsRequests};
use super::run_builder::RunBuilder;
use super::subscriptions::{Entry, SubscriptionTable};
use super::ticket::{Answer, Ticket};
use super::unsubscribes::{Answered, Unsubscribe, UnsubscribeTable};
use crate::error::{Error, Result};
use crate::event::Utf8;
use crate::filter::Filters;
use crate::headroom::Headroom;
use crate::log::Limiter;
use crate::queue::{DropReason, OnFull, Pushed, Run, Wake};
use crate::topic::{Cache, DEFAULT_MAX_DEPTH, LastTopic, Matcher};
use crate::transport::Peer;
use crate::wire::frame::{self, Kind, PREFIX};
use crate::wire::text::{self, FromBroker, Stats};
use crate::wire::{self, Dialect, Refusal, Summary};

const CACHED_TOPICS: usize = 1024;

/// What the link has to act on: texts that are no answers, and what an answer has made possible.
#[derive(Debug)]
pub(super) enum ControlEvent {
    Ping,
    Pong,
    Bye(Option<String>),
    /// A request was answered, so that the next one can be sent: this.
    SendStats(Stats),
    /// An answer came, so that SUBs which wait can be sent.
    SubscribeMore,
    /// An `ERR` about the connection.
    Error(text::ErrText),
    /// An `ERR` about refused publishes.
    Refused(text::ErrText),
}

/// What becomes of the last messages of a connection that is over where a blocking inbox is full: nobody can wait for it.
#[derive(Clone, Copy)]
enum FinalPush {
    /// They are taken beyond its limits.
    Exceed,
    /// They are lost: it is beyond its limits already, by the connection before.
    Drop,
}

pub(super) struct Inbound {
    pub(super) dialect: Dialect,
    pub(super) max_frame: usize,
    pub(super) topics: LastTopic,
    pub(super) subscriptions: SubscriptionTable,
    /// How many of them block.
    blocking: usize,
    pub(super) requests: StatsRequests,
    pub(super) unsubscribes: UnsubscribeTable,
    next_id: u64,
    matcher: Matcher<u64>,
    generation: u64,
    routes: Cache<Arc<[Arc<Inbox>]>>,
    pub(super) decode_errors: u64,
    /// What an original broker was found to speak on the present connection.
    pub(super) original_dialect: Option<Dialect>,
    /// What a full blocking inbox has still to take before anything else is processed.
    held: Option<(Arc<Inbox>, Run)>,
    /// Set when the connection is over: what came of it is delivered now or never.
    final_push: Option<FinalPush>,
    headroom: Headroom,
    log: Arc<Limiter>,
}

impl Inbound {
    pub(super) fn new(dialect: Dialect, max_frame: usize, log: Arc<Limiter>) -> Self {
        Self {
            dialect,
            max_frame,
            topics: LastTopic::new(DEFAULT_MAX_DEPTH),
            subscriptions: SubscriptionTable::default(),
            blocking: 0,
            requests: StatsRequests::default(),
            unsubscribes: UnsubscribeTable::default(),
            next_id: 1,
            matcher: Matcher::default(),
            generation: 0,
            routes: Cache::new(CACHED_TOPICS),
            decode_errors: 0,
            original_dialect: None,
            held: None,
            final_push: None,
            headroom: Headroom::default(),
            log,
        }
    }

    pub(super) const fn next_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    pub(super) fn insert(&mut self, id: u64, inbox: Arc<Inbox>, ticket: Option<Ticket>) {
        for pattern in &inbox.patterns {
            self.matcher.insert(pattern, id);
        }
        self.blocking += usize::from(inbox.block);
        self.subscriptions.insert(id, inbox, ticket);
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.subscriptions.remove(id)?;
        self.blocking -= usize::from(entry.inbox.block);
        self.unmatch(id, &entry.inbox);
        Some(entry)
    }

    fn unmatch(&mut self, id: u64, inbox: &Inbox) {
        for pattern in &inbox.patterns {
            self.matcher.remove(pattern, id);
        }
        self.generation += 1;
    }

    /// The caller sends UNSUB for an entry that was removed and whose inbox is closed. It matches until the broker has confirmed.
    pub(super) fn begin_unsubscribe(&mut self, id: u64, entry: Entry, ticket: Option<Ticket>) {
        let Entry { inbox, live, .. } = entry;
        for pattern in &inbox.patterns {
            self.matcher.insert(pattern, id);
        }
        let awaits_sub_answer = !live;
        self.unsubscribes.insert(
            id,
            Unsubscribe {
                ticket,
                inbox,
                awaits_sub_answer,
            },
        );
    }

    fn finish_unsubscribe(&mut self, id: u64, unsubscribe: Unsubscribe) -> Option<Ticket> {
        self.unmatch(id, &unsubscribe.inbox);
        unsubscribe.inbox.detach();
        unsubscribe.ticket
    }

    /// As [`begin_unsubscribe`](Self::begin_unsubscribe), on a connection that is not live yet: UNSUB is sent once it is.
    pub(super) fn begin_deferred_unsubscribe(&mut self, id: u64, entry: Entry) {
        self.begin_unsubscribe(id, entry, None);
        self.unsubscribes.defer(id);
    }

    /// The tickets of all requests that the present connection can no longer answer.
    pub(super) fn take_unanswered(&mut self) -> Vec<Ticket> {
        let mut tickets: Vec<Ticket> = self.requests.take_all();
        for (id, unsubscribe) in self.unsubscribes.take_all() {
            tickets.extend(self.finish_unsubscribe(id, unsubscribe));
        }
        tickets
    }

    /// The connection is over; what came of it and was not processed yet is delivered next.
    pub(super) fn begin_final_read(&mut self) {
        self.final_push = Some(self.final_push());
    }

    fn final_push(&self) -> FinalPush {
        let is_exceeded = |entry: &Entry| entry.inbox.block && entry.inbox.queue.is_exceeded();
        if self.subscriptions.iter().any(is_exceeded) {
            FinalPush::Drop
        } else {
            FinalPush::Exceed
        }
    }

    /// The connection is gone, and with it what it was told and had begun.
    pub(super) fn forget_connection(&mut self) {
        if let Some((inbox, run)) = self.held.take() {
            let final_push = self.final_push.unwrap_or_else(|| self.final_push());
            push_final(&inbox, &run, final_push);
        }
        self.final_push = None;
        self.generation += 1;
        self.subscriptions.forget_connection();
        for (id, unsubscribe) in self.unsubscribes.take_unawaited() {
            self.finish_unsubscribe(id, unsubscribe);
        }
    }

    /// The subscriptions whose SUB is to be sent now.
    pub(super) fn take_unsent(&mut self) -> Vec<(u64, Arc<Inbox>)> {
        self.subscriptions.take_unsent(self.room())
    }

    /// How many more SUBs may be unanswered.
    fn room(&self) -> usize {
        MAX_IN_FLIGHT.saturating_sub(self.subscriptions.unanswered() + self.unsubscribes.len())
    }

    /// Whether a full inbox may keep the connection from being read.
    pub(super) const fn may_pause(&self) -> bool {
        self.blocking > 0
    }

    /// The inbox that is full and keeps the connection from being read.
    pub(super) fn held_inbox(&self) -> Option<&Inbox> {
        self.held.as_ref().map(|(inbox, _)| &**inbox)
    }

    /// Closes an inbox that left the table.
    pub(super) fn close_inbox(&mut self, inbox: &Inbox, discard: Option<DropReason>) {
        // It has come and is counted, so it is taken beyond the limits this once.
        if let Some((_, run)) = self.held.take_if(|(held, _)| std::ptr::eq(&raw const **held, inbox)) {
            inbox
                .queue
                .push(&run, &inbox.account, 0, OnFull::Exceed { block: false });
        }
        match discard {
            Some(reason) => {
                inbox.queue.discard(|_| reason);
            }
            None => inbox.queue.finish(),
        }
    }

    /// Processes the whole frames at the front of `data`. Gives how many bytes they have and whether a full inbox stopped it (`resume` is
    /// woken when there is room again). What came before an invalid frame is delivered all the same. `whole` is `data`, if that is one
    /// frame, which may be kept then.
    pub(super) fn ingest(
        &mut self,
        data: &[u8],
        whole: Option<&Bytes>,
        resume: &Arc<dyn Wake>,
        events: &mut Vec<ControlEvent>,
    ) -> Result<(usize, bool)> {
        if let Some((inbox, run)) = self.held.take()
            && self.push_blocking(&inbox, run, resume)
        {
            return Ok((0, true));
        }
        let mut at = 0;
        let mut run: Option<RunBuilder<'_>> = None;
        let mut stopped = false;
        let end = loop {
            let rest = data.get(at..).unwrap_or_default();
            let (kind, body) = match frame::next(rest, self.max_frame) {
                Ok(Some(found)) => found,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            };
            let len = PREFIX + body.len();
            if kind == Kind::Message {
                let summary = match self.check(body) {
                    Ok(summary) => summary,
                    Err(error) => break Err(error),
                };
                match &mut run {
                    Some(builder) if builder.accepts(&summary, len) => builder.add(len),
                    _ => {
                        if self.deliver(data, whole, run.take(), resume) {
                            stopped = true;
                            break Ok(());
                        }
                        run = Some(RunBuilder::new(summary, at, len, self.route(summary.topic)));
                    }
                }
            } else {
                if self.deliver(data, whole, run.take(), resume) {
                    stopped = true;
                    break Ok(());
                }
                self.handle_text(body, events)?;
            }
            at += len;
        };
        stopped |= self.deliver(data, whole, run.take(), resume);
        end.map(|()| (at, stopped))
    }

    fn check<'d>(&mut self, body: &'d [u8]) -> Result<Summary<'d>> {
        wire::check(self.dialect, body, &mut self.topics).map_err(|refusal| {
            self.decode_errors += 1;
            match refusal {
                Refusal::Malformed(error) => Error::Decode(error),
                Refusal::Topic { error, .. } => Error::Topic(error),
                Refusal::Type { reason, .. } => Error::Protocol(reason.to_owned()),
            }
        })
    }

    pub(super) fn route(&mut self, topic: Utf8<'_>) -> Arc<[Arc<Inbox>]> {
        let (matcher, subscriptions, unsubscribes) = (&self.matcher, &self.subscriptions, &self.unsubscribes);
        let route = self.routes.get_or_insert_with(topic, self.generation, || {
            let mut ids = Vec::new();
            matcher.find(topic.text(), |_, id| ids.push(id));
            ids.sort_unstable();
            ids.dedup();
            ids.iter()
                .filter_map(|id| match subscriptions.get(*id) {
                    Some(entry) => entry.live.then_some(&entry.inbox),
                    None => unsubscribes.receiving_inbox(*id),
                })
                .map(Arc::clone)
                .collect()
        });
        Arc::clone(route)
    }

    /// Pushes a finished run to its inboxes. True if a blocking inbox is full; then what it has not taken is held.
    fn deliver(
        &mut self,
        data: &[u8],
        whole: Option<&Bytes>,
        run: Option<RunBuilder<'_>>,
        resume: &Arc<dyn Wake>,
    ) -> bool {
        let Some(builder) = run else { return false };
        let receivers = || {
            builder
                .route
                .iter()
                .filter(|inbox| builder.summary.event.is_some() || inbox.subscription.include_control)
        };
        let bytes = data.get(builder.start..builder.end).unwrap_or_default();
        // With one subscription the broker has applied its filters; with several it may have sent this for another, and for one that was
        // ended here until the broker says so.
        if self.subscriptions.len() + self.unsubscribes.len() > 1 && receivers().any(|inbox| inbox.filters.is_some()) {
            self.deliver_filtered(bytes, receivers());
            return false;
        }
        if receivers().next().is_none() {
            return false;
        }
        let copy = || self.headroom.copy(bytes, builder.messages);
        let Some(run) = whole.map_or_else(copy, |frame| self.headroom.keep(frame)) else {
            receivers().for_each(|inbox| inbox.push_gap(u64::from(builder.messages), DropReason::NoMemory));
            return false;
        };
        for inbox in receivers() {
            if inbox.block {
                // A blocking subscription has the connection to itself, so nobody else gets this.
                return self.push_blocking(inbox, run, resume);
            }
            inbox.push(&run, OnFull::Overflow);
        }
        false
    }

    /// True if the inbox is full; then what it has not taken is held.
    fn push_blocking(&mut self, inbox: &Arc<Inbox>, run: Run, resume: &Arc<dyn Wake>) -> bool {
        if let Some(final_push) = self.final_push {
            push_final(inbox, &run, final_push);
            return false;
        }
        let Pushed::Full { taken, .. } = inbox.push(&run, OnFull::Wait(resume)) else {
            return false;
        };
        self.held = Some((Arc::clone(inbox), run.skip_first(taken)));
        true
    }

    pub(super) fn deliver_filtered<'i>(&self, bytes: &[u8], receivers: impl Iterator<Item = &'i Arc<Inbox>> + Clone) {
        for (frame, body) in frame::split(bytes) {
            let run = self.headroom.copy(frame, 1);
            // It was found well-formed before: what cannot be read now has no memory for what it is made of. No filter refuses it then.
            let read = wire::read(self.dialect, body).ok();
            let refuses = |filters: &Filters| {
                let refused_by = |(message, event): &(_, Option<_>)| !filters.accept(message, event.as_ref());
                read.as_ref().is_some_and(refused_by)
            };
            for inbox in receivers.clone() {
                if inbox.filters.as_ref().is_some_and(refuses) {
                    continue;
                }
                let is_readable = read.is_some() || inbox.filters.is_none();
                match run.as_ref().filter(|_| is_readable) {
                    Some(run) => drop(inbox.push(run, OnFull::Overflow)),
                    None => inbox.push_gap(1, DropReason::NoMemory),
                }
            }
        }
    }

    fn handle_text(&mut self, body: &[u8], events: &mut Vec<ControlEvent>) -> Result<()> {
        match FromBroker::parse(body)? {
            FromBroker::Ping => events.push(ControlEvent::Ping),
            FromBroker::Pong => events.push(ControlEvent::Pong),
            FromBroker::Bye(bye) => events.push(ControlEvent::Bye(bye.reason)),
            FromBroker::Ok(ok) => self.handle_ok(ok),
            FromBroker::Err(err) => match err.id {
                Some(id) => self.handle_err(id, err),
                None if err.topic.is_some() || err.sequence.is_some() => {
                    events.push(ControlEvent::Refused(err));
                }
                None => events.push(ControlEvent::Error(err)),
            },
            FromBroker::Dropped(dropped) => {
                for (id, count) in dropped.subscriptions {
                    if let Some(entry) = self.subscriptions.get(id) {
                        entry
                            .inbox
                            .queue
                            .push_gap(count, &entry.inbox.account, 0, DropReason::AtBroker);
                    } else if let Some(inbox) = self.unsubscribes.receiving_inbox(id) {
                        inbox.queue.count_lost(count, DropReason::AtBroker);
                    }
                }
            }
            // INFO belongs to the handshake; verbs of a newer broker are not for us.
            FromBroker::Info(_) | FromBroker::Unknown(_) => {}
        }
        events.extend(self.requests.next().map(ControlEvent::SendStats));
        if self.subscriptions.has_unsent() && self.room() > 0 {
            events.push(ControlEvent::SubscribeMore);
        }
        Ok(())
    }

    fn handle_ok(&mut self, ok: text::OkText) {
        let Some(id) = ok.id else { return };
        if self.answer_unsubscribe(id) {
            return;
        }
        if let Some(ticket) = self.requests.answered(id) {
            ticket.resolve(requests::answer_from(ok));
        } else if self.subscriptions.confirm(id) {
            self.invalidate_routes();
        }
    }

    /// A subscription is new: routes that were looked up before lack it.
    pub(super) const fn invalidate_routes(&mut self) {
        self.generation += 1;
    }

    /// Takes the answer to the SUB or the UNSUB of a subscription that is being ended. False if `id` is not one. A refusal says that the
    /// broker has no such subscription, which is what was asked for.
    fn answer_unsubscribe(&mut self, id: u64) -> bool {
        match self.unsubscribes.answer(id) {
            Answered::Other => return false,
            Answered::Sub => self.invalidate_routes(),
            Answered::Unsub(unsubscribe) => {
                if let Some(ticket) = self.finish_unsubscribe(id, unsubscribe) {
                    ticket.resolve(Ok(Answer::Done));
                }
            }
        }
        true
    }

    fn handle_err(&mut self, id: u64, err: text::ErrText) {
        if self.answer_unsubscribe(id) {
            return;
        }
        let error = err.into_error(Peer::own_uid());
        if let Some(ticket) = self.requests.answered(id) {
            ticket.resolve(Err(error));
        } else if let Some(entry) = self.remove(id) {
            entry.inbox.refuse(&error);
            self.close_inbox(&entry.inbox, None);
            entry.inbox.detach();
            match entry.ticket {
                Some(ticket) => ticket.resolve(Err(error)),
                // It was open before the connection broke, and its reader may not notice for long.
                None => {
                    if let Some(suppressed) = self.log.due("subscription_ended") {
                        tracing::warn!(
                            target: "daemoneye_eventbus::client",
                            reason = "subscription_ended",
                            subscriber_id = %*entry.inbox.subscription.subscriber_id,
                            suppressed,
                            "the broker does not take this subscription again: {error}"
                        );
                    }
                }
            }
        }
    }
}

fn push_final(inbox: &Inbox, run: &Run, final_push: FinalPush) {
    let on_full = match final_push {
        FinalPush::Exceed => OnFull::Exceed { block: false },
        FinalPush::Drop => OnFull::Try { block: true },
    };
    if let Pushed::Full { taken, .. } = inbox.push(run, on_full) {
        inbox.push_gap(u64::from(run.messages - taken), DropReason::Disconnected);
    }
}
