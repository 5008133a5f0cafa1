//! What was published and is not with the kernel yet: bounded, whole frames, in order. Does no I/O of its own.
//!
//! Also keeps the count of what the broker has confirmed: a PING goes out behind every MiB (or second) of messages, and its PONG says
//! that everything before it was routed.

use std::io::{self, IoSlice};
use std::sync::Arc;

use smallvec::SmallVec;

use super::pings::Pings;
use super::ticket::Ticket;
use crate::cork::Cork;
use crate::error::{Error, Result};
use crate::event::Timestamp;
use crate::queue::Wake;
use crate::topic::{DEFAULT_MAX_DEPTH, LastTopic};
use crate::transport::Stream;
use crate::wire::frame::{self, Kind, PREFIX};
use crate::wire::text::FromClient;

/// Bytes of messages after which a PING asks for confirmation.
const CONFIRM_BYTES: usize = 1024 * 1024;
/// Sent bytes kept in front of the buffer before it is moved together.
const COMPACT: usize = 256 * 1024;
/// What an idle bus may keep.
const KEPT: usize = 256 * 1024;
/// Unsent bytes behind which a TAKEN would not be read in time, and would make the buffer grow.
const TAKEN_BEHIND: usize = 256 * 1024;

/// Where a publish went, or what is left of a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// All is with the kernel.
    Written,
    /// In the buffer; [`Link::flush`](super::Link::flush) soon.
    Buffered,
    /// In the buffer; the kernel takes no more until the descriptor is writable: [`Link::on_writable`](super::Link::on_writable) then.
    Blocked,
    /// In the buffer; somebody waits for the kernel or the connection already.
    Waiting,
    /// Not taken, there is no room. The waker, if one was given, is woken when there is.
    Full,
}

/// Whether a message fits, and the size of its frame.
pub(super) enum Fit {
    Taken(usize),
    Needs(usize),
}

pub(super) struct Outbox {
    buf: Vec<u8>,
    /// First byte that is not with the kernel.
    head: usize,
    /// Start of the frame in which `head` lies.
    frame: usize,
    limit: usize,
    /// Messages may go out now.
    live: bool,
    /// Somebody waits for the kernel to take more.
    armed: bool,
    cork: Cork,
    appended: u64,
    /// `appended` when somebody last looked whether it is idle.
    seen: u64,
    written: u64,
    confirmed: u64,
    /// Written and never confirmed on connections that broke, and frames that were cut in the middle.
    unconfirmed: u64,
    unpinged_bytes: usize,
    confirmation_due: bool,
    /// The supervisor looks whether the host writes what was left to it.
    is_watched: bool,
    /// `appended` and `written` when it last did.
    last_look: (u64, u64),
    pings: Pings,
    waiters: SmallVec<[Arc<dyn Wake>; 1]>,
    /// The least that any of them waits for, in bytes.
    smallest_wanted: usize,
    pub(super) sequence: u64,
    /// The connection that takes the bytes, and what it allows.
    pub(super) stream: Option<Arc<Stream>>,
    pub(super) max_frame: usize,
    pub(super) topics: LastTopic,
    /// The broker at its other end knows `TAKEN`.
    knows_taken: bool,
    /// A write failed on the present connection.
    failed: bool,
    closed: Option<Error>,
}

impl Outbox {
    pub(super) fn new(limit: usize, max_frame: usize) -> Self {
        Self {
            buf: Vec::new(),
            head: 0,
            frame: 0,
            limit,
            live: false,
            armed: false,
            cork: Cork::new(),
            appended: 0,
            seen: 0,
            written: 0,
            confirmed: 0,
            unconfirmed: 0,
            unpinged_bytes: 0,
            confirmation_due: false,
            is_watched: false,
            last_look: (0, 0),
            pings: Pings::default(),
            waiters: SmallVec::new(),
            smallest_wanted: usize::MAX,
            sequence: 0,
            stream: None,
            max_frame,
            topics: LastTopic::new(DEFAULT_MAX_DEPTH),
            knows_taken: false,
            failed: false,
            closed: None,
        }
    }

    /// One that takes no messages, only texts; `error` says why.
    pub(super) fn closed(error: Error, max_frame: usize) -> Self {
        let mut outbox = Self::new(0, max_frame);
        outbox.close(error);
        outbox
    }

    pub(super) fn is_open(&self) -> Result<()> {
        self.closed.as_ref().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Nothing is taken any more; `error` says why.
    pub(super) fn close(&mut self, error: Error) {
        self.closed = Some(error);
        self.stream = None;
    }

    /// A new connection, not live yet.
    pub(super) fn attach(&mut self, stream: Arc<Stream>, max_frame: usize, max_depth: usize, knows_taken: bool) {
        self.stream = Some(stream);
        self.knows_taken = knows_taken;
        (self.max_frame, self.topics) = (max_frame, LastTopic::new(max_depth));
        self.failed = false;
    }

    /// The attached connection did not become live; a reference to it would keep it open.
    pub(super) fn detach(&mut self) {
        self.stream = None;
    }

    pub(super) const fn is_failed(&self) -> bool {
        self.failed
    }

    pub(super) const fn pending(&self) -> usize {
        self.buf.len() - self.head
    }

    /// Appends the message that `encode` writes, if it fits; one message always fits into an empty buffer.
    pub(super) fn append_message(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>, &mut LastTopic) -> Result<usize>,
    ) -> Result<Fit> {
        self.compact();
        let before = self.buf.len();
        let pending = self.pending();
        let len = encode(&mut self.buf, &mut self.topics)?;
        if pending > 0 && pending + len > self.limit {
            self.buf.truncate(before);
            return Ok(Fit::Needs(len));
        }
        self.appended += 1;
        self.unpinged_bytes += len;
        if self.unpinged_bytes >= CONFIRM_BYTES {
            self.ping(None);
        }
        Ok(Fit::Taken(len))
    }

    /// Appends a control text; these are few and never refused.
    pub(super) fn append_text(&mut self, frame: &[u8]) {
        self.compact();
        // Where there is no memory for twice the buffer there may be for these few bytes.
        if self.buf.try_reserve(frame.len()).is_err() {
            let _enough = self.buf.try_reserve_exact(frame.len());
        }
        self.buf.extend_from_slice(frame);
    }

    /// Appends a PONG, unless there are unsent bytes, which show as well that we are alive: a broker that pings and does not read must not
    /// make the buffer grow.
    pub(super) fn keep_alive(&mut self) {
        if self.pending() == 0 {
            self.append_text(&FromClient::Pong.frame());
        }
    }

    /// Appends a TAKEN, if the broker knows it, and unless too much is unsent. True if it did.
    pub(super) fn taken(&mut self) -> bool {
        let tells = self.knows_taken && self.pending() < TAKEN_BEHIND;
        if tells {
            self.append_text(&FromClient::Taken.frame());
        }
        tells
    }

    /// Asked from time to time: gives back what a burst has left, if nothing was published since it was asked last. Who publishes now and
    /// then would have to take it again each time.
    pub(super) fn give_back_if_idle(&mut self) {
        let is_idle = std::mem::replace(&mut self.seen, self.appended) == self.appended;
        if is_idle && self.buf.is_empty() && self.buf.capacity() > KEPT {
            self.buf = Vec::new();
        }
    }

    /// Appends a PING if one is needed; its PONG confirms everything before it and resolves `ticket`.
    pub(super) fn ping(&mut self, ticket: Option<Ticket>) {
        self.unpinged_bytes = 0;
        if self.pings.request(self.appended, ticket) {
            self.append_text(&FromClient::Ping.frame());
        }
    }

    /// The oldest PING was answered; gives the tickets to resolve, and whether another was appended in its place.
    pub(super) fn pong(&mut self) -> (impl Iterator<Item = Ticket> + use<>, bool) {
        let answered = self.pings.answered();
        if let Some((mark, _)) = &answered {
            self.confirmed = self.confirmed.max(*mark);
        }
        let deferred = self.pings.has_deferred();
        if deferred {
            self.ping(None);
        }
        (answered.into_iter().flat_map(|(_, tickets)| tickets), deferred)
    }

    /// Whether the supervisor is to be told that a message was appended and `sent`: once to have it confirmed, and once to look after what
    /// is left to the host.
    pub(super) const fn wants_supervisor(&mut self, sent: Sent) -> bool {
        let unconfirmed = self.unpinged_bytes > 0 && !std::mem::replace(&mut self.confirmation_due, true);
        let is_left = matches!(sent, Sent::Buffered | Sent::Blocked);
        let unwatched = is_left && !std::mem::replace(&mut self.is_watched, true);
        unconfirmed || unwatched
    }

    /// The supervisor is to [`look`](Self::look) every [`LATE`](crate::cork::LATE), and to write what it finds.
    pub(super) const fn is_watched(&self) -> bool {
        self.is_watched
    }

    /// A look of the supervisor, which ends a wait for the kernel in which nothing was written: from then on that is its own. It need not
    /// look again if nothing was published since the last time and all is written.
    pub(super) const fn look(&mut self) {
        let (appended, written) = std::mem::replace(&mut self.last_look, (self.appended, self.written));
        if self.written == written {
            self.disarm();
        }
        self.is_watched = self.pending() > 0 || self.appended != appended;
    }

    /// The supervisor was asked to [`confirm`](Self::confirm).
    pub(super) const fn is_confirmation_due(&self) -> bool {
        self.confirmation_due
    }

    /// Appends a PING if a message stands behind the last one.
    pub(super) fn confirm(&mut self) {
        self.confirmation_due = false;
        if self.unpinged_bytes > 0 {
            self.ping(None);
        }
    }

    /// Lost for certain or written without confirmation, over all connections so far.
    pub(super) const fn unconfirmed(&self) -> u64 {
        self.unconfirmed + self.written.saturating_sub(self.confirmed)
    }

    /// Messages that were ever taken.
    pub(super) const fn published(&self) -> u64 {
        self.appended
    }

    /// Messages that are not wholly with the kernel.
    pub(super) const fn unsent(&self) -> u64 {
        self.appended - self.written
    }

    /// Has `waker` woken when a message of `bytes` fits.
    pub(super) fn wait_for_room(&mut self, waker: &Arc<dyn Wake>, bytes: usize) {
        self.smallest_wanted = self.smallest_wanted.min(bytes);
        if !self.waiters.iter().any(|known| Arc::ptr_eq(known, waker)) {
            self.waiters.push(Arc::clone(waker));
        }
    }

    /// All waiters, as soon as the message of one of them fits, however full the buffer is: the reader may be waiting for that publisher.
    /// Not before, since each try encodes the whole message.
    pub(super) fn take_room(&mut self) -> SmallVec<[Arc<dyn Wake>; 1]> {
        let pending = self.pending();
        if self.waiters.is_empty() || pending > 0 && pending.saturating_add(self.smallest_wanted) > self.limit {
            return SmallVec::new();
        }
        self.take_all_waiters()
    }

    pub(super) fn take_all_waiters(&mut self) -> SmallVec<[Arc<dyn Wake>; 1]> {
        self.smallest_wanted = usize::MAX;
        std::mem::take(&mut self.waiters)
    }

    /// What to do with what was appended at `now`: write at once (`urgent`, or none went out lately), or leave it to the next flush.
    pub(super) fn after_append(&self, now: Timestamp, urgent: bool) -> Sent {
        if !self.live || self.armed {
            Sent::Waiting
        } else if !urgent && self.cork.holds(now, self.pending()) {
            Sent::Buffered
        } else {
            Sent::Written
        }
    }

    /// The end of a turn: true if what is buffered goes out now, false if a later one will see to it. Whoever publishes no more is never
    /// kept waiting for more than that one turn, or, where the loop has none, than twice [`LATE`](crate::cork::LATE).
    pub(super) fn flush_is_due(&mut self, now: Timestamp) -> bool {
        let may_wait = self.cork.end_turn(self.appended);
        !(may_wait && self.cork.holds(now, self.pending()))
    }

    /// What was kept is sent next, except messages for which this broker would end the connection: its `max_frame` may be less than that of
    /// the one before. Gives how many those were.
    pub(super) fn go_live(&mut self) -> u64 {
        (self.live, self.armed) = (true, false);
        let max_frame = self.max_frame;
        let refused = self.retain(0, |kind, body| kind == Kind::Text || body <= max_frame);
        self.written += refused;
        self.confirmed += refused;
        refused
    }

    pub(super) const fn disarm(&mut self) {
        self.armed = false;
    }

    /// Hands the kernel as much as it takes.
    pub(super) fn write_to(&mut self, mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<Sent> {
        if !self.live || self.armed {
            return Ok(Sent::Waiting);
        }
        while let Some(rest) = self.buf.get(self.head..).filter(|rest| !rest.is_empty()) {
            match write(&[IoSlice::new(rest)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.head += n;
                    self.cork.note_write(Timestamp::now());
                    self.count_written();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.armed = true;
                    return Ok(Sent::Blocked);
                }
                Err(error) => {
                    (self.live, self.failed) = (false, true);
                    return Err(error);
                }
            }
        }
        self.buf.clear();
        (self.head, self.frame) = (0, 0);
        Ok(Sent::Written)
    }

    fn count_written(&mut self) {
        while let Some((kind, len)) = frame_at(&self.buf, self.frame) {
            if self.frame + len > self.head {
                break;
            }
            self.frame += len;
            self.written += u64::from(kind == Kind::Message);
        }
    }

    fn compact(&mut self) {
        if self.frame >= COMPACT && self.frame >= self.buf.len() / 2 {
            self.buf.drain(..self.frame);
            self.head -= self.frame;
            self.frame = 0;
        }
    }

    /// The connection broke: a frame sent in part is lost, whole unsent messages are kept, control texts are dropped. Gives the
    /// flush tickets that a later connection must answer.
    pub(super) fn connection_lost(&mut self) -> Vec<Ticket> {
        (self.live, self.armed) = (false, false);
        self.stream = None;
        if self.head > self.frame
            && let Some((kind, len)) = frame_at(&self.buf, self.frame)
        {
            self.frame += len;
            self.written += u64::from(kind == Kind::Message);
        }
        self.retain(self.frame, |kind, _| kind == Kind::Message);
        if self.buf.is_empty() {
            self.buf = Vec::new();
        }
        self.unconfirmed += self.written.saturating_sub(self.confirmed);
        self.confirmed = self.written;
        (self.head, self.frame) = (0, 0);
        self.unpinged_bytes = self.buf.len();
        // What was kept is to be confirmed even if nothing is published any more.
        self.confirmation_due |= !self.buf.is_empty();
        self.pings.take_all()
    }

    /// Keeps of the frames from `start` on those that `keep` says, by kind and length of body. Gives how many went.
    fn retain(&mut self, start: usize, keep: impl Fn(Kind, usize) -> bool) -> u64 {
        // In place: there may be no memory for a copy, which may be why a connection was given up.
        let (mut kept, mut at, mut gone) = (0, start, 0);
        while let Some((kind, len)) = frame_at(&self.buf, at) {
            if keep(kind, len - PREFIX) {
                self.buf.copy_within(at..at + len, kept);
                kept += len;
            } else {
                gone += 1;
            }
            at += len;
        }
        self.buf.truncate(kept);
        gone
    }
}

/// Kind and whole length of the frame that starts at `at`.
fn frame_at(buf: &[u8], at: usize) -> Option<(Kind, usize)> {
    let rest = buf.get(at..)?;
    let (kind, body) = frame::next(rest, usize::MAX).ok()??;
    Some((kind, PREFIX + body.len()))
}

/// The error of everybody who waits when a link ends.
pub(super) fn closed(cause: Option<&Error>) -> Error {
    cause
        .cloned()
        .unwrap_or_else(|| Error::ConnectionClosed("its bus was shut down; make a new one".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(outbox: &mut Outbox, bytes: usize) {
        let appended = outbox.append_message(|buf, _| {
            buf.resize(buf.len() + bytes, 0);
            Ok(bytes)
        });
        assert!(appended.is_ok());
    }

    #[test]
    fn who_publishes_now_and_then_keeps_the_buffer_and_who_is_idle_does_not() {
        let mut outbox = Outbox::new(8 * KEPT, KEPT);
        outbox.live = true;
        let write = |outbox: &mut Outbox| {
            let written = outbox.write_to(|slices| Ok(slices.iter().map(|slice| slice.len()).sum()));
            assert_eq!(written.unwrap(), Sent::Written);
        };
        publish(&mut outbox, 4 * KEPT);
        write(&mut outbox);
        let burst = outbox.buf.capacity();
        for _ in 0..3 {
            publish(&mut outbox, 10);
            write(&mut outbox);
            outbox.give_back_if_idle();
            assert_eq!(outbox.buf.capacity(), burst);
        }
        publish(&mut outbox, 10);
        outbox.give_back_if_idle();
        outbox.give_back_if_idle();
        assert_eq!(outbox.pending(), 10, "what is unsent stays");
        write(&mut outbox);
        outbox.give_back_if_idle();
        assert_eq!(outbox.buf.capacity(), 0);
        publish(&mut outbox, KEPT);
        write(&mut outbox);
        outbox.give_back_if_idle();
        outbox.give_back_if_idle();
        assert!(outbox.buf.capacity() >= KEPT, "a little is kept");
    }
}
