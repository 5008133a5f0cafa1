//! What a peer of the original says: frames are split whatever they are, and each is one of a few things.
//!
//! Guarantees: nothing is routed that is not wholly understood; nothing is sized by a number that the peer sent; what it may not
//! publish, and what no dialect knows, costs it that message and not the connection, unless the stream itself cannot be followed.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Original, Stage};
use crate::broker::deliver::Delivery;
use crate::broker::rights::look_up;
use crate::broker::route::{LaneKind, RouteStatus};
use crate::broker::session::SLOW_TURN;
use crate::broker::session::ingest::{add, let_go};
use crate::broker::shared::Phase;
use crate::broker::statistics::Refusal;
use crate::queue::OnFull;
use crate::wire::auth;
use crate::wire::frame::PREFIX;
use crate::wire::original::{self, OriginalFrame};
use crate::wire::text::FromClient;
use crate::wire::{self, Dialect};

impl Original {
    /// Learns the dialect of a peer whose first frame is a message.
    pub(super) fn look_at_dialect(&mut self) {
        if let Ok(Some(body)) = original::next(&self.pending, self.shared.config.max_frame)
            && OriginalFrame::classify(body) == OriginalFrame::Message
        {
            wire::learn(&mut self.dialect, body, self.shared.config.original_dialect);
        }
    }

    /// Works off what was read before together with `data`; keeps a frame's beginning, and whole frames where they take long.
    pub(super) fn take(&mut self, data: &[u8]) {
        let mut pending = std::mem::take(&mut self.pending);
        if let Err(error) = add(&self.shared.headroom, &mut pending, data) {
            return self.cut(Refusal::NoMemory, &error.to_string());
        }
        let (mut at, began) = (0, Instant::now());
        self.behind = false;
        while self.stage == Stage::Open && self.connect.is_none() && !self.behind {
            let rest = pending.get(at..).unwrap_or_default();
            match original::next(rest, self.shared.config.max_frame) {
                Ok(Some(body)) => {
                    let frame = rest.get(..PREFIX + body.len()).unwrap_or_default();
                    self.handle_frame(frame, body);
                    at += frame.len();
                    // The broker's end is over soon whatever it sends.
                    self.behind = began.elapsed() >= SLOW_TURN && self.shared.phase() == Phase::Running;
                }
                Ok(None) => break,
                Err(error) => self.cut(Refusal::FrameTooLarge, &error.to_string()),
            }
        }
        pending.drain(..at);
        if pending.is_empty() || self.behind {
            self.frame_since = None;
        } else if at > 0 || self.frame_since.is_none() {
            self.frame_since = Some(Instant::now());
        }
        self.pending = pending;
        if self.behind {
            self.claim.keep(self.pending.len());
        } else if !self.claim.cover(&self.pending) {
            self.frame_since = None;
        }
        let_go(&self.shared.headroom, &mut self.pending, self.claim.given());
    }

    fn handle_frame(&mut self, frame: &[u8], body: &[u8]) {
        match OriginalFrame::classify(body) {
            OriginalFrame::Ping if self.is_proven() => self.note_health_check(),
            // Whoever has a token says it with the check; whoever has none is sent nothing.
            OriginalFrame::Ping | OriginalFrame::Pong => {}
            OriginalFrame::Proof(proof) => self.prove(proof),
            OriginalFrame::Message => self.message(frame, body),
            OriginalFrame::Connect => match FromClient::parse(body) {
                Ok(FromClient::Connect(connect)) => self.connect = Some(Box::new(connect)),
                Ok(_) => self.shared.counters.note(Refusal::UnknownVerb),
                Err(error) => self.cut(Refusal::Protocol, &error.to_string()),
            },
            OriginalFrame::BarePayload if body.is_empty() => self.cut(Refusal::Protocol, "empty frame"),
            OriginalFrame::BarePayload => self.shared.counters.note(Refusal::Bare),
        }
    }

    /// It checks the connection: the answer is the next frame that it is sent.
    fn note_health_check(&mut self) {
        let now = Instant::now();
        self.pongs += 1;
        self.pace.note_check(now);
        self.reading.note_check(now);
    }

    fn prove(&mut self, proof: &str) {
        let config = &self.shared.config;
        if !config.original_auth {
            // A broker without token has nothing to compare with, and the peer waits for its answer.
            return self.note_health_check();
        }
        let proved = auth::find_token(&config.tokens, |token| token.verify_original(proof));
        let Some(token) = proved.map(|token| token.name().map(str::to_owned)) else {
            self.refused = true;
            return self.cut(Refusal::AuthenticationFailed, "it did not prove the token");
        };
        self.note_health_check();
        if !self.is_proven() {
            self.join(token.as_deref());
        }
    }

    fn message(&mut self, frame: &[u8], body: &[u8]) {
        let default = self.shared.config.original_dialect;
        let Some(dialect) = wire::learn(&mut self.dialect, body, default) else {
            return self.cut(Refusal::Decode, "a message of no dialect of the original");
        };
        if !self.is_proven() {
            return self.shared.counters.note(Refusal::Unproven);
        }
        match wire::check(dialect, body, self.shared.config.max_topic_depth) {
            Ok(summary) => self.route(dialect, frame, &summary),
            Err(wire::Refusal::Topic { .. }) => self.shared.counters.note(Refusal::Topic),
            Err(wire::Refusal::Type { .. }) => self.shared.counters.note(Refusal::MessageType),
            // The original forwards what it is given, also as an event: the message is whole, its payload is not.
            Err(wire::Refusal::Malformed(_)) if dialect.outline(body).is_ok() => {
                self.shared.counters.note(Refusal::Decode);
            }
            Err(wire::Refusal::Malformed(error)) => self.cut(Refusal::Decode, &error.to_string()),
        }
    }

    fn route(&mut self, dialect: Dialect, frame: &[u8], summary: &wire::Summary<'_>) {
        let shared = &self.shared;
        if let Some(meter) = &mut self.meter
            && !meter.admit(Instant::now(), frame.len())
        {
            return shared.counters.note(Refusal::RateLimit);
        }
        let route = look_up(&shared.router, self.rights.as_deref(), summary.topic.text());
        match route.status() {
            RouteStatus::Usable => {}
            RouteStatus::Refused => {
                if let Some(meter) = &mut self.meter {
                    meter.give_back();
                }
                return shared.counters.note(Refusal::Rights);
            }
            RouteStatus::NoMemory => {
                return self.cut(
                    Refusal::NoMemory,
                    "there is no memory for the list of readers of what it publishes",
                );
            }
        }
        if let Some(meter) = &mut self.meter {
            meter.settle();
        }
        shared.counters.note_published(1);
        self.client_state.published.fetch_add(1, Ordering::Relaxed);
        let lane = route.lane(LaneKind::of(summary));
        let Some(connection) = &self.reader.connection else {
            return;
        };
        let others = lane.without(connection.sink.id);
        let lane = others.as_ref().unwrap_or(lane);
        if lane.targets.is_empty() {
            return;
        }
        shared.flush_watchdog.hand_on(shared);
        // It has no way to say that it would wait, so each queue's own policy applies.
        let mut delivery =
            Delivery::new(&shared.router, shared.config.max_topic_depth, OnFull::Overflow).from(&connection.sender);
        match shared.headroom.copy(frame, 1) {
            Some(run) => delivery.frames(lane, &run, dialect, frame.len().saturating_sub(PREFIX)),
            None => {
                shared.note_no_memory(frame.len());
                delivery.lose(lane, frame, dialect);
            }
        }
        shared.trim();
    }
}
