//! From bytes that were read to runs in queues: frames are split in place, each is checked whole, and neighbours for the same readers
//! are forwarded as one run, copied once.
//!
//! Guarantees: the order of the connection is kept, between messages as well as between messages and verbs; a run's copy is exact, so
//! that what a queue charges is what it holds; nothing is sized by a number that the peer sent.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{KEPT_PENDING, SLOW_TURN, Session, Stage, Stop, VERBS_TURN};
use crate::broker::deliver::Delivery;
use crate::broker::read_room::FREE;
use crate::broker::rights::{Rights, look_up};
use crate::broker::route::{LaneKind, Route, RouteStatus};
use crate::broker::route_cache::RouteCache;
use crate::broker::router::Router;
use crate::broker::statistics::Refusal as Cut;
use crate::error::Result;
use crate::headroom::Headroom;
use crate::topic::LastTopic;
use crate::wire::frame::{self, Kind, PREFIX};
use crate::wire::text::Code;
use crate::wire::{self, Refusal, Summary};

/// Bytes after which a run is forwarded.
const RUN: usize = 64 * 1024;
const TOO_FAST: &str = "above the broker's rate_limit; publish more slowly, or with congestion \"block\", which waits";

/// What one publisher remembers of the routes to its readers.
pub(super) struct Ingest {
    routes: RouteCache,
    topics: LastTopic,
    open: Option<Open>,
}

/// Neighbouring frames for the same readers.
struct Open {
    route: Arc<Route>,
    lane_kind: LaneKind,
    bytes: Range<usize>,
    messages: u32,
    /// The largest body among them.
    largest: usize,
}

/// Whether a frame goes with the open run.
#[derive(PartialEq, Eq)]
enum Fit {
    Taken,
    /// Forward the run first.
    Other,
    /// This publisher may not publish on its topic.
    Refused,
    /// There is no memory for the list of its readers.
    NoMemory,
}

impl Ingest {
    pub(super) fn new(max_depth: usize) -> Self {
        Self {
            routes: RouteCache::new(),
            topics: LastTopic::new(max_depth),
            open: None,
        }
    }

    /// Adds the frame to the open run, or says that it does not go with it.
    #[inline]
    fn extend(
        &mut self,
        router: &Router,
        rights: Option<&Rights>,
        summary: &Summary<'_>,
        at: usize,
        body: usize,
    ) -> Fit {
        let lane_kind = LaneKind::of(summary);
        let len = PREFIX + body;
        let route = self.routes.get_or_insert_with(summary.topic, router.generation(), || {
            look_up(router, rights, summary.topic.text())
        });
        match &mut self.open {
            Some(open) => {
                if open.lane_kind != lane_kind || open.bytes.len() + len > RUN || !Arc::ptr_eq(&open.route, route) {
                    return Fit::Other;
                }
                open.bytes.end = at + len;
                open.messages += 1;
                open.largest = open.largest.max(body);
            }
            none => {
                match route.status() {
                    RouteStatus::Usable => {}
                    RouteStatus::Refused => return Fit::Refused,
                    RouteStatus::NoMemory => return Fit::NoMemory,
                }
                *none = Some(Open {
                    route: Arc::clone(route),
                    lane_kind,
                    bytes: at..at + len,
                    messages: 1,
                    largest: body,
                });
            }
        }
        Fit::Taken
    }
}

impl Session {
    /// Works off what was read before together with `data`; keeps what cannot be worked off yet.
    pub(super) fn take(&mut self, mut data: &[u8]) {
        let mut whole = false;
        if self.stop.is_some() {
            return self.keep(data);
        }
        self.shared.flush_watchdog.hand_on(&self.shared);
        if !self.pending.is_empty() {
            data = match top_up(&self.shared.headroom, &mut self.pending, data) {
                Ok(rest) => rest,
                Err(error) => return self.cut_for_memory(&error.to_string()),
            };
            let pending = std::mem::take(&mut self.pending);
            let used = self.work_off(&pending);
            whole |= used > 0;
            if self.stage != Stage::Open {
                return;
            }
            self.pending = pending;
            if used == self.pending.len() {
                self.pending.clear();
            } else {
                self.pending.drain(..used);
                self.keep(data);
                data = &[];
            }
        }
        if !data.is_empty() {
            // The frame before may have stopped the session; then the rest is kept as it came.
            let used = if self.stop.is_none() { self.work_off(data) } else { 0 };
            whole |= used > 0;
            if self.stage == Stage::Open {
                self.keep(data.get(used..).unwrap_or_default());
            }
        }
        if self.stage != Stage::Open {
            return;
        }
        self.pay_ahead();
        if self.stop.is_some() {
            self.claim.keep(self.pending.len() + self.waits_with);
        } else if !self.claim.cover(&self.pending) {
            self.stop = Some(Stop::Room);
        }
        // What waits for full queues is a copy, and has its part of what was given.
        let room = self.claim.given().saturating_sub(self.waits_with);
        let_go(&self.shared.headroom, &mut self.pending, room);
        self.clock
            .note_frames(whole, !self.pending.is_empty() && self.stop.is_none());
    }

    /// A frame that takes room is paid for before it has any: who waits for his rate would keep it from others for as long.
    fn pay_ahead(&mut self) {
        if !self.block || self.stop.is_some() || self.pending.len() <= FREE || !frame::is_message(&self.pending) {
            return;
        }
        if let (Some(meter), Some(len)) = (&mut self.meter, frame::claimed_len(&self.pending)) {
            let now = Instant::now();
            if !meter.admit(now, len) {
                self.stop = Some(Stop::Paced(meter.line_up(now, len)));
            }
        }
    }

    /// Keeps what cannot be worked off yet. Where there is no memory for it the connection ends: its bytes cannot be followed any more.
    pub(super) fn keep(&mut self, data: &[u8]) {
        if let Err(error) = self.shared.headroom.append(&mut self.pending, data) {
            self.cut_for_memory(&error.to_string());
        }
    }

    /// Ends the connection: there is no memory for what it sends, or for what it must be told.
    #[cold]
    pub(super) fn cut_for_memory(&mut self, message: &str) {
        self.cut_for(Cut::NoMemory, Code::Busy, message);
    }

    /// Routes and answers whole frames from the front of `data` until one is incomplete or something stops the session. Gives the bytes
    /// that are done with.
    fn work_off(&mut self, data: &[u8]) -> usize {
        let used = self.work(data);
        self.tell_refusals();
        used
    }

    fn work(&mut self, data: &[u8]) -> usize {
        let max_frame = self.connection.sink.max_frame;
        let dialect = self.connection.sink.dialect;
        let now = self.meter.is_some().then(Instant::now);
        let mut at = 0;
        while let Some(rest) = data.get(at..) {
            let (kind, body) = match frame::next(rest, max_frame) {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(error) => {
                    if self.ship(data) {
                        self.cut_by(&error.into());
                    }
                    return at;
                }
            };
            match kind {
                Kind::Message => match wire::check(dialect, body, &mut self.ingest.topics) {
                    Ok(summary) => {
                        let len = PREFIX + body.len();
                        if let (Some(meter), Some(now)) = (&mut self.meter, now)
                            && !meter.admit(now, len)
                        {
                            // Before it lines up: who waits for full queues would keep others from their turn.
                            if !self.ship(data) {
                                return at;
                            }
                            if self.block {
                                let meter = self.meter.as_mut();
                                self.stop = meter.map(|meter| Stop::Paced(meter.line_up(now, len)));
                                return at;
                            }
                            self.refuse_publish(Code::RateLimit, TOO_FAST, summary.topic.text(), summary.sequence);
                            at += len;
                            continue;
                        }
                        if !self.gather(data, &summary, at, body.len()) {
                            return at;
                        }
                        if let Some(meter) = &mut self.meter {
                            meter.settle();
                        }
                    }
                    Err(refusal) => {
                        if !self.ship(data) {
                            return at;
                        }
                        if let Some(meter) = &mut self.meter {
                            meter.settle();
                        }
                        self.refuse(refusal);
                    }
                },
                Kind::Text => {
                    if !self.ship(data) {
                        return at;
                    }
                    self.tell_refusals();
                    if self.turn_is_over(VERBS_TURN) {
                        self.stop = Some(Stop::Turn);
                        return at;
                    }
                    let began = Instant::now();
                    self.handle_text(body);
                    self.spent_this_turn += began.elapsed();
                }
                Kind::AuthText => {
                    if self.ship(data) {
                        self.cut(
                            Code::Protocol,
                            "authentication text of the original has no place in this connection",
                        );
                    }
                    return at;
                }
            }
            at += PREFIX + body.len();
            if self.stop.is_some() || self.stage != Stage::Open {
                return at;
            }
            let looked_up = self.ingest.routes.take_looked_up();
            if !looked_up.is_zero() {
                self.spent_this_turn += looked_up;
                if self.turn_is_over(SLOW_TURN) {
                    if self.ship(data) {
                        self.stop = Some(Stop::Turn);
                    }
                    return at;
                }
            }
        }
        self.ship(data);
        at
    }

    /// Adds a frame to the open run, or begins another with it. False if full queues make this publisher wait; then it is as if the
    /// frame had not been looked at.
    #[inline]
    fn gather(&mut self, data: &[u8], summary: &Summary<'_>, at: usize, body: usize) -> bool {
        let rights = self.rights.as_deref();
        match self.ingest.extend(&self.shared.router, rights, summary, at, body) {
            Fit::Taken => true,
            fit => self.gather_apart(data, fit, summary, at, body),
        }
    }

    #[inline(never)]
    fn gather_apart(&mut self, data: &[u8], mut fit: Fit, summary: &Summary<'_>, at: usize, body: usize) -> bool {
        if fit == Fit::Other {
            if !self.ship(data) {
                return false;
            }
            let rights = self.rights.as_deref();
            fit = self.ingest.extend(&self.shared.router, rights, summary, at, body);
        }
        match fit {
            Fit::Refused => {
                let why = self.rights.as_ref().map(|rights| rights.publish_refusal("this topic"));
                self.refuse_publish(
                    Code::Rights,
                    &why.unwrap_or_default(),
                    summary.topic.text(),
                    summary.sequence,
                );
            }
            Fit::NoMemory => self.cut_for_memory("there is no memory for the list of readers of what it publishes"),
            Fit::Taken | Fit::Other => {}
        }
        true
    }

    /// Forwards the open run. False if full queues make this publisher wait, or others have their turn now; then the run is done with all
    /// the same.
    fn ship(&mut self, data: &[u8]) -> bool {
        let Some(open) = self.ingest.open.take() else {
            return true;
        };
        let messages = u64::from(open.messages);
        self.shared.counters.note_published(messages);
        self.connection
            .client_state
            .published
            .fetch_add(messages, Ordering::Relaxed);
        let lane = open.route.lane(open.lane_kind);
        if lane.targets.is_empty() {
            return true;
        }
        let frames = data.get(open.bytes).unwrap_or_default();
        let dialect = self.connection.sink.dialect;
        let mut delivery = Delivery::new(&self.shared.router, self.shared.config.max_topic_depth, self.on_full())
            .from(&self.connection.sender);
        match self.shared.headroom.copy(frames, open.messages) {
            Some(run) => delivery.frames(lane, &run, dialect, open.largest),
            None => {
                self.shared.note_no_memory(frames.len());
                delivery.lose(lane, frames, dialect);
            }
        }
        let per_message_time = delivery.per_message_time();
        self.waiting = delivery.finish();
        self.shared.trim();
        self.spent_this_turn += per_message_time;
        if self.waiting.is_some() {
            self.waits_with = frames.len();
            self.stop = Some(Stop::Congested);
            return false;
        }
        if !per_message_time.is_zero() && self.turn_is_over(SLOW_TURN) {
            self.stop = Some(Stop::Turn);
            return false;
        }
        true
    }

    fn refuse(&mut self, refusal: Refusal<'_>) {
        match refusal {
            Refusal::Malformed(error) => self.cut(Code::Decode, &error.to_string()),
            Refusal::Topic { error, sequence } => {
                self.refuse_publish(Code::Topic, &error.kind, &error.topic, sequence);
            }
            Refusal::Type {
                reason,
                topic,
                sequence,
            } => self.refuse_publish(Code::MessageType, reason, topic, sequence),
        }
    }
}

/// Lets go of what was taken for frames that are done with: a connection that holds nothing keeps little, any other at most twice what it
/// holds or has `room` for.
pub(super) fn let_go(headroom: &Headroom, pending: &mut Vec<u8>, room: usize) {
    if pending.is_empty() {
        if pending.capacity() > KEPT_PENDING {
            *pending = Vec::new();
        }
    } else if pending.capacity() / 2 > room.max(FREE).max(pending.len()) {
        let mut kept = Vec::new();
        // Without memory for a copy it stays where it is.
        if headroom.append(&mut kept, pending).is_ok() {
            *pending = kept;
        }
    }
}

/// Adds `data` to the frame that `pending` begins with, and keeps what comes behind it.
pub(super) fn add(headroom: &Headroom, pending: &mut Vec<u8>, data: &[u8]) -> Result<()> {
    let rest = top_up(headroom, pending, data)?;
    headroom.append(pending, rest)
}

/// Moves from `data` to `pending` what its first frame still lacks; gives the rest. A forged length moves no more than was read.
fn top_up<'d>(headroom: &Headroom, pending: &mut Vec<u8>, data: &'d [u8]) -> Result<&'d [u8]> {
    let data = fill(headroom, pending, PREFIX, data)?;
    match frame::claimed_len(pending) {
        Some(len) => fill(headroom, pending, len, data),
        None => Ok(data),
    }
}

fn fill<'d>(headroom: &Headroom, pending: &mut Vec<u8>, len: usize, data: &'d [u8]) -> Result<&'d [u8]> {
    let (missing, rest) = data
        .split_at_checked(len.saturating_sub(pending.len()))
        .unwrap_or((data, &[]));
    // A large frame is given what it needs in the end and no more, however many steps it takes.
    let needed = pending.len() + missing.len();
    if needed > pending.capacity() && len > KEPT_PENDING {
        let capacity = needed.max(pending.capacity().saturating_mul(2).min(len));
        headroom.try_reserve(pending, capacity - pending.len());
    }
    headroom.append(pending, missing)?;
    Ok(rest)
}
