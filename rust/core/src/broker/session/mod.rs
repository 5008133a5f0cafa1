//! One connection's task: it reads, routes, answers, keeps the clocks, and waits for the kernel when its queue must.
//!
//! Model: every wait is in one place, the `select` of [`Session::run`]; whatever has happened is worked off in one piece without a
//! wait in between ([`batch::run`]), so that nothing is half done when the task is dropped at any time. While a queue that this
//! connection feeds is full, or too many of its answers are unsent, it does not read: frames that it has read already stay in
//! `pending`. Dropping a session ends its subscriptions and settles its account.
//!
//! In the order of a connection's life: [`entry`] (who has come) and [`handshake`], both with [`handshake_reader`]; [`ingest`] (messages)
//! and [`verbs`] (control texts); [`clock`] (all deadlines); [`ending`], with [`final_read`] when the broker stops. A peer of the original
//! has a task of another kind ([`original`]).

mod clock;
mod ending;
mod entry;
mod final_read;
mod handshake;
mod handshake_reader;
mod ingest;
mod original;
mod verbs;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

pub(super) use self::entry::turn_away;
pub(super) use self::original::subscribe;

use self::clock::Clock;
use self::entry::Newcomer;
use self::final_read::{FinalRead, FinalReadStep};
use self::ingest::Ingest;
use self::original::Original;
use self::verbs::Refusals;
use super::connection::{Connection, batch};
use super::connection_limits::ConnectionPermit;
use super::deliver::{Delivery, Waiting};
use super::rate::Meter;
use super::read_room::Claim;
use super::rights::Rights;
use super::route::Outlet;
use super::shared::{Phase, Shared};
use super::subscription::Load;
use crate::queue::{OnFull, Wake};
use crate::transport::{Readable, Stream};
use crate::wire::text::{Bye, Code, Congestion};

/// Read at once; shared by all connections of the thread, so that an idle one costs no buffer.
const SCRATCH: usize = 256 * 1024;
/// Read from one connection before others have their turn.
const TURN: usize = 64 * 1024;
/// Spent on one connection's verbs before others have their turn. Some take as long as hundreds of messages, and their answers may be
/// read as fast as they are written.
const VERBS_TURN: Duration = Duration::from_micros(200);
/// The same where messages take long: new topics of very many subscriptions, filters that cost much.
const SLOW_TURN: Duration = Duration::from_millis(2);
/// What an idle connection may keep for partial frames.
const KEPT_PENDING: usize = 4 * 1024;

thread_local! {
    static READ: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Why frames that have been read are not worked off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// A queue is full and this publisher waits.
    Congested,
    /// Too many answers are unsent.
    Answers,
    /// A publisher who waits is above its rate until then, or until its meter calls.
    Paced(Instant),
    /// Its verbs or messages have taken their time; others have their turn first.
    Turn,
    /// Others have all the room that there is for what it sends.
    Room,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// Nothing more comes in; what is queued goes out, then the connection ends.
    Leaving,
    Ended,
}

struct Session {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    readable: Readable,
    /// Woken when there is room again in a queue that this session waits for.
    room: Arc<dyn Wake>,
    block: bool,
    stage: Stage,
    /// Read, not worked off yet: at most one frame's beginning, unless stopped.
    pending: Vec<u8>,
    claim: Claim,
    stop: Option<Stop>,
    waiting: Option<Waiting>,
    /// Bytes of the run that it is left of; what is translated for readers of other dialects is not counted.
    waits_with: usize,
    /// Messages that waited for room when the broker stopped waiting, or were dropped for this client while it stopped.
    lost_at_end: u64,
    ingest: Ingest,
    /// `None`: it may do everything.
    rights: Option<Arc<Rights>>,
    /// `None`: as fast as it can.
    meter: Option<Meter>,
    /// Refused publishes of one kind that the client has not been told of.
    refusals: Option<Refusals>,
    /// What each live subscription comes to.
    subscriptions: HashMap<u64, Load>,
    clock: Clock,
    /// [`Connection::sent`] when it was last heard.
    sent_when_heard: u64,
    writable: Option<Wait>,
    read_this_turn: usize,
    /// On verbs, and on messages that take long.
    spent_this_turn: Duration,
    final_read: FinalRead,
    _permit: ConnectionPermit,
}

/// Serves one accepted connection to its end.
pub(super) async fn serve(shared: Arc<Shared>, stream: Stream, permit: ConnectionPermit) {
    let Some(newcomer) = entry::identify(&shared, Arc::new(stream)).await else {
        return;
    };
    let native = match newcomer {
        Newcomer::Native(entry, connect) => Some((entry, connect)),
        Newcomer::Original(entry, permit) => Original::new(Arc::clone(&shared), entry, permit).run().await,
    };
    let Some((entry, connect)) = native else { return };
    if let Some(session) = handshake::greet(shared, entry, *connect, permit).await {
        session.run().await;
    }
}

/// Appends nothing, keeps nothing: one read into the thread's buffer.
fn read(stream: &Stream, most: usize) -> io::Result<usize> {
    READ.with_borrow_mut(|buffer| stream.try_read(buffer.get_mut(..most).unwrap_or_default()))
}

/// Works on what the last [`read`] of this thread has brought: `len` bytes.
fn with_read<R>(len: usize, work: impl FnOnce(&[u8]) -> R) -> R {
    READ.with_borrow(|buffer| work(buffer.get(..len).unwrap_or_default()))
}

impl Session {
    async fn run(mut self) {
        batch::run(|| self.settle());
        while self.stage != Stage::Ended {
            // Whatever wakes it, others and the kernel's events have their turn.
            tokio::task::consume_budget().await;
            if self.read_this_turn >= TURN || self.stop == Some(Stop::Turn) {
                (self.read_this_turn, self.spent_this_turn) = (0, Duration::ZERO);
                tokio::task::yield_now().await;
                batch::run(|| self.settle());
                continue;
            }
            let (reads, blocked, turning) = (self.reads(), self.writable.is_some(), self.final_read.is_turning());
            let (stream, waits) = (&self.connection.stream, self.claim.waits());
            let room = self.shared.room_of(self.block);
            let (own, unprocessed) = (self.claim.given(), self.pending.len());
            tokio::select! {
                biased;
                () = self.connection.waker.woken() => {}
                () = ready(&mut self.writable), if blocked => {
                    self.writable = None;
                    self.clock.note_written();
                    self.connection.unblock();
                }
                // How much is asked when there is something to read: others may have taken the room meanwhile.
                got = self.readable.read_with(|| read(stream, room.most(own, unprocessed, SCRATCH))), if reads => self.on_read(got),
                () = self.claim.granted(), if waits => {}
                () = self.final_read.turned(), if turning => {}
                () = self.clock.fired() => batch::run(|| self.on_timer()),
            }
            batch::run(|| self.settle());
        }
    }

    fn reads(&self) -> bool {
        self.stage == Stage::Open && self.stop.is_none() && self.shared.phase() == Phase::Running
    }

    fn on_read(&mut self, got: io::Result<usize>) {
        match got {
            Ok(len) if len > 0 => {
                self.read_this_turn += len;
                self.clock.note_heard();
                let sent = self.connection.sent.load(Ordering::Relaxed);
                let answers = std::mem::replace(&mut self.sent_when_heard, sent) != sent;
                self.shared.spin.note(self.clock.heard(), answers);
                batch::run(|| with_read(len, |data| self.take(data)));
            }
            // An end of file, or a connection that broke.
            _ => self.stage = Stage::Ended,
        }
    }

    /// Brings the session in line with what others have done to it.
    fn settle(&mut self) {
        if self
            .connection
            .client_state
            .disconnect_requested
            .swap(false, Ordering::AcqRel)
        {
            self.disconnect_as_requested();
        }
        if self.connection.queue.wants_disconnect() && self.stage == Stage::Open {
            if self.connection.queue.is_out_of_memory() {
                self.cut_for_memory("there is no memory for what this client must be told");
            } else {
                self.cut(
                    Code::SlowConsumer,
                    "the queue of this connection is full, and it asked to be disconnected then",
                );
            }
        }
        if self.shared.phase() >= Phase::Quiescing {
            // What has been read is routed before the end.
            self.meter = None;
        }
        self.go_on();
        if self.shared.phase() >= Phase::Quiescing && self.stage == Stage::Open {
            self.wind_up();
        }
        batch::flush();
        self.connection.flush();
        self.check_writing();
        // On Windows what the system has taken and not passed on would be lost with the connection.
        let unsent = cfg!(windows) && self.connection.stream.unsent().unwrap_or(0) > 0;
        if self.stage == Stage::Leaving && self.connection.queue.is_empty() && !unsent {
            self.stage = Stage::Ended;
        }
        let blocked = self.connection.is_blocked() || self.stage == Stage::Leaving && unsent;
        if blocked && self.writable.is_none() && self.stage != Stage::Ended {
            let stream = Arc::clone(&self.connection.stream);
            self.writable = Some(Box::pin(async move {
                // However it ends, it is tried again.
                let _tried = stream.writable().await;
            }));
        }
        self.set_clock();
    }

    /// Tries to get over what has stopped the session.
    fn go_on(&mut self) {
        while let Some(stop) = self.stop {
            match stop {
                Stop::Congested => {
                    match self.waiting.take() {
                        Some(waiting) if self.shared.phase() >= Phase::Deciding => {
                            self.give_up(waiting);
                            self.final_read.give_up();
                        }
                        Some(waiting) => {
                            let mut delivery =
                                Delivery::new(&self.shared.router, self.shared.config.max_topic_depth, self.on_full());
                            delivery.resume(waiting);
                            let undelivered = self.shared.undelivered(delivery.met_end());
                            self.waiting = delivery.finish();
                            self.lost_at_end += undelivered;
                        }
                        None => {}
                    }
                    if self.waiting.is_some() {
                        return;
                    }
                    self.waits_with = 0;
                }
                Stop::Answers => {
                    self.connection.flush();
                    if self.connection.queue.answers_full(&self.room) {
                        return;
                    }
                }
                Stop::Turn => {
                    if self.turn_is_over(VERBS_TURN) {
                        return;
                    }
                }
                Stop::Room => {
                    if self.claim.waits() {
                        return;
                    }
                }
                Stop::Paced(ready) => {
                    let waits = |meter: &Meter| Instant::now() < ready && !meter.is_called();
                    if self.meter.as_ref().is_some_and(waits) {
                        return;
                    }
                }
            }
            self.stop = None;
            self.clock.note_heard();
            if self.stage == Stage::Open {
                self.take(&[]);
            }
        }
    }

    /// Nobody waits for room any more.
    fn give_up(&mut self, waiting: Waiting) {
        self.lost_at_end += self.shared.undelivered(waiting.messages());
        waiting.give_up(&self.shared);
    }

    /// Not while the broker stops, which is over soon whatever a client asks.
    fn turn_is_over(&self, most: Duration) -> bool {
        self.spent_this_turn >= most && self.shared.phase() == Phase::Running
    }

    fn on_full(&self) -> OnFull<'_> {
        if self.block {
            OnFull::Wait(&self.room)
        } else {
            OnFull::Overflow
        }
    }

    /// The broker stops: what the client has sent before that is routed, then what is queued for it goes out.
    fn wind_up(&mut self) {
        if self.shared.phase() >= Phase::Deciding && self.stop.is_some() {
            // What is stopped by answers that nobody reads stays where it is.
            self.stop = None;
            self.final_read.give_up();
        }
        while self.stop.is_none() && !self.connection.is_quiesced() {
            match self.final_read.step(&self.connection.stream) {
                FinalReadStep::Read(len) => with_read(len, |data| self.take(data)),
                FinalReadStep::Later => break,
                FinalReadStep::Nothing => self.shared.quiesce(&self.connection),
            }
        }
        if self.shared.phase() >= Phase::Leaving && self.stage == Stage::Open {
            self.leave(Bye {
                reason: Some("shutdown".to_owned()),
            });
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Who waited for room has gone.
        if let Some(waiting) = self.waiting.take() {
            self.give_up(waiting);
        }
        self.shared
            .retire(&self.connection, self.lost_at_end, |id| self.why_lost(id));
        self.connection.stream.shut_down();
    }
}

/// Waits for a future that may not be there; then it is not polled.
async fn ready(future: &mut Option<Wait>) {
    if let Some(future) = future {
        future.await;
    }
}

fn blocks(congestion: Congestion) -> bool {
    congestion == Congestion::Block
}
