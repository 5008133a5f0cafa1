//! The task behind a link: dials, shakes hands, subscribes again, keeps alive, and dials again with full jitter.
//!
//! It owns the socket only until the broker has answered everything of the handshake; from then on the host reads (unless it cannot)
//! and publishers write. It flushes for callers that have no event loop, and speaks for a host that is busy elsewhere.

use std::future::pending;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::backoff::Backoff;
use super::handshake::{self, Greeted};
use super::inbound::Happening;
use super::line::{Read, Reader, State, keep};
use super::original::{self, Dialled};
use super::outbox::Sent;
use super::shared::{Shared, subs};
use crate::error::Error;
use crate::limits::MAX_DURATION;
use crate::topic::{DEFAULT_MAX_DEPTH, LastTopic};
use crate::transport::{DialError, Readable, Retry, Stream};
use crate::wire::text::FromClient;

/// An attempt may take this long, and this long again for each answer, so that a silent listener is left and dialled again.
const ATTEMPT: Duration = Duration::from_secs(3);
/// What was published is confirmed this soon.
const CONFIRM: Duration = Duration::from_secs(1);
/// After a failed write the reader has this long to find out why.
const GRACE: Duration = Duration::from_millis(200);
/// An attempt that begins at the end of `connect_timeout` still has this long to be answered.
const LAST_MOMENT: Duration = Duration::from_millis(50);
/// A broker that serves a group makes its socket for itself first, and a directory may get its mode after it is seen: that a user may not
/// is believed when it is so this much later, too.
const SECOND_LOOK: Duration = Duration::from_millis(100);
/// A connection that lived this long starts the back-off anew.
const SETTLED: Duration = Duration::from_millis(200);
/// Where the broker's own number cannot be one.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Nobody needs a sign of life more often, whatever a broker says.
const LEAST_PING_INTERVAL: Duration = Duration::from_millis(10);
/// A connection that a full subscription keeps from being read is looked after this often: its broker may be gone.
const PROBE: Duration = Duration::from_millis(100);

/// Ends the link if its supervisor ends by a defect: nobody waits for somebody who will not come.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end_by_defect();
        }
    }
}

pub(super) async fn supervise(shared: Arc<Shared>) {
    let _guard = Guard(Arc::clone(&shared));
    let mut backoff = Backoff::new(shared.config.reconnect_initial, shared.config.reconnect_max);
    let mut give_up = Some(Instant::now() + shared.config.connect_timeout);
    let mut denied = false;
    loop {
        let attempted = tokio::select! {
            attempted = attempt(&shared, give_up) => attempted,
            // Whoever is being dialled is let go of at once.
            () = ended(&shared) => return shared.outbox.lock().forsake(),
        };
        match attempted {
            Ok(live) => {
                (give_up, denied) = (None, false);
                let since = Instant::now();
                match live {
                    Live::Native { ping_interval } => attend(&shared, ping_interval).await,
                    Live::Original { stream, readable } => original::attend(&shared, &stream, &readable).await,
                }
                if since.elapsed() >= SETTLED {
                    backoff.reset();
                }
            }
            Err(failed) => {
                shared.outbox.lock().forsake();
                let denied_before = std::mem::replace(&mut denied, failed.is_denied());
                let is_last = match failed.retry {
                    Retry::Yes => false,
                    Retry::OnceConnected => give_up.is_some() && (denied_before || !denied),
                    Retry::No => true,
                };
                if is_last {
                    shared.end(Some(failed.error));
                } else if failed.retry == Retry::OnceConnected && give_up.is_none() {
                    shared.log_unreachable(&failed.error);
                } else if give_up.is_some_and(|at| Instant::now() >= at) {
                    shared.end(Some(Error::ConnectTimeout {
                        path: shared.address.path().to_owned(),
                        timeout: shared.config.connect_timeout,
                        cause: failed.error.to_string(),
                        busy: matches!(failed.error, Error::BrokerBusy(_)),
                    }));
                }
            }
        }
        let mut wake = Instant::now() + if denied { SECOND_LOOK } else { Duration::ZERO } + backoff.next();
        if let Some(at) = give_up {
            wake = wake.min(at);
        }
        tokio::select! {
            () = sleep_until(wake) => {}
            () = ended(&shared) => return,
        }
    }
}

/// Until the link has ended for good.
async fn ended(shared: &Shared) {
    while shared.line.lock().state != State::Closed {
        shared.notify.notified().await;
    }
}

/// A connection, and what is needed to stay with it.
enum Live {
    Native { ping_interval: Duration },
    Original { stream: Arc<Stream>, readable: Readable },
}

/// When an attempt is given up that comes no further from now on.
fn attempt_ends(give_up: Option<Instant>) -> Instant {
    let now = Instant::now();
    give_up.map_or(now + ATTEMPT, |at| (now + ATTEMPT).min(at.max(now + LAST_MOMENT)))
}

/// One try to get a connection on which everything is subscribed again.
async fn attempt(shared: &Arc<Shared>, give_up: Option<Instant>) -> Result<Live, DialError> {
    let deadline = attempt_ends(give_up);
    if shared.is_original() {
        return attempt_original(shared, deadline, give_up.is_some()).await;
    }
    let mut skipped = 0;
    let greeting = handshake::connect(&shared.address, &shared.config, &mut skipped);
    let greeted = timeout_at(deadline, greeting).await;
    shared.inbound.lock().undecodable += skipped;
    let mut greeted = greeted.unwrap_or_else(|_| {
        Err(Retry::Yes.because(Error::ConnectionLost(
            "something accepted the connection and did not answer CONNECT; if it is a broker of the original, \
             set peer=\"original\""
                .to_owned(),
        )))
    })?;
    let info = &greeted.info;
    let ping_interval = ping_interval(info.ping_interval);
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
            .adopt(Arc::clone(&greeted.stream), max_frame, max_depth);
    }
    resubscribe(shared, &mut greeted, give_up).await?;
    let Greeted {
        stream,
        leftover,
        readable,
        ..
    } = greeted;
    drop(readable);
    shared.go_live(stream, leftover);
    Ok(Live::Native { ping_interval })
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
    shared.inbound.lock().spoken = None;
    shared
        .outbox
        .lock()
        .adopt(Arc::clone(&stream), max_frame, DEFAULT_MAX_DEPTH);
    shared.go_live(Arc::clone(&stream), leftover);
    Ok(Live::Original { stream, readable })
}

/// Every SUB and its answer, before anything that was kept is sent. So many at a time as on a live connection: a broker whose answers
/// nobody reads reads no more questions. For the same reason it is read while it takes no more.
async fn resubscribe(shared: &Shared, greeted: &mut Greeted, give_up: Option<Instant>) -> Result<(), DialError> {
    let lost = |error| Retry::Yes.because(error);
    let asked = {
        let mut inbound = shared.inbound.lock();
        inbound.unsend_all();
        inbound.send_some()
    };
    let mut out: Vec<u8> = subs(asked).flatten().collect();
    let (mut deadline, mut before) = (attempt_ends(give_up), 0);
    loop {
        let blocked = !write(&greeted.stream, &mut out);
        let mut happened = Vec::new();
        let (ingested, left) = {
            let mut inbound = shared.inbound.lock();
            let ingested = inbound.ingest(&greeted.leftover, &shared.resume, &mut happened);
            out.extend(subs(inbound.send_some()).flatten());
            (ingested, inbound.entries.unconfirmed())
        };
        for happening in happened {
            match happening {
                Happening::Ping => out.extend(FromClient::Pong.frame()),
                Happening::Error(err) => return Err(handshake::said(err)),
                Happening::Bye(_) => return Err(lost(Error::ConnectionLost("the broker is stopping".to_owned()))),
                Happening::Pong | Happening::Asks(_) | Happening::Room | Happening::Refused(_) => {}
            }
        }
        let (used, paused) = ingested.map_err(lost)?;
        greeted.leftover.drain(..used);
        if left < before {
            deadline = attempt_ends(give_up);
        }
        before = left;
        if !blocked && !out.is_empty() {
            continue;
        }
        if !blocked && (paused || shared.inbound.lock().entries.unanswered() == 0) {
            return Ok(());
        }
        let mut chunk = vec![0; 64 * 1024];
        tokio::select! {
            writable = greeted.stream.writable(), if blocked => {
                writable.map_err(|error| lost(Error::io("waiting to write", &error)))?;
            }
            got = greeted.readable.read_with(|| greeted.stream.try_read(&mut chunk)), if !paused => match got {
                Ok(0) => return Err(handshake::hung_up()),
                Ok(n) => keep(&mut greeted.leftover, chunk.get(..n).unwrap_or_default()).map_err(lost)?,
                Err(error) => return Err(handshake::unread(&error)),
            },
            () = sleep_until(deadline) => {
                let unanswered = "the broker answered CONNECT, and leaves subscriptions without an answer";
                return Err(lost(Error::ConnectionLost(unanswered.to_owned())));
            }
        }
    }
}

/// As much as the kernel takes. False if that is not all.
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

/// How often to speak for a host that does not read, by a broker's number, which may be any.
fn ping_interval(told: f64) -> Duration {
    Duration::try_from_secs_f64(told).map_or(PING_INTERVAL, |told| told.clamp(LEAST_PING_INTERVAL, MAX_DURATION))
}

/// What is due on a live connection from time to time.
struct Duties {
    ping_interval: Duration,
    /// When to see whether the host reads.
    speak: Instant,
    /// When to have confirmed what was published.
    confirm: Option<Instant>,
    /// Bytes consumed at the last look.
    consumed: u64,
}

impl Duties {
    fn new(ping_interval: Duration) -> Self {
        Self {
            ping_interval,
            speak: Instant::now() + ping_interval,
            confirm: None,
            consumed: 0,
        }
    }

    fn next(&self) -> Instant {
        self.confirm.unwrap_or(self.speak).min(self.speak)
    }

    fn fulfil(&mut self, shared: &Shared) {
        let now = Instant::now();
        if self.confirm.is_some_and(|at| at <= now) {
            self.confirm = None;
            shared.outbox.lock().confirm();
        }
        if self.speak <= now {
            self.speak = now + self.ping_interval;
            // The host has not read since: it is paused or busy, and the broker must not take it for dead.
            let consumed = shared.inbound.lock().consumed;
            if consumed == self.consumed {
                let mut outbox = shared.outbox.lock();
                outbox.sign_of_life();
                // Nor does the host see to what it waited to write; a loop that is closed never will.
                outbox.disarm();
            }
            self.consumed = consumed;
        }
    }
}

/// Stays with a live connection until it is lost.
async fn attend(shared: &Arc<Shared>, ping_interval: Duration) {
    let readable = match readable(shared) {
        Ok(readable) => readable,
        Err(cause) => {
            let cause = Error::io("watching the connection", &cause);
            return shared.lost(shared.line.lock(), cause, false);
        }
    };
    let mut duties = Duties::new(ping_interval);
    loop {
        let (stream, is_over) = {
            let line = shared.line.lock();
            let Some(stream) = line.stream.clone() else { return };
            // A write of nothing tells whether anybody is left at the other end.
            let is_over =
                line.paused && matches!(stream.try_write(&[]), Err(error) if error.kind() != io::ErrorKind::WouldBlock);
            (stream, is_over)
        };
        if is_over {
            return lose_unread(shared, &stream, readable.as_ref(), shared.closed_without_a_word()).await;
        }
        let (wants, failed, may_pause, reads) = {
            let line = shared.line.lock();
            let reads = readable.as_ref().filter(|_| !line.paused);
            let may_pause = shared.inbound.lock().may_pause();
            let mut outbox = shared.outbox.lock();
            let sent = shared.write_and_wake(&mut outbox);
            if duties.confirm.is_none() && outbox.is_confirmation_due() {
                duties.confirm = Some(Instant::now() + CONFIRM);
            }
            (sent == Sent::Blocked, outbox.is_failed(), may_pause, reads)
        };
        let mut due = duties.next();
        if may_pause {
            due = due.min(Instant::now() + PROBE);
        }
        Shared::log_left_out(shared.log.take_overdue());
        if let Some(next) = shared.log.next_overdue() {
            due = due.min(next.into());
        }
        if failed {
            read_to_end(shared, reads).await;
            let cause = Error::ConnectionLost("the broker takes no more bytes".to_owned());
            return lose_unread(shared, &stream, readable.as_ref(), cause).await;
        }
        tokio::select! {
            () = shared.notify.notified() => {}
            () = read_once(shared, reads) => {}
            writable = stream.writable(), if wants => {
                drop(writable);
                shared.outbox.lock().disarm();
            }
            () = sleep_until(due) => duties.fulfil(shared),
        }
        if wants {
            // Whatever woke us, the wait for the kernel was ours and is over; the next round starts it again if need be.
            shared.outbox.lock().disarm();
        }
    }
}

/// What to wait with, if reading is left to this task.
fn readable(shared: &Shared) -> io::Result<Option<Readable>> {
    let stream = shared.line.lock().stream.clone();
    match (shared.reader, stream) {
        (Reader::Link, Some(stream)) => stream.readable().map(Some),
        _ => Ok(None),
    }
}

/// One read in the host's place; never, if it is not for us.
async fn read_once(shared: &Shared, reads: Option<&Readable>) {
    match reads {
        Some(readable) => drop(readable.read_with(|| shared.try_read()).await),
        None => pending().await,
    }
}

/// The connection is over, for `cause` unless what is left of it says why.
async fn lose_unread(shared: &Shared, stream: &Arc<Stream>, reads: Option<&Readable>, cause: Error) {
    // A pipe of Windows hands over a part at a time.
    if shared.read_last(stream) && reads.is_some() {
        read_to_end(shared, reads).await;
    }
    shared.lost_unless_known(stream, cause);
}

/// Reads what is left if that is for us, or leaves the time for it to whoever does.
async fn read_to_end(shared: &Shared, reads: Option<&Readable>) {
    let reading = async {
        if let Some(readable) = reads {
            while matches!(readable.read_with(|| shared.try_read()).await, Ok(Read::Open)) {}
        }
        pending::<()>().await
    };
    let _in_time = timeout(GRACE, reading).await;
}
