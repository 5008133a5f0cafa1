//! The task behind a link: dials, shakes hands, subscribes again, keeps alive, and redials with full jitter.
//!
//! It owns the socket only until the broker has answered everything of the handshake; from then on the host reads (unless it cannot)
//! and publishers write. It flushes for callers that have no event loop, or whose loop stands still, and tells the broker that this end
//! lives, and that its reader takes messages, whatever the host is busy with.

use std::future::pending;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::backoff::Backoff;
use super::connection::{Read, Reader, State};
use super::handshake::{self, Established, Progress};
use super::inbound::ControlEvent;
use super::original::{self, Dialled};
use super::outbox::Sent;
use super::read_buffer::append_read;
use super::shared::{Shared, sub_frames};
use super::timers::Timers;
use crate::error::Error;
use crate::limits::MAX_DURATION;
use crate::topic::{DEFAULT_MAX_DEPTH, LastTopic};
use crate::transport::{DialError, Readable, Retry, Stream};
use crate::wire::text::FromClient;

/// An attempt may take this long, and this long again for each answer, so that a silent listener is left and dialled again.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// After a failed write the reader has this long to find out why.
const READ_GRACE: Duration = Duration::from_millis(200);
/// An attempt that begins at the end of `connect_timeout` still has this long to be answered.
const MIN_ATTEMPT: Duration = Duration::from_millis(50);
/// Whoever's time is over while an attempt is under way hears of its end, if that comes within this time.
const ATTEMPT_GRACE: Duration = Duration::from_millis(100);
/// A broker makes its socket private and opens it to a group afterwards, and a directory may get its mode late: a denial is believed when
/// it is repeated this much later.
const DENIED_RECHECK: Duration = Duration::from_millis(100);
/// A connection that lived this long starts the back-off anew.
const STABLE_AFTER: Duration = Duration::from_millis(200);
/// Where the broker's number is no interval.
const FALLBACK_PING_INTERVAL: Duration = Duration::from_secs(30);
/// Nobody is asked more often, whatever a broker says.
const MIN_PING_INTERVAL: Duration = Duration::from_millis(10);
/// How often a connection is looked at that a full subscription keeps from being read: its broker may be gone, or has to be told that the
/// program takes messages.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Ends the link if its supervisor panics, so that nobody waits for it for ever, and with its supervisor if nobody else has it.
struct EndWithSupervisor(Arc<Shared>);

impl Drop for EndWithSupervisor {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end_after_panic();
        } else if self.0.connection.lock().forgotten.is_some() {
            self.0.close_forgotten();
        }
    }
}

pub(super) async fn supervise(shared: Arc<Shared>) {
    let _guard = EndWithSupervisor(Arc::clone(&shared));
    let mut backoff = Backoff::new(shared.config.reconnect_initial, shared.config.reconnect_max);
    let (mut was_connected, mut denied) = (false, false);
    loop {
        let give_up = {
            let awaiting = &mut shared.connection.lock().awaiting;
            if awaiting.begin_attempt() {
                backoff.reset();
            }
            (!was_connected).then(|| awaiting.give_up())
        };
        let attempted = tokio::select! {
            // Before anybody is told that it takes too long.
            biased;
            attempted = attempt(&shared, give_up) => attempted,
            // The connection that is being made is dropped at once.
            () = until_closed(&shared) => return shared.outbox.lock().detach(),
        };
        match attempted {
            Ok(live) => {
                (was_connected, denied) = (true, false);
                let since = Instant::now();
                match live {
                    Live::Native { keep_alive } => maintain(&shared, keep_alive).await,
                    Live::Original { stream, readable } => original::maintain(&shared, &stream, &readable).await,
                }
                if shared.connection.lock().forgotten.is_some() {
                    return;
                }
                if since.elapsed() >= STABLE_AFTER {
                    backoff.reset();
                }
            }
            Err(failed) => {
                shared.outbox.lock().detach();
                let denied_before = std::mem::replace(&mut denied, failed.is_denied());
                let lasts = match failed.retry {
                    Retry::Yes => false,
                    Retry::OnceConnected => denied_before || !denied,
                    Retry::No => true,
                };
                if lasts && (failed.retry == Retry::No || !was_connected) {
                    shared.end(Some(failed.error));
                } else {
                    if failed.retry == Retry::OnceConnected && was_connected {
                        shared.log_unreachable(&failed.error);
                    }
                    shared.attempt_failed(failed.error, lasts);
                }
            }
        }
        let earliest = Instant::now() + if denied { DENIED_RECHECK } else { Duration::ZERO };
        let mut wake = earliest + backoff.next();
        if !was_connected {
            wake = wake.min(shared.connection.lock().awaiting.give_up());
        }
        if !pause(&shared, earliest, wake).await {
            return;
        }
    }
}

/// Between two attempts. False if the link has ended for good.
async fn pause(shared: &Shared, earliest: Instant, wake: Instant) -> bool {
    loop {
        let at = {
            let connection = shared.connection.lock();
            if connection.state == State::Closed {
                return false;
            }
            connection.awaiting.next_attempt(earliest, wake)
        };
        tokio::select! {
            () = sleep_until(at) => return true,
            () = shared.notify.notified() => {}
        }
    }
}

/// Until the link has ended for good. Whoever has no time left for the attempt that is under way is told so.
async fn until_closed(shared: &Shared) {
    loop {
        let late = {
            let connection = shared.connection.lock();
            if connection.state == State::Closed {
                return;
            }
            connection.awaiting.first_end().map(|end| end + ATTEMPT_GRACE)
        };
        let too_late = async {
            match late {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = shared.notify.notified() => {}
            () = too_late => shared.give_up_late(Instant::now() - ATTEMPT_GRACE),
        }
    }
}

/// A live connection, and what is needed to maintain it.
enum Live {
    /// To be shown this often that this end lives.
    Native {
        keep_alive: Duration,
    },
    Original {
        stream: Arc<Stream>,
        readable: Readable,
    },
}

/// When an attempt is given up that makes no progress from now on.
fn attempt_deadline(give_up: Option<Instant>) -> Instant {
    let now = Instant::now();
    give_up.map_or(now + ATTEMPT_TIMEOUT, |at| {
        (now + ATTEMPT_TIMEOUT).min(at.max(now + MIN_ATTEMPT))
    })
}

/// One attempt at a connection on which everything is subscribed again.
async fn attempt(shared: &Arc<Shared>, give_up: Option<Instant>) -> Result<Live, DialError> {
    let deadline = attempt_deadline(give_up);
    if shared.is_original() {
        return attempt_original(shared, deadline, give_up.is_some()).await;
    }
    let mut progress = Progress::default();
    let handshake = handshake::connect(&shared.address, &shared.config, &mut progress);
    let established = timeout_at(deadline, handshake).await;
    shared.inbound.lock().decode_errors += progress.skipped;
    let mut established = established
        .unwrap_or_else(|_| Err(Retry::Yes.because(Error::ConnectionLost(progress.unanswered().to_owned()))))?;
    let info = &established.info;
    let keep_alive = keep_alive_interval(info.ping_interval);
    {
        let max_frame = usize::try_from(info.max_frame)
            .unwrap_or(usize::MAX)
            .min(shared.config.max_frame);
        let max_depth = usize::try_from(info.max_topic_depth).unwrap_or(DEFAULT_MAX_DEPTH);
        let mut inbound = shared.inbound.lock();
        inbound.topics = LastTopic::new(max_depth);
        shared
            .outbox
            .lock()
            .attach(Arc::clone(&established.stream), max_frame, max_depth, info.taken);
    }
    resubscribe(shared, &mut established, give_up).await?;
    let Established {
        stream,
        leftover,
        readable,
        ..
    } = established;
    drop(readable);
    shared.go_live(stream, leftover);
    Ok(Live::Native { keep_alive })
}

async fn attempt_original(shared: &Arc<Shared>, deadline: Instant, first: bool) -> Result<Live, DialError> {
    let dialling = original::connect(&shared.address, &shared.config, first);
    let Dialled {
        stream,
        readable,
        leftover,
    } = timeout_at(deadline, dialling).await.unwrap_or_else(|_| {
        Err(Retry::Yes.because(Error::ConnectionLost(
            "something accepted the connection and did not answer the proof of the token; if the broker runs without \
             authentication, set no token"
                .to_owned(),
        )))
    })?;
    let max_frame = shared.config.max_frame;
    shared.inbound.lock().original_dialect = None;
    shared
        .outbox
        .lock()
        .attach(Arc::clone(&stream), max_frame, DEFAULT_MAX_DEPTH, false);
    shared.go_live(Arc::clone(&stream), leftover);
    Ok(Live::Original { stream, readable })
}

/// Sends every SUB and waits for its answer, before anything that was kept is sent. Only so many are in flight as on a live connection, and
/// answers are read while the broker takes no more bytes: a broker whose answers nobody reads stops reading.
async fn resubscribe(
    shared: &Shared,
    established: &mut Established,
    give_up: Option<Instant>,
) -> Result<(), DialError> {
    let lost = |error| Retry::Yes.because(error);
    let asked = {
        let mut inbound = shared.inbound.lock();
        inbound.forget_connection();
        inbound.take_unsent()
    };
    let mut out: Vec<u8> = sub_frames(asked).flatten().collect();
    let (mut deadline, mut before) = (attempt_deadline(give_up), 0);
    loop {
        let blocked = !write(&established.stream, &mut out);
        let mut events = Vec::new();
        let (ingested, left) = {
            let mut inbound = shared.inbound.lock();
            let ingested = inbound.ingest(&established.leftover, None, &shared.resume, &mut events);
            out.extend(sub_frames(inbound.take_unsent()).flatten());
            (ingested, inbound.subscriptions.unconfirmed())
        };
        for event in events {
            match event {
                ControlEvent::Ping => out.extend(FromClient::Pong.frame()),
                ControlEvent::Error(err) => return Err(handshake::refused(err)),
                ControlEvent::Bye(_) => return Err(lost(Error::ConnectionLost("the broker is stopping".to_owned()))),
                ControlEvent::Pong
                | ControlEvent::SendStats(_)
                | ControlEvent::SubscribeMore
                | ControlEvent::Refused(_) => {}
            }
        }
        let (used, paused) = ingested.map_err(lost)?;
        established.leftover.drain(..used);
        if left < before {
            deadline = attempt_deadline(give_up);
        }
        before = left;
        if !blocked && !out.is_empty() {
            continue;
        }
        if !blocked && (paused || shared.inbound.lock().subscriptions.unanswered() == 0) {
            return Ok(());
        }
        let mut chunk = vec![0; 64 * 1024];
        tokio::select! {
            writable = established.stream.writable(), if blocked => {
                writable.map_err(|error| lost(Error::io("waiting to write", &error)))?;
            }
            got = established.readable.read_with(|| established.stream.try_read(&mut chunk)), if !paused => match got {
                Ok(0) => return Err(handshake::hung_up()),
                Ok(n) => append_read(&mut established.leftover, chunk.get(..n).unwrap_or_default()).map_err(lost)?,
                Err(error) => return Err(handshake::read_failed(&error)),
            },
            () = sleep_until(deadline) => {
                let unanswered = "the broker answered CONNECT, and leaves subscriptions without an answer";
                return Err(lost(Error::ConnectionLost(unanswered.to_owned())));
            }
        }
    }
}

/// Writes as much as the kernel takes. False if that is not all.
fn write(stream: &Stream, out: &mut Vec<u8>) -> bool {
    while !out.is_empty() {
        match stream.try_write(&[IoSlice::new(out)]) {
            Ok(n) => drop(out.drain(..n)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            // Read on: an ERR may say why.
            Err(_) => out.clear(),
        }
    }
    true
}

/// How often to send a keep-alive, by the broker's number, which may be any: a quarter before it would ask, so that it need not, and a busy
/// machine has time left also under a `ping_timeout` that is hardly longer.
fn keep_alive_interval(announced: f64) -> Duration {
    let asked = Duration::try_from_secs_f64(announced).map_or(FALLBACK_PING_INTERVAL, |announced| {
        announced.clamp(MIN_PING_INTERVAL, MAX_DURATION)
    });
    asked * 3 / 4
}

/// Maintains a live connection until it is lost.
async fn maintain(shared: &Arc<Shared>, keep_alive: Duration) {
    let readable = match readable(shared) {
        Ok(readable) => readable,
        Err(cause) => {
            let cause = Error::io("watching the connection", &cause);
            return shared.connection_lost(shared.connection.lock(), cause, false);
        }
    };
    let mut timers = Timers::new(keep_alive);
    loop {
        let (stream, is_over) = {
            let connection = shared.connection.lock();
            let Some(stream) = connection.stream.clone() else {
                return;
            };
            // A write of nothing tells whether anybody is left at the other end.
            let is_over = connection.paused
                && matches!(stream.try_write(&[]), Err(error) if error.kind() != io::ErrorKind::WouldBlock);
            (stream, is_over)
        };
        if is_over {
            return finish_lost(shared, &stream, readable.as_ref(), shared.closed_without_reason()).await;
        }
        let (blocked, failed, may_pause, reads, forgotten) = {
            let mut connection = shared.connection.lock();
            let reads = readable.as_ref().filter(|_| !connection.paused);
            let inbound = shared.inbound.lock();
            let may_pause = inbound.may_pause();
            let mut outbox = shared.outbox.lock();
            shared.tell_taken(&mut connection, &inbound, &mut outbox);
            drop(inbound);
            if connection.forgotten.is_some() {
                // The host's loop may wait for the kernel too, or have waited when it ended.
                outbox.disarm();
            }
            let blocked = shared.write_and_wake(&mut outbox) == Sent::Blocked;
            timers.set(&outbox, blocked);
            let forgotten = connection.forgotten.map(|end| (end, outbox.unsent()));
            (blocked, outbox.is_failed(), may_pause, reads, forgotten)
        };
        let mut due = timers.next_due();
        if let Some((end, unsent)) = forgotten {
            if unsent == 0 || Instant::now() >= end {
                return;
            }
            // The host's loop may send the rest, and tells nobody.
            due = due.min(end).min(Instant::now() + LOOK_INTERVAL);
        }
        if may_pause {
            due = due.min(Instant::now() + LOOK_INTERVAL);
        }
        Shared::log_suppressed(shared.log.take_overdue());
        if let Some(next) = shared.log.next_overdue() {
            due = due.min(next.into());
        }
        if failed {
            read_to_end(shared, reads).await;
            let cause = Error::ConnectionLost("the broker takes no more bytes".to_owned());
            return finish_lost(shared, &stream, readable.as_ref(), cause).await;
        }
        tokio::select! {
            () = shared.notify.notified() => {}
            () = read_once(shared, reads) => {}
            writable = stream.writable(), if blocked => {
                drop(writable);
                shared.outbox.lock().disarm();
            }
            () = sleep_until(due) => timers.run_due(shared),
        }
        if blocked {
            // Whatever woke us, the wait for the kernel was ours and is over; the next round starts it again if need be.
            shared.outbox.lock().disarm();
        }
    }
}

/// What to wait with, if reading is left to this task.
fn readable(shared: &Shared) -> io::Result<Option<Readable>> {
    let stream = shared.connection.lock().stream.clone();
    match (shared.reader, stream) {
        (Reader::Link, Some(stream)) => stream.readable().map(Some),
        _ => Ok(None),
    }
}

/// One read in the host's place; for ever pending if the host reads.
async fn read_once(shared: &Shared, reads: Option<&Readable>) {
    match reads {
        Some(readable) => drop(readable.read_with(|| shared.try_read()).await),
        None => pending().await,
    }
}

/// The connection is over, for `cause` unless what is left of it says why.
async fn finish_lost(shared: &Shared, stream: &Arc<Stream>, reads: Option<&Readable>, cause: Error) {
    // A pipe of Windows hands over a part at a time.
    if shared.final_read(stream) && reads.is_some() {
        read_to_end(shared, reads).await;
    }
    shared.connection_lost_if_current(stream, cause);
}

/// Reads what is left, or gives the host the time to read it.
async fn read_to_end(shared: &Shared, reads: Option<&Readable>) {
    let reading = async {
        if let Some(readable) = reads {
            while matches!(readable.read_with(|| shared.try_read()).await, Ok(Read::Open)) {}
        }
        pending::<()>().await
    };
    let _in_time = timeout(READ_GRACE, reading).await;
}
