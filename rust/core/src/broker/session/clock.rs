//! The deadlines of one connection, kept with one coarse timer: it is moved forward only when something nearer comes up, and finds
//! out what is due when it rings. An idle connection rings once per `ping_interval`.
//!
//! Time in which the broker does not read, or in which the peer has not taken what it was sent, counts as heard. So does the time by
//! which the timer rings late: then it was the broker that slept (stopped, suspended, starved), and who could not be heard is no peer
//! that was silent. If it rings very late, nothing is known of the time before either, of which the broker may have seen a moment.
//! What is read before it rings, tells how late it is by then: a peer that keeps the session reading makes its own timer late.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{Sleep, sleep_until};

use super::handshake_reader::LOOK;
use super::{Session, Stage, Stop};
use crate::broker::read_room::GRACE;
use crate::broker::statistics::Refusal;
use crate::transport::is_gone;
use crate::wire::text::{Code, FromBroker};

/// How often a peer that is not read is asked whether it is still there.
const PROBE: Duration = Duration::from_millis(50);
const FAR: Duration = Duration::from_secs(3600);
/// So late no busy broker is.
const SLEPT: Duration = Duration::from_millis(500);

pub(super) struct Clock {
    sleep: Pin<Box<Sleep>>,
    armed: Instant,
    /// When that was decided, or, of one that is due, until when what was slept has been taken off.
    armed_at: Instant,
    heard: Instant,
    pinged: bool,
    /// Since when a frame is incomplete.
    frame_since: Option<Instant>,
    /// Since when a leaving peer must take something, and what it had taken then.
    leaving: Option<(Instant, Taken)>,
}

/// How far a peer has come: bytes that its kernel took, and what of them it has not read, where the kernel says so.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Taken {
    written: u64,
    unread: Option<usize>,
}

impl Clock {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let armed = now + FAR;
        Self {
            sleep: Box::pin(sleep_until(armed.into())),
            armed,
            armed_at: now,
            heard: now,
            pinged: false,
            frame_since: None,
            leaving: None,
        }
    }

    pub(super) async fn fired(&mut self) {
        self.sleep.as_mut().await;
    }

    pub(super) fn note_heard(&mut self) {
        self.note_heard_at(Instant::now());
    }

    fn note_heard_at(&mut self, now: Instant) {
        self.note_awake(now);
        self.heard = now;
        self.pinged = false;
    }

    /// When it was last heard.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// The peer has taken something, so it is there.
    pub(super) fn note_written(&mut self) {
        let now = Instant::now();
        self.note_awake(now);
        self.heard = now;
    }

    fn note_awake(&mut self, now: Instant) {
        if now > self.armed {
            self.forgive(now);
        }
    }

    /// `whole`: frames were completed by the last read; `partial`: another has begun.
    pub(super) fn note_frames(&mut self, whole: bool, partial: bool) {
        if !partial {
            self.frame_since = None;
        } else if whole || self.frame_since.is_none() {
            self.frame_since = Some(self.heard);
        }
    }

    /// Takes off what the broker has slept through.
    fn forgive(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.armed.max(self.armed_at));
        let asleep = if late > SLEPT {
            now.saturating_duration_since(self.armed_at)
        } else {
            late
        };
        let later = |then: Instant| then.checked_add(asleep).map_or(now, |then| then.min(now));
        self.heard = later(self.heard);
        self.frame_since = self.frame_since.map(later);
        self.leaving = self.leaving.map(|(since, taken)| (later(since), taken));
        self.armed_at = now;
    }

    fn arm(&mut self, at: Instant, now: Instant) {
        if at < self.armed {
            self.armed = at;
            self.armed_at = now;
            self.sleep.as_mut().reset(at.into());
        }
    }
}

/// Why somebody is cut whose frame has used up its time.
pub(super) fn late_frame(frame_timeout: Duration) -> String {
    format!("a frame was begun and not completed within {frame_timeout:?}")
}

/// The same where it has used up its [`GRACE`].
pub(super) fn unfinished_frame() -> String {
    format!("a frame was begun and not completed within {GRACE:?}, and others waited for the room that it took")
}

impl Session {
    /// From here on the peer is to take something every `write_timeout`, be it a part of one frame.
    pub(super) fn start_write_timeout(&mut self) {
        self.clock.leaving = Some((Instant::now(), self.taken()));
    }

    fn taken(&self) -> Taken {
        Taken {
            written: self.connection.queue.written(),
            unread: self.connection.stream.unsent(),
        }
    }

    /// True while silence says nothing: the broker does not read this peer, or the peer does not take what it is sent.
    fn is_excused(&self) -> bool {
        self.stop.is_some() || self.writable.is_some()
    }

    pub(super) fn set_clock(&mut self) {
        let config = &self.shared.config;
        let now = Instant::now();
        let next = match self.stage {
            Stage::Ended => return,
            Stage::Leaving => self.clock.leaving.map(|(since, _)| since + config.write_timeout),
            Stage::Open if self.stop.is_some() => {
                let retry = self.waiting.as_ref().map(|waiting| waiting.retry_at());
                let mut next = now + PROBE;
                if let Some(Stop::Paced(ready)) = self.stop {
                    next = next.min(ready);
                }
                Some(retry.map_or(next, |retry| retry.min(next)))
            }
            Stage::Open => {
                let quiet = if self.clock.pinged {
                    config.ping_timeout
                } else {
                    config.ping_interval
                };
                let silence = self.clock.heard + quiet;
                let frame = self.clock.frame_since.map(|since| since + config.frame_timeout);
                let grace = self.grace(now);
                [frame, grace].into_iter().flatten().chain([silence]).min()
            }
        };
        if let Some(next) = next {
            self.clock.arm(next, now);
        }
    }

    /// When to see whether others wait for the room that this one's frame takes; earlier than need be, to learn how long the broker sleeps.
    fn grace(&self, now: Instant) -> Option<Instant> {
        let since = self.clock.frame_since.filter(|_| self.claim.has_room())?;
        let end = since + GRACE;
        Some(if end > now { end } else { now + GRACE }.min(now + LOOK))
    }

    /// The timer has fired: does what is due.
    pub(super) fn on_timer(&mut self) {
        let now = Instant::now();
        self.clock.forgive(now);
        // The timer has fired; `set_clock` winds it up again.
        self.clock.armed = now + FAR;
        self.clock.sleep.as_mut().reset(self.clock.armed.into());
        let shared = Arc::clone(&self.shared);
        let config = &shared.config;
        if let Some((since, before)) = self.clock.leaving {
            if now >= since + config.write_timeout {
                let taken = self.taken();
                if taken == before {
                    self.shared.counters.note(Refusal::WriteTimeout);
                    self.stage = Stage::Ended;
                    return;
                }
                self.clock.leaving = Some((now, taken));
            }
            return;
        }
        if self.stop.is_some() && !self.connection.queue.is_closed() && self.is_gone() {
            self.hang_up();
        }
        if self.is_excused() {
            self.clock.heard = now;
            self.clock.pinged = false;
        }
        if self.stop.is_some() {
            self.clock.frame_since = None;
            return;
        }
        if self
            .clock
            .frame_since
            .is_some_and(|since| now >= since + config.frame_timeout)
        {
            self.cut(Code::FrameTimeout, &late_frame(config.frame_timeout));
            return;
        }
        if self.claim.blocks_others() && self.clock.frame_since.is_some_and(|since| now >= since + GRACE) {
            self.cut_for(Refusal::UnfinishedFrame, Code::FrameTimeout, &unfinished_frame());
            return;
        }
        if now >= self.clock.heard + config.ping_timeout {
            let limit = config.ping_timeout;
            self.cut(
                Code::PingTimeout,
                &format!("no frame of any kind came within {limit:?}"),
            );
        } else if now >= self.clock.heard + config.ping_interval && !self.clock.pinged {
            self.clock.pinged = true;
            self.connection.queue.answer(Bytes::from(FromBroker::Ping.frame()));
        }
    }

    /// Whether the peer has closed its end, which a connection that is not read learns from nobody else: sending nothing fails
    /// then, and does nothing otherwise.
    fn is_gone(&self) -> bool {
        self.connection
            .stream
            .try_write(&[])
            .is_err_and(|failed| is_gone(&failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_is_read_while_the_timer_is_due_has_not_been_slept_through() {
        let mut clock = Clock::new();
        let began = Instant::now();
        clock.note_frames(false, true);
        let quiet = Duration::from_millis(100);
        clock.arm(began + quiet, began);
        let mut now = began;
        while now < began + quiet + SLEPT + quiet {
            now += Duration::from_millis(1);
            clock.note_heard_at(now);
            clock.note_frames(false, true);
        }
        clock.forgive(now);
        // The time until it was due counts.
        assert!(now - clock.frame_since.unwrap() >= quiet);
    }

    #[tokio::test]
    async fn what_is_read_after_a_sleep_does_not_hide_it() {
        let mut clock = Clock::new();
        let began = Instant::now();
        clock.note_frames(false, true);
        clock.arm(began + Duration::from_millis(10), began);
        let now = began + SLEPT + Duration::from_millis(100);
        clock.note_heard_at(now);
        clock.note_frames(false, true);
        clock.forgive(now);
        assert!(now - clock.frame_since.unwrap() < SLEPT);
    }
}
