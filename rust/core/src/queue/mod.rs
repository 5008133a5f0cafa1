//! The bounded, accounted queue in front of every reader: a connection at the broker, a subscription at its consumer.
//!
//! Model: a producer pushes [`Run`]s (whole frames in one piece, or one in-process object) for the subscriptions that
//! matched; one reader takes them out, either as bytes ([`Queue::write_to`]) or one by one ([`Queue::pop`]). The queue
//! is bounded in messages and bytes. When it is full, its [`Overflow`] policy decides, or the producer waits, if it said so.
//!
//! Guarantees:
//! * the unit of account is (message, subscription): `matched = delivered + dropped(by reason) + pending`, exactly, with what comes after
//!   the end;
//! * a loss is told at its place in the stream by a [`Gap`]; neighbouring gaps of one reason are one;
//! * answers stand where they were given and are never dropped (without memory for one the reader is cut); a subscription change and its
//!   answer are one step;
//! * a frame that is being written is finished, never dropped; no lock is held across anything that can block;
//! * nobody waits for a reader that took nothing for the stall timeout, where the queue has one.

mod budget;
mod drop_reason;
mod inner;
mod late_losses;
mod offer;
mod run;
mod snapshot;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::lock::Mutex;

pub use crate::wire::text::Overflow;
pub use budget::Budget;
pub use drop_reason::DropReason;
pub(crate) use late_losses::LateLosses;
pub use offer::{OnFull, Pushed};
pub(crate) use run::Gap;
pub use run::{Content, Object, Run, Sender};
pub use snapshot::Snapshot;
pub use subscriptions::Subscriptions;

use inner::Inner;

/// Something that can be told that there is work; must neither block nor take a queue's lock.
pub trait Wake: Send + Sync {
    /// May be called from any thread, also when nobody waits.
    fn wake(&self);

    /// For a reader: its queue is more than half full, and it has taken something since it was last told so. Whoever feeds it on the
    /// reader's own thread should let it run.
    fn tell_backlog(&self) {}
}

/// How much may wait. At least one message is always taken when nothing waits, however large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub messages: usize,
    pub bytes: usize,
}

/// Unsent answers at which a connection is no longer read, until half are gone.
pub(crate) const MAX_ANSWERS: usize = 1024;
pub(crate) const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// One message taken out by [`Queue::pop`].
#[derive(Debug)]
pub struct Popped<F = Bytes> {
    pub content: Content<F>,
    /// `None` at a client, who is not told.
    pub sender: Option<Arc<Sender>>,
    /// How many were lost right before it.
    pub dropped_before: u64,
}

/// Why [`Queue::pop`] has nothing.
// As wide as a word, so that a result of it or a message is moved in whole words. With a byte the compiler copies from odd places, and each
// copy waits for the stores before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum PopError {
    /// Nothing is queued; the reader will be woken.
    Empty,
    /// Closed and read to the end, or the reader is to be cut and has read all.
    Ended,
}

/// How far [`Queue::write_to`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Everything is with the kernel.
    All,
    /// The kernel takes no more for now, or has taken so much that others should have their turn.
    Blocked,
    /// Another flush waits for the kernel already; it will go on.
    Armed,
    /// The reader is to be cut, which its task must hear of also where it waits for a kernel that takes nothing.
    Disconnect,
}

/// What [`Queue::write_one`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WrittenOne {
    /// One message is with the kernel, whole.
    Sent,
    /// The kernel has a part of it, or nothing: go on when it takes bytes again.
    Blocked,
    /// Nothing waits; the reader will be woken.
    Nothing,
}

/// See the module's documentation.
pub struct Queue {
    inner: Mutex<Inner>,
    reader: Arc<dyn Wake>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("snapshot", &self.snapshot())
            .finish_non_exhaustive()
    }
}

impl Queue {
    /// `reader` is woken when something comes into an empty queue, and when the queue ends. Nobody waits for a reader that takes nothing
    /// for `stall`; `None`: it is waited for.
    pub fn new(
        limits: Limits,
        overflow: Overflow,
        stall: Option<Duration>,
        budget: Arc<Budget>,
        reader: Arc<dyn Wake>,
    ) -> Self {
        Self {
            inner: Mutex::new(Inner::new(limits, overflow, stall, budget)),
            reader,
        }
    }

    /// Offers `run`, matched by `subscriptions` as they stood at `epoch`.
    pub fn push(&self, run: &Run, subscriptions: &Subscriptions, epoch: u64, on_full: OnFull<'_>) -> Pushed {
        self.fill(|inner| {
            if inner.epoch == epoch {
                inner.push(run, subscriptions, on_full)
            } else {
                Pushed::Stale
            }
        })
    }

    /// As [`push`](Self::push), for the subscriptions that `look_up` finds for the epoch, under the lock that keeps them as they are;
    /// `Stale` where it finds none. A closed queue has lost it for those that `matched` before.
    pub(crate) fn push_looked_up(
        &self,
        run: &Run,
        matched: &Subscriptions,
        on_full: OnFull<'_>,
        look_up: impl FnOnce(u64) -> Option<Subscriptions>,
    ) -> Pushed {
        self.fill(|inner| {
            if inner.is_closed() {
                return inner.push(run, matched, on_full);
            }
            match look_up(inner.epoch) {
                Some(subscriptions) => inner.push(run, &subscriptions, on_full),
                None => Pushed::Stale,
            }
        })
    }

    /// The usual case of [`push`](Self::push), without a copy: takes a run that fits whole, and gives back any other.
    pub(crate) fn try_push(
        &self,
        run: Run,
        subscriptions: Subscriptions,
        epoch: u64,
        on_full: OnFull<'_>,
    ) -> Option<(Run, Subscriptions)> {
        self.fill(|inner| inner.try_push(run, subscriptions, epoch, on_full))
    }

    /// As [`try_push`](Self::try_push), for a producer who flushes the queue itself soon: a waiting reader is not woken, and `true` says
    /// that it waits. The next producer wakes it, unless that one has made the same promise.
    pub(crate) fn try_push_unwoken(
        &self,
        run: Run,
        subscriptions: Subscriptions,
        epoch: u64,
        on_full: OnFull<'_>,
    ) -> Result<bool, (Run, Subscriptions)> {
        let mut inner = self.inner.lock();
        match inner.try_push(run, subscriptions, epoch, on_full) {
            None => Ok(inner.is_idle()),
            Some(left) => Err(left),
        }
    }

    /// Wakes a reader that waits though there is something to read.
    pub(crate) fn wake_reader(&self) {
        self.fill(|_| ());
    }

    /// Says that `messages` matched messages will not come, at this place of the stream. False if closed or out of date (`epoch`).
    pub(crate) fn push_gap(
        &self,
        messages: u64,
        subscriptions: &Subscriptions,
        epoch: u64,
        reason: DropReason,
    ) -> bool {
        self.fill(|inner| {
            if inner.is_closed() || inner.epoch != epoch {
                return false;
            }
            inner.gap_at_tail(messages, subscriptions, reason);
            true
        })
    }

    /// As [`push_gap`](Self::push_gap), for the subscriptions that `look_up` finds under the lock that keeps them as they are. In a closed
    /// queue it is counted for those that `matched` before.
    pub(crate) fn push_gap_looked_up(
        &self,
        messages: u64,
        matched: &Subscriptions,
        reason: DropReason,
        look_up: impl FnOnce() -> Option<Subscriptions>,
    ) -> bool {
        self.fill(|inner| {
            if inner.is_closed() {
                inner.count_dropped(reason, messages.saturating_mul(matched.len() as u64));
                return false;
            }
            let Some(subscriptions) = look_up() else { return false };
            inner.gap_at_tail(messages, &subscriptions, reason);
            true
        })
    }

    /// Counts what matched after its only subscription was closed here.
    pub fn count_lost(&self, messages: u64, reason: DropReason) {
        let mut inner = self.inner.lock();
        if inner.is_closed() {
            inner.count_dropped(reason, messages);
        }
    }

    /// Changes the subscriptions of this reader and says so in its stream as one step: nothing that was looked up before `change`
    /// can come in after the answer, nothing looked up after it can come in before.
    pub fn change<R>(&self, change: impl FnOnce(u64) -> (R, Option<Bytes>)) -> R {
        self.fill(|inner| {
            inner.epoch += 1;
            let (result, answer) = change(inner.epoch);
            if let Some(answer) = answer {
                inner.answer(answer);
            }
            result
        })
    }

    /// Appends an answer (a whole frame). True if so many are unsent that the connection must not be read for now.
    pub fn answer(&self, frame: Bytes) -> bool {
        self.fill(|inner| {
            inner.answer(frame);
            inner.answers_full()
        })
    }

    /// Lets `merge` rewrite the last unsent answer if that stands at the very end; false if there is none or `merge` declined.
    pub(crate) fn merge_answer(&self, merge: impl FnOnce(&[u8]) -> Option<Bytes>) -> bool {
        self.inner.lock().merge_answer(merge)
    }

    /// True while too many answers are unsent; then `waker` is woken when half are gone.
    pub(crate) fn answers_full(&self, waker: &Arc<dyn Wake>) -> bool {
        self.inner.lock().wait_for_answers(waker)
    }

    /// Hands the kernel as much as it takes. `write` must not block. After `Blocked` the caller owns the wait for the kernel and ends it
    /// with [`disarm`](Self::disarm); meanwhile other flushes return `Armed`.
    pub fn write_to(&self, write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<Written> {
        self.drain(|inner| inner.write_to(write))
    }

    /// Hands the kernel one message, in one piece, for a reader who is told of no gaps. `write` must not block. Not to be mixed with
    /// [`write_to`](Self::write_to).
    pub(crate) fn write_one(&self, write: impl FnOnce(&[u8]) -> io::Result<usize>) -> io::Result<WrittenOne> {
        self.drain(|inner| inner.write_one(write))
    }

    /// True if the kernel has a message in part, which must be finished before anything else is written.
    pub(crate) fn is_partial(&self) -> bool {
        self.inner.lock().is_partial()
    }

    /// Bytes that the kernel has taken since there is this queue.
    pub fn written(&self) -> u64 {
        self.inner.lock().written
    }

    /// The kernel takes bytes again.
    pub fn disarm(&self) {
        self.inner.lock().armed = false;
    }

    /// The reader takes messages on its side, behind what the kernel has of them: it has not stalled.
    pub fn note_taken(&self) {
        self.inner.lock().note_progress();
    }

    /// The next push is to wake the reader, unless something waits already: then true.
    pub fn arm_reader(&self) -> bool {
        self.inner.lock().arm_reader()
    }

    /// Takes one message out, a frame as a copy.
    pub fn pop(&self) -> Result<Popped, PopError> {
        let Ok(popped) = self.pop_as(|frame| Ok::<_, Infallible>(Bytes::copy_from_slice(frame)));
        popped
    }

    /// Takes one message out, a frame as what `make` makes of it; that happens under the lock and must be short. Where `make` fails,
    /// with its error, or panics, the message stays where it is.
    pub fn pop_as<F, E>(&self, make: impl FnOnce(&[u8]) -> Result<F, E>) -> Result<Result<Popped<F>, PopError>, E> {
        self.drain(|inner| inner.pop(make))
    }

    /// Undoes a [`pop`](Self::pop): the message is first again, with what was lost before it, and not delivered. Where there is no memory
    /// to keep it, it is counted as lost. A frame comes back as its body alone. For a queue of one subscription.
    pub fn put_back(&self, popped: Popped<&[u8]>, subscriptions: &Subscriptions) {
        self.inner.lock().put_back(popped, subscriptions);
    }

    /// Drops from the oldest until `bytes` of the budget are freed or nothing more may go; gives what was freed. Who cannot be told is cut.
    pub(crate) fn trim(&self, bytes: usize, reason: DropReason) -> usize {
        let freed = self.fill(|inner| inner.trim_oldest(bytes, reason));
        self.drain(|_| freed)
    }

    /// Nothing more comes in; what is queued can still be read. What comes all the same is lost as [`DropReason::Closed`].
    pub fn finish(&self) {
        self.end(Inner::finish);
    }

    /// As [`finish`](Self::finish), for a reader that has not left but was lost or cut: what comes all the same is lost as
    /// [`DropReason::Disconnected`], unless the queue was closed before.
    pub(crate) fn break_off(&self) {
        self.end(Inner::break_off);
    }

    /// Nothing more comes in and what is pending is dropped, for the `reason` of each subscription. Gives how many messages that were.
    pub fn discard(&self, reason: impl Fn(u64) -> DropReason) -> u64 {
        self.end(|inner| inner.discard(reason))
    }

    /// Drops what is pending, for the `reason` of each subscription, except a frame that is being written and unsent answers; then comes
    /// `last`, then the end, as with [`break_off`](Self::break_off). Gives how many messages were dropped.
    pub(crate) fn end_with(&self, last: Option<Bytes>, reason: impl Fn(u64) -> DropReason) -> u64 {
        self.end(|inner| inner.end_with(last, reason))
    }

    /// True if so many messages, of `bytes` together, would come in now without a drop and without a wait.
    pub fn accepts(&self, messages: usize, bytes: usize) -> bool {
        self.inner.lock().accepts(messages, bytes)
    }

    /// Whether it holds more than it may: what came with [`OnFull::Exceed`].
    pub(crate) fn is_exceeded(&self) -> bool {
        self.inner.lock().is_exceeded()
    }

    /// True once nothing more comes in; something may still be left to read.
    pub fn is_closed(&self) -> bool {
        self.inner.lock().is_closed()
    }

    /// True once the reader is to be cut: an overflow with policy `disconnect` asked for that, or it [is out of
    /// memory](Self::is_out_of_memory).
    pub fn wants_disconnect(&self) -> bool {
        self.inner.lock().must_disconnect()
    }

    /// True once there was no memory for what the reader must be told.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        self.inner.lock().out_of_memory
    }

    /// True if there is nothing left to read, answers and gaps included.
    pub fn is_empty(&self) -> bool {
        self.inner.lock().is_empty()
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.inner.lock().epoch
    }

    /// True if a producer who waits has fed this queue since it was last empty, and its reader has not stalled: then it does not give way
    /// for the budget. A producer who does not wait still has its policy applied, whoever sent what that drops.
    pub(crate) fn is_lossless(&self) -> bool {
        self.inner.lock().is_lossless()
    }

    /// One consistent look at what it holds and has done.
    pub fn snapshot(&self) -> Snapshot {
        self.inner.lock().snapshot()
    }

    /// The last look at a queue that has ended. What is lost in it from now on is counted in `late` besides.
    pub(crate) fn settle(&self, late: &Arc<LateLosses>) -> Snapshot {
        let mut inner = self.inner.lock();
        inner.late_losses = Some(Arc::clone(late));
        inner.snapshot()
    }

    // Whatever is done to a queue ends in one of these three ways, and nobody is woken under its lock.

    /// Puts something in; the reader is woken if it waits, or is to be cut.
    #[inline]
    fn fill<R>(&self, put: impl FnOnce(&mut Inner) -> R) -> R {
        let mut inner = self.inner.lock();
        let cut_before = inner.must_disconnect();
        let result = put(&mut inner);
        // A reader to be cut is told also while it waits for the kernel.
        let wake = inner.take_idle() || (inner.must_disconnect() && !cut_before);
        let backlog = inner.take_backlog();
        drop(inner);
        if wake {
            self.reader.wake();
        }
        if backlog {
            self.reader.tell_backlog();
        }
        result
    }

    /// Takes something out; whoever waits for that is woken.
    #[inline]
    fn drain<R>(&self, take: impl FnOnce(&mut Inner) -> R) -> R {
        let mut inner = self.inner.lock();
        let result = take(&mut inner);
        let ready = inner.take_ready();
        drop(inner);
        for waker in ready {
            waker.wake();
        }
        result
    }

    /// Ends the queue; everybody is woken.
    fn end<R>(&self, end: impl FnOnce(&mut Inner) -> R) -> R {
        let mut inner = self.inner.lock();
        let result = end(&mut inner);
        let waiting = inner.take_all_waiters();
        drop(inner);
        for waker in waiting {
            waker.wake();
        }
        self.reader.wake();
        result
    }
}
