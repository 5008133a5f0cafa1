//! The receiving half of a link: bytes in; messages for inboxes and happenings out. Does no I/O.
//!
//! The broker sends a message once per connection; here it is handed to each subscription that matches, with the same matcher and
//! filters. Consecutive messages of one topic are handed over as one run. A subscription gets what stands behind the answer to its SUB,
//! and nothing that was sent before for others of the connection.

use std::sync::Arc;

use super::entries::{Entries, Entry};
use super::inbox::Inbox;
use super::leaving::{Answered, Leavers, Leaving};
use super::open::Open;
use super::questions::{self, MAX_ASKED, Questions};
use super::ticket::{Answer, Ticket};
use crate::error::{Error, Result};
use crate::event::Utf8;
use crate::headroom::Headroom;
use crate::log::Limiter;
use crate::queue::{DropReason, OnFull, Pushed, Run, Wake};
use crate::topic::{Cache, DEFAULT_MAX_DEPTH, LastTopic, Matcher};
use crate::wire::frame::{self, Kind, PREFIX};
use crate::wire::text::{self, FromBroker, Stats};
use crate::wire::{self, Dialect, Refusal, Summary};

const CACHED_TOPICS: usize = 1024;

/// What the stream said besides messages and answers.
#[derive(Debug)]
pub(super) enum Happening {
    Ping,
    Pong,
    Bye(Option<String>),
    /// An answer came, and in its place this is to be asked.
    Asks(Stats),
    /// An answer came, and there is room for subscriptions that wait to be asked for.
    Room,
    /// An `ERR` about the connection.
    Error(text::ErrText),
    /// An `ERR` about refused publishes.
    Refused(text::ErrText),
}

/// What becomes of the last of a connection for a blocking inbox that is full.
#[derive(Clone, Copy)]
enum Last {
    Taken,
    /// The inbox is beyond its limits already, by the connection before.
    Lost,
}

pub(super) struct Inbound {
    pub(super) dialect: Dialect,
    pub(super) max_frame: usize,
    pub(super) topics: LastTopic,
    pub(super) entries: Entries,
    /// How many of them block.
    blocking: usize,
    pub(super) questions: Questions,
    pub(super) leaving: Leavers,
    next_id: u64,
    matcher: Matcher<u64>,
    generation: u64,
    routes: Cache<Arc<[Arc<Inbox>]>>,
    pub(super) undecodable: u64,
    /// What an original broker was found to speak on the present connection.
    pub(super) spoken: Option<Dialect>,
    /// Bytes consumed so far; tells whether anybody reads.
    pub(super) consumed: u64,
    /// What a full blocking inbox has still to take before anything else is looked at.
    held: Option<(Arc<Inbox>, Run)>,
    /// The connection is over, and what came of it is handed over now or never.
    last: Option<Last>,
    headroom: Headroom,
    log: Arc<Limiter>,
}

impl Inbound {
    pub(super) fn new(dialect: Dialect, max_frame: usize, log: Arc<Limiter>) -> Self {
        Self {
            dialect,
            max_frame,
            topics: LastTopic::new(DEFAULT_MAX_DEPTH),
            entries: Entries::default(),
            blocking: 0,
            questions: Questions::default(),
            leaving: Leavers::default(),
            next_id: 1,
            matcher: Matcher::default(),
            generation: 0,
            routes: Cache::new(CACHED_TOPICS),
            undecodable: 0,
            spoken: None,
            consumed: 0,
            held: None,
            last: None,
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
        self.entries.insert(id, inbox, ticket);
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
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

    /// UNSUB is being written for an entry that was removed and settled. It matches until the broker has confirmed.
    pub(super) fn leave(&mut self, id: u64, entry: Entry, ticket: Option<Ticket>) {
        let Entry { inbox, live, .. } = entry;
        for pattern in &inbox.patterns {
            self.matcher.insert(pattern, id);
        }
        let subscribing = !live;
        self.leaving.insert(
            id,
            Leaving {
                ticket,
                inbox,
                subscribing,
            },
        );
    }

    fn has_gone(&mut self, id: u64, leaving: Leaving) -> Option<Ticket> {
        self.unmatch(id, &leaving.inbox);
        leaving.inbox.starve();
        leaving.ticket
    }

    /// The same for one that was asked for on a connection which is not live yet.
    pub(super) fn leave_later(&mut self, id: u64, entry: Entry) {
        self.leave(id, entry, None);
        self.leaving.tell_later(id);
    }

    /// Everybody who waits for an answer that the present connection can no longer give.
    pub(super) fn give_up_answers(&mut self) -> Vec<Ticket> {
        let mut tickets: Vec<Ticket> = self.questions.take();
        for (id, leaving) in self.leaving.take_all() {
            tickets.extend(self.has_gone(id, leaving));
        }
        tickets
    }

    /// The connection is over; what came of it and was not looked at yet is handed over next.
    pub(super) fn begin_last(&mut self) {
        self.last = Some(self.last());
    }

    fn last(&self) -> Last {
        let is_exceeded = |entry: &Entry| entry.inbox.block && entry.inbox.queue.is_exceeded();
        if self.entries.iter().any(is_exceeded) {
            Last::Lost
        } else {
            Last::Taken
        }
    }

    /// The connection that knew of them is gone.
    pub(super) fn unsend_all(&mut self) {
        if let Some((inbox, run)) = self.held.take() {
            let last = self.last.unwrap_or_else(|| self.last());
            take_last(&inbox, &run, last);
        }
        self.last = None;
        self.generation += 1;
        self.entries.unsend_all();
        for (id, leaving) in self.leaving.take_unawaited() {
            self.has_gone(id, leaving);
        }
    }

    /// Those that the present connection does not know, as many as it has room for.
    pub(super) fn send_some(&mut self) -> Vec<(u64, Arc<Inbox>)> {
        self.entries.send(self.room())
    }

    fn room(&self) -> usize {
        MAX_ASKED.saturating_sub(self.entries.unanswered() + self.leaving.len())
    }

    /// Whether a full inbox may keep the connection from being read.
    pub(super) const fn may_pause(&self) -> bool {
        self.blocking > 0
    }

    /// Closes an inbox that left the table.
    pub(super) fn settle(&mut self, inbox: &Inbox, discard: Option<DropReason>) {
        // It came in and stays in the account, over the limit this once.
        if let Some((_, run)) = self.held.take_if(|(held, _)| std::ptr::eq(&raw const **held, inbox)) {
            inbox.queue.push(&run, &inbox.account, 0, OnFull::Exceed);
        }
        match discard {
            Some(reason) => {
                inbox.queue.discard(|_| reason);
            }
            None => inbox.queue.finish(),
        }
    }

    /// Takes whole frames off the front of `data`. Gives how many bytes were used and whether a full inbox stopped it (its waker is woken
    /// when it goes on). What came before a frame that cannot be is handed over all the same.
    pub(super) fn ingest(
        &mut self,
        data: &[u8],
        resume: &Arc<dyn Wake>,
        happened: &mut Vec<Happening>,
    ) -> Result<(usize, bool)> {
        if let Some((inbox, run)) = self.held.take()
            && self.push_blocking(&inbox, run, resume)
        {
            return Ok((0, true));
        }
        let mut at = 0;
        let mut run: Option<Open<'_>> = None;
        let mut stopped = false;
        let whole = loop {
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
                    Some(open) if open.takes(&summary, len) => open.add(len),
                    _ => {
                        if self.hand_over(data, run.take(), resume) {
                            stopped = true;
                            break Ok(());
                        }
                        run = Some(Open::new(summary, at, len, self.route(summary.topic)));
                    }
                }
            } else {
                if self.hand_over(data, run.take(), resume) {
                    stopped = true;
                    break Ok(());
                }
                self.text(body, happened)?;
            }
            at += len;
        };
        stopped |= self.hand_over(data, run.take(), resume);
        self.consumed += at as u64;
        whole.map(|()| (at, stopped))
    }

    fn check<'d>(&mut self, body: &'d [u8]) -> Result<Summary<'d>> {
        wire::check(self.dialect, body, &mut self.topics).map_err(|refusal| {
            self.undecodable += 1;
            match refusal {
                Refusal::Malformed(error) => Error::Decode(error),
                Refusal::Topic { error, .. } => Error::Topic(error),
                Refusal::Type { reason, .. } => Error::Protocol(reason.to_owned()),
            }
        })
    }

    pub(super) fn route(&mut self, topic: Utf8<'_>) -> Arc<[Arc<Inbox>]> {
        let (matcher, entries, leaving) = (&self.matcher, &self.entries, &self.leaving);
        let route = self.routes.get_or_insert_with(topic, self.generation, || {
            let mut ids = Vec::new();
            matcher.find(topic.text(), |_, id| ids.push(id));
            ids.sort_unstable();
            ids.dedup();
            ids.iter()
                .filter_map(|id| match entries.get(*id) {
                    Some(entry) => entry.live.then_some(&entry.inbox),
                    None => leaving.fed(*id),
                })
                .map(Arc::clone)
                .collect()
        });
        Arc::clone(route)
    }

    /// Pushes a finished run to its inboxes. True if a blocking inbox is full; then it is held for it.
    fn hand_over(&mut self, data: &[u8], run: Option<Open<'_>>, resume: &Arc<dyn Wake>) -> bool {
        let Some(open) = run else { return false };
        let takers = || {
            open.route
                .iter()
                .filter(|inbox| open.summary.event.is_some() || inbox.subscription.include_control)
        };
        let bytes = data.get(open.start..open.end).unwrap_or_default();
        // With one subscription the broker has applied its filters; with several it may have sent this for another, and for one that was
        // ended here until the broker says so.
        if self.entries.len() + self.leaving.len() > 1 && takers().any(|inbox| inbox.filters.is_some()) {
            self.hand_over_filtered(bytes, takers());
            return false;
        }
        if takers().next().is_none() {
            return false;
        }
        let Some(run) = self.headroom.copy(bytes, open.messages) else {
            takers().for_each(|inbox| inbox.miss(u64::from(open.messages), DropReason::NoMemory));
            return false;
        };
        for inbox in takers() {
            if inbox.block {
                // A blocking subscription has the connection for itself: nobody else is to have this.
                return self.push_blocking(inbox, run, resume);
            }
            inbox.take(&run, OnFull::Overflow);
        }
        false
    }

    /// True if the inbox is full; then what it has not taken is held.
    fn push_blocking(&mut self, inbox: &Arc<Inbox>, run: Run, resume: &Arc<dyn Wake>) -> bool {
        if let Some(last) = self.last {
            take_last(inbox, &run, last);
            return false;
        }
        let Pushed::Full { taken, .. } = inbox.take(&run, OnFull::Wait(resume)) else {
            return false;
        };
        self.held = Some((Arc::clone(inbox), run.skip_first(taken)));
        true
    }

    pub(super) fn hand_over_filtered<'i>(&self, bytes: &[u8], takers: impl Iterator<Item = &'i Arc<Inbox>> + Clone) {
        for (frame, body) in frame::split(bytes) {
            let run = self.headroom.copy(frame, 1);
            let Ok((message, event)) = wire::read(self.dialect, body) else {
                continue;
            };
            for inbox in takers.clone() {
                if inbox
                    .filters
                    .as_ref()
                    .is_none_or(|filters| filters.accept(&message, event.as_ref()))
                {
                    match &run {
                        Some(run) => drop(inbox.take(run, OnFull::Overflow)),
                        None => inbox.miss(1, DropReason::NoMemory),
                    }
                }
            }
        }
    }

    fn text(&mut self, body: &[u8], happened: &mut Vec<Happening>) -> Result<()> {
        match FromBroker::parse(body)? {
            FromBroker::Ping => happened.push(Happening::Ping),
            FromBroker::Pong => happened.push(Happening::Pong),
            FromBroker::Bye(bye) => happened.push(Happening::Bye(bye.reason)),
            FromBroker::Ok(ok) => self.answered(ok),
            FromBroker::Err(err) => match err.id {
                Some(id) => self.refused(id, err),
                None if err.topic.is_some() || err.sequence.is_some() => {
                    happened.push(Happening::Refused(err));
                }
                None => happened.push(Happening::Error(err)),
            },
            FromBroker::Dropped(dropped) => {
                for (id, count) in dropped.subscriptions {
                    if let Some(entry) = self.entries.get(id) {
                        entry
                            .inbox
                            .queue
                            .push_gap(count, &entry.inbox.account, 0, DropReason::AtBroker);
                    } else if let Some(inbox) = self.leaving.fed(id) {
                        inbox.queue.count_lost(count, DropReason::AtBroker);
                    }
                }
            }
            // INFO belongs to the handshake; verbs of a newer broker are not for us.
            FromBroker::Info(_) | FromBroker::Unknown(_) => {}
        }
        happened.extend(self.questions.next().map(Happening::Asks));
        if self.entries.has_unsent() && self.room() > 0 {
            happened.push(Happening::Room);
        }
        Ok(())
    }

    fn answered(&mut self, ok: text::OkText) {
        let Some(id) = ok.id else { return };
        if self.has_left(id) {
            return;
        }
        if let Some(ticket) = self.questions.answered(id) {
            ticket.resolve(questions::answer(ok));
        } else if self.entries.answered(id) {
            self.became_live();
        }
    }

    /// Routes that were looked up before lack it.
    pub(super) const fn became_live(&mut self) {
        self.generation += 1;
    }

    /// Takes the answer to the SUB or the UNSUB of a subscription that is being ended. False if `id` is none. A refusal says that the
    /// broker has no such subscription, which is what was asked for.
    fn has_left(&mut self, id: u64) -> bool {
        match self.leaving.answer(id) {
            Answered::Nobody => return false,
            Answered::Sub => self.became_live(),
            Answered::Unsub(leaving) => {
                if let Some(ticket) = self.has_gone(id, leaving) {
                    ticket.resolve(Ok(Answer::Done));
                }
            }
        }
        true
    }

    fn refused(&mut self, id: u64, err: text::ErrText) {
        if self.has_left(id) {
            return;
        }
        let error = err.into_error();
        if let Some(ticket) = self.questions.answered(id) {
            ticket.resolve(Err(error));
        } else if let Some(entry) = self.remove(id) {
            entry.inbox.refuse(&error);
            self.settle(&entry.inbox, None);
            entry.inbox.starve();
            match entry.ticket {
                Some(ticket) => ticket.resolve(Err(error)),
                // It was open before the connection broke, and its reader may not look for long.
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

fn take_last(inbox: &Inbox, run: &Run, last: Last) {
    let on_full = match last {
        Last::Taken => OnFull::Exceed,
        Last::Lost => OnFull::Try { block: true },
    };
    if let Pushed::Full { taken, .. } = inbox.take(run, on_full) {
        inbox.miss(u64::from(run.messages - taken), DropReason::Disconnected);
    }
}
