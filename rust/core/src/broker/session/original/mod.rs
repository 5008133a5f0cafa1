//! The task of one peer of the original: a client of it, or a broker of it that has dialled us.
//!
//! Model: like [`Session`](super::Session) with all waits in one place, but with other manners. It is sent matching messages and `PONG`,
//! nothing else; one message at a time, the next when the peer has read everything before; none around its health check ([`pace`]), and
//! none before it has shown that it reads ([`reading`]). Its [`queue`] is emptied by this task alone. What it sends is routed message by
//! message ([`ingest`]): its own client sends some hundred in a second at most. It is not sent what it has published itself, which the
//! original's broker, never reading what it is sent, would take for the answer to its next check.
//!
//! Guarantees: nothing is sent and nothing taken before a token was proved, where `original_auth` asks for that; what matched is
//! accounted for as with any reader; a `CONNECT` ends this task and begins a native session on the same connection.

mod ingest;
mod out;
mod pace;
mod queue;
mod reader;
mod reading;
#[cfg(test)]
#[cfg(unix)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;
use uuid::Uuid;

pub(in crate::broker) use self::queue::subscribe;

use self::out::{Blocked, Until, ready};
use self::pace::Pace;
use self::reader::Reader;
use self::reading::Reading;
use super::clock::{late_frame, unfinished_frame};
use super::entry::Entry;
use super::final_read::{FinalRead, FinalReadStep};
use super::{Stage, Wait, batch, read, with_read};
use crate::broker::connection::{ClientState, Connection, OriginalPatterns, SharedPatterns, TaskWaker};
use crate::broker::connection_limits::OriginalPermit;
use crate::broker::rate::Meter;
use crate::broker::read_room::{Claim, GRACE};
use crate::broker::rights::Rights;
use crate::broker::shared::{Phase, Shared};
use crate::broker::statistics::Refusal;
use crate::broker::subscription;
use crate::lock::Mutex;
use crate::queue::{DropReason, MAX_ANSWERS, Wake};
use crate::transport::{Readable, Stream};
use crate::wire::Dialect;
use crate::wire::text::Connect;

/// Bytes read before others have their turn. Its messages are routed one by one, which takes their time from everybody else.
const TURN: usize = 16 * 1024;
const FAR: Duration = Duration::from_secs(3600);

pub(super) struct Original {
    shared: Arc<Shared>,
    stream: Arc<Stream>,
    readable: Readable,
    waker: Arc<TaskWaker>,
    id: Uuid,
    patterns: SharedPatterns,
    client_state: Arc<ClientState>,
    reader: Reader,
    /// What it speaks, once that is known.
    dialect: Option<Dialect>,
    stage: Stage,
    pending: Vec<u8>,
    claim: Claim,
    /// Since when a frame is incomplete.
    frame_since: Option<Instant>,
    since: Instant,
    pace: Pace,
    /// Checks not answered yet.
    pongs: usize,
    /// What the kernel has not taken of a `PONG`.
    pong_left: usize,
    /// The peer has read everything that it was sent.
    clear: bool,
    reading: Reading,
    waiting: Option<(Until, Wait)>,
    /// Until when it must be quiet with something to send.
    quiet_until: Option<Instant>,
    final_read: FinalRead,
    /// It was read since others had their turn.
    had_turn: bool,
    /// Whole frames of it have been read and not worked off: others have their turn first.
    behind: bool,
    /// When it is left, whatever waits for it.
    leave_by: Option<Instant>,
    /// It could not prove the token.
    refused: bool,
    /// It has said this.
    connect: Option<Box<Connect>>,
    /// `None`: it may publish everywhere.
    rights: Option<Arc<Rights>>,
    /// `None`: as fast as it can.
    meter: Option<Meter>,
    _permit: OriginalPermit,
}

impl Original {
    pub(super) fn new(shared: Arc<Shared>, entry: Entry, permit: OriginalPermit) -> Self {
        let uid = entry.stream.peer().uid;
        // Checked with the configuration, so there is nothing to refuse here.
        let patterns = subscription::of_original(&shared.config, &shared.config.original_patterns).unwrap_or_default();
        let waker: Arc<TaskWaker> = Arc::default();
        let wakes: Arc<dyn Wake> = Arc::<TaskWaker>::clone(&waker);
        let mut peer = Self {
            readable: entry.readable,
            waker,
            id: Uuid::new_v4(),
            patterns: Arc::new(Mutex::new(OriginalPatterns {
                patterns,
                is_subscribed: true,
            })),
            client_state: Arc::default(),
            reader: Reader {
                shared: Arc::clone(&shared),
                stream: Arc::clone(&entry.stream),
                connection: None,
                hands_over: false,
            },
            stream: entry.stream,
            dialect: None,
            stage: Stage::Open,
            pending: entry.pending,
            claim: entry.claim,
            frame_since: None,
            since: entry.since,
            pace: Pace::new(shared.original_timing, entry.since),
            pongs: 0,
            pong_left: 0,
            clear: true,
            reading: Reading::Unknown,
            waiting: None,
            quiet_until: None,
            final_read: FinalRead::default(),
            had_turn: false,
            behind: false,
            leave_by: None,
            refused: false,
            connect: None,
            rights: None,
            meter: shared.rates.meter(&shared.config.rate_limits, uid, false, &wakes),
            _permit: permit,
            shared,
        };
        // The first message tells the dialect, so it is read before the queue is made.
        peer.look_at_dialect();
        if !peer.shared.config.original_auth {
            peer.join(None);
        }
        peer
    }

    /// Serves the peer to its end, or until it says that it is native.
    pub(super) async fn run(mut self) -> Option<(Entry, Box<Connect>)> {
        batch::run(|| {
            self.take(&[]);
            self.settle();
        });
        while self.stage != Stage::Ended && self.connect.is_none() {
            tokio::task::consume_budget().await;
            if std::mem::take(&mut self.had_turn) {
                tokio::task::yield_now().await;
            }
            let (reads, waits, turning) = (self.reads(), self.waiting.is_some(), self.final_read.is_turning());
            let (stream, due, unread) = (&self.stream, self.due(), self.claim.waits());
            tokio::select! {
                biased;
                until = ready(&mut self.waiting), if waits => self.go_on(until),
                got = self.readable.read_with(|| read(stream, TURN)), if reads => batch::run(|| self.on_read(got)),
                () = std::future::ready(()), if self.behind => batch::run(|| self.catch_up()),
                () = self.final_read.turned(), if turning => {}
                () = self.claim.granted(), if unread => self.frame_since = Some(Instant::now()),
                // Last: with its queue full it may be woken all the time.
                () = self.waker.woken() => {}
                () = sleep_until(due.into()) => {}
            }
            batch::run(|| self.settle());
        }
        if self.refused {
            // Guessing costs time, and the time tells nothing.
            tokio::time::sleep(self.shared.failed_proofs.note(self.stream.peer().uid)).await;
        }
        self.become_native().await
    }

    fn reads(&self) -> bool {
        self.stage == Stage::Open
            && !self.behind
            && !self.claim.waits()
            && self.pongs < MAX_ANSWERS
            && self.shared.phase() == Phase::Running
    }

    fn on_read(&mut self, got: io::Result<usize>) {
        self.had_turn = true;
        match got {
            Ok(len) if len > 0 => with_read(len, |data| self.take(data)),
            _ => self.stage = Stage::Ended,
        }
    }

    fn catch_up(&mut self) {
        self.had_turn = true;
        self.take(&[]);
    }

    fn is_proven(&self) -> bool {
        self.reader.connection.is_some()
    }

    /// Brings the task in line with the time and with what others have done.
    fn settle(&mut self) {
        if self.connect.is_some() || self.stage == Stage::Ended {
            return;
        }
        let now = Instant::now();
        self.check_time(now);
        self.check_reading(now);
        self.check_others();
        if self.shared.phase() >= Phase::Quiescing && self.stage != Stage::Ended {
            self.wind_up();
        }
        if self.stage != Stage::Ended {
            self.check_dialect();
            self.pump();
        }
        let done = |connection: &Arc<Connection>| connection.queue.snapshot().messages == 0;
        let leaves = self.reader.connection.as_ref().is_none_or(done) || self.leaves_at().is_some_and(|by| now >= by);
        if self.stage == Stage::Leaving && leaves {
            self.stage = Stage::Ended;
        }
    }

    fn check_time(&mut self, now: Instant) {
        let frame_timeout = self.shared.config.frame_timeout;
        if !self.is_proven() && now >= self.since + self.shared.original_timing.proof {
            self.cut(Refusal::AuthenticationFailed, "no proof of the token came in time");
        } else if self.frame_since.is_some_and(|since| now >= since + frame_timeout) {
            self.cut(Refusal::FrameTimeout, &late_frame(frame_timeout));
        } else if self.claim.blocks_others() && self.frame_since.is_some_and(|since| now >= since + GRACE) {
            self.cut(Refusal::UnfinishedFrame, &unfinished_frame());
        }
    }

    fn check_others(&mut self) {
        let Some(connection) = &self.reader.connection else {
            return;
        };
        if self.client_state.disconnect_requested.load(Ordering::Acquire) {
            self.cut(Refusal::Operator, "an operator has disconnected this client");
        } else if connection.queue.wants_disconnect() {
            let (reason, why) = if connection.queue.is_out_of_memory() {
                (Refusal::NoMemory, "there is no memory for what this peer must be told")
            } else {
                (
                    Refusal::SlowConsumer,
                    "its queue is full, and the broker's overflow is \"disconnect\"",
                )
            };
            self.cut(reason, why);
        }
    }

    /// The broker stops: what the peer has sent before that is routed, then what is queued for it goes out.
    fn wind_up(&mut self) {
        let Some(connection) = self.reader.connection.clone() else {
            self.stage = Stage::Ended;
            return;
        };
        if self.behind {
            self.take(&[]);
        }
        while !connection.is_quiesced() && self.stage == Stage::Open {
            match self.final_read.step(&self.stream) {
                FinalReadStep::Read(len) => with_read(len, |data| self.take(data)),
                // What is left of the stop is done when it is quiesced.
                FinalReadStep::Later => return,
                FinalReadStep::Nothing => break,
            }
        }
        self.shared.quiesce(&connection);
        if self.shared.phase() >= Phase::Leaving && self.stage == Stage::Open {
            self.shared.change_readers().leave(&connection.sink);
            connection.queue.finish();
            self.stage = Stage::Leaving;
            // Nobody waits to the end for one that may not read at all.
            let patience = self.shared.original_timing.quiet_for;
            self.leave_by = (self.reading != Reading::Continuous).then(|| Instant::now() + patience);
        }
    }

    /// When it is left, unless it has turned out to read by itself.
    fn leaves_at(&self) -> Option<Instant> {
        self.leave_by.filter(|_| self.reading != Reading::Continuous)
    }

    /// When to look at the time again.
    fn due(&self) -> Instant {
        let proof = (!self.is_proven()).then(|| self.since + self.shared.original_timing.proof);
        let frame = self.frame_since.map(|since| since + self.shared.config.frame_timeout);
        let reading = self
            .reading
            .due(self.shared.config.stall_timeout)
            .filter(|_| self.reading_matters());
        let now = Instant::now();
        let grace = self.frame_since.filter(|_| self.claim.has_room());
        let grace = grace
            .map(|since| since + GRACE)
            .map(|end| if end > now { end } else { now + GRACE });
        let dues = [proof, frame, grace, reading, self.quiet_until, self.leaves_at()];
        dues.into_iter().flatten().min().unwrap_or(now + FAR)
    }

    /// Ends the connection. The peer would not understand why, so it is not told.
    fn cut(&mut self, reason: Refusal, why: &str) {
        if let Some(suppressed) = self.shared.counters.note_and_log(reason) {
            let peer = self.stream.peer();
            tracing::warn!(
                target: "daemoneye_eventbus::broker",
                reason = reason.name(),
                uid = peer.uid,
                pid = peer.pid,
                suppressed,
                "peer of the original cut: {why}"
            );
        }
        self.stage = Stage::Ended;
    }

    /// What was queued is dropped; what the kernel has in part is finished. Then the connection is free for a native session.
    async fn become_native(mut self) -> Option<(Entry, Box<Connect>)> {
        let connect = self.connect.take()?;
        if let Some(connection) = self.reader.connection.clone() {
            self.shared.change_readers().leave(&connection.sink);
            connection.queue.finish();
            connection.queue.end_with(None, |_| DropReason::Closed);
        }
        let deadline = Instant::now() + self.shared.config.write_timeout;
        loop {
            self.waiting = None;
            match self.finish_writing() {
                Ok(()) => break,
                Err(Blocked::Broken) => return None,
                Err(Blocked::Waits) => {}
            }
            tokio::select! {
                _ = ready(&mut self.waiting) => {}
                () = sleep_until(deadline.into()) => {
                    self.shared.counters.note(Refusal::WriteTimeout);
                    return None;
                }
            }
        }
        self.reader.hands_over = true;
        Some((
            Entry {
                stream: self.stream,
                readable: self.readable,
                pending: self.pending,
                claim: self.claim,
                since: self.since,
            },
            connect,
        ))
    }

    fn finish_writing(&mut self) -> Result<(), Blocked> {
        if let Some(connection) = self.reader.connection.clone()
            && connection.queue.is_partial()
        {
            self.send_message(&connection)?;
        }
        self.send_pongs()
    }
}
