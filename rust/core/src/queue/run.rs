//! What stands in a queue: runs of frames, in-process objects, and gaps where something was lost.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use smallvec::SmallVec;
use uuid::Uuid;

use super::budget::{charged, list_charge};
use super::{DropReason, PopError, Popped};
use crate::growth;
use crate::wire::frame::{self, PREFIX};

/// Subscriptions in one `DROPPED`, so that it stays under the 64 KiB of a text whatever their numbers are.
const COUNTS_PER_FRAME: usize = 1024;
/// Up to so many subscriptions a `DROPPED` is written without asking whether there is memory for it.
const MAX_UNCHECKED_COUNTS: usize = 32;
/// Bytes that writing one of them may take, with what grows by doubling and is copied.
const BYTES_PER_COUNT: usize = 512;

/// A message of this process that was never encoded; the bindings know what it is.
pub type Object = Arc<dyn Any + Send + Sync>;

/// Frames as bytes that are shared, or as what a reader makes of one.
#[derive(Clone)]
pub enum Content<F = Bytes> {
    /// Whole frames, prefix included, back to back.
    Frames(F),
    /// One object, and the size its frame would have.
    Object(Object, usize),
}

impl<F> fmt::Debug for Content<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frames(_) => f.write_str("Frames"),
            Self::Object(_, size) => write!(f, "Object({size} bytes)"),
        }
    }
}

/// Who published, by the kernel's word. The wire has no place for it, so only readers of the broker's own process are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    pub uid: u32,
    pub pid: Option<u32>,
    pub client_id: Uuid,
}

/// Messages of one publisher for the same readers, in order.
#[derive(Debug, Clone)]
pub struct Run {
    pub content: Content,
    pub messages: u32,
    pub sender: Option<Arc<Sender>>,
}

impl Run {
    /// `bytes` must be exactly `messages` whole frames; the queue keeps them alive, so they should not be a small part of a large buffer.
    pub const fn frames(bytes: Bytes, messages: u32) -> Self {
        Self {
            content: Content::Frames(bytes),
            messages,
            sender: None,
        }
    }

    /// A copy of such; `None` where there is no memory for it.
    pub(crate) fn copy_of(frames: &[u8], messages: u32) -> Option<Self> {
        let mut copy = Vec::new();
        copy.try_reserve_exact(frames.len()).ok()?;
        copy.extend_from_slice(frames);
        Some(Self::frames(Bytes::from(copy), messages))
    }

    /// One message of this process; `size`: of the frame that it would be.
    pub const fn object(object: Object, size: usize) -> Self {
        Self {
            content: Content::Object(object, size),
            messages: 1,
            sender: None,
        }
    }

    /// The same, published by `sender`.
    pub fn from(self, sender: Option<&Arc<Sender>>) -> Self {
        Self {
            sender: sender.map(Arc::clone),
            ..self
        }
    }

    /// Of all its frames, prefixes included.
    pub fn bytes(&self) -> usize {
        match &self.content {
            Content::Frames(bytes) => bytes.len(),
            Content::Object(_, size) => *size,
        }
    }

    /// What it takes of a [`Budget`](super::Budget).
    pub(super) fn charged(&self) -> usize {
        charged(self.messages as usize, self.bytes())
    }

    /// Bytes of the first message.
    pub(crate) fn first_len(&self) -> usize {
        match &self.content {
            Content::Frames(bytes) => frame_len(bytes).min(bytes.len()),
            Content::Object(_, size) => *size,
        }
    }

    /// Takes the first message off; the run must hold more than one.
    pub fn split_first(&mut self) -> Self {
        let len = self.first_len();
        let first = match &mut self.content {
            Content::Frames(bytes) => {
                self.messages = self.messages.saturating_sub(1);
                Self::frames(bytes.split_to(len), 1)
            }
            Content::Object(object, size) => {
                self.messages = 0;
                Self::object(Arc::clone(object), std::mem::take(size))
            }
        };
        first.from(self.sender.as_ref())
    }

    /// The frame of the first message, unless that is an object.
    pub(super) fn first_frame(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Frames(bytes) => bytes.get(..self.first_len()),
            Content::Object(..) => None,
        }
    }

    /// The only message that is left, as what was `made` of its [`first_frame`](Self::first_frame).
    pub(super) fn into_popped<F>(self, made: Option<F>, dropped_before: u64) -> Result<Popped<F>, PopError> {
        let content = match (self.content, made) {
            (Content::Frames(_), Some(frame)) => Content::Frames(frame),
            (Content::Object(object, size), _) => Content::Object(object, size),
            (Content::Frames(_), None) => return Err(PopError::Empty),
        };
        Ok(Popped {
            content,
            sender: self.sender,
            dropped_before,
        })
    }

    /// Takes the first message off, as what was `made` of its [`first_frame`](Self::first_frame).
    pub(super) fn pop_first<F>(&mut self, made: Option<F>, dropped_before: u64) -> Result<Popped<F>, PopError> {
        let len = self.first_len();
        self.messages = self.messages.saturating_sub(1);
        let content = match (&mut self.content, made) {
            (Content::Frames(bytes), Some(frame)) => {
                bytes.advance(len);
                Content::Frames(frame)
            }
            (Content::Object(object, size), _) => Content::Object(Arc::clone(object), *size),
            (Content::Frames(_), None) => return Err(PopError::Empty),
        };
        Ok(Popped {
            content,
            sender: self.sender.clone(),
            dropped_before,
        })
    }

    /// Takes off as many messages from the front as fit into `messages` and `bytes` (one more than fits in bytes if `at_least_one`).
    /// `None` if not even one fits.
    pub(crate) fn split_fitting(&mut self, messages: usize, bytes: usize, at_least_one: bool) -> Option<Self> {
        self.split_fitting_budget(messages, bytes, usize::MAX, at_least_one)
    }

    /// The same, and into `budget` as well.
    pub(super) fn split_fitting_budget(
        &mut self,
        messages: usize,
        bytes: usize,
        budget: usize,
        at_least_one: bool,
    ) -> Option<Self> {
        let (count, len) = self.fitting(messages, bytes, budget, at_least_one);
        if count == 0 {
            return None;
        }
        let taken = self.messages.min(count);
        self.messages -= taken;
        let part = match &mut self.content {
            Content::Frames(frames) => Self::frames(frames.split_to(len), taken),
            Content::Object(object, size) => Self::object(Arc::clone(object), *size),
        };
        Some(part.from(self.sender.as_ref()))
    }

    /// Without its first `taken` messages.
    pub(crate) fn skip_first(mut self, taken: u32) -> Self {
        if taken > 0 {
            self.split_fitting(taken as usize, usize::MAX, true);
        }
        self
    }

    /// This part of `whole`, in memory of its own if it would keep much more than itself alive and there is memory for it: what is
    /// charged is what is held.
    pub(crate) fn unshared_from(self, whole: &Self) -> Self {
        let copy = match &self.content {
            Content::Frames(bytes) if bytes.len() < whole.bytes() / 4 => Self::copy_of(bytes, self.messages),
            _ => None,
        };
        match copy {
            Some(copy) => copy.from(self.sender.as_ref()),
            None => self,
        }
    }

    /// Takes off messages from the front, at least one and at most `most`, until `messages` and `bytes` are reached or the run is
    /// used up.
    pub(crate) fn split_at_least(&mut self, messages: usize, bytes: usize, most: usize) -> Self {
        let mut rest: &[u8] = match &self.content {
            Content::Frames(frames) => frames,
            Content::Object(..) => &[],
        };
        let (mut count, mut len) = (0_usize, 0);
        while !rest.is_empty() && (count == 0 || count < most && (count < messages || len < bytes)) {
            let frame = frame_len(rest).min(rest.len());
            rest.advance(frame);
            count += 1;
            len += frame;
        }
        self.split_fitting(count.max(1), len, true)
            .unwrap_or_else(|| self.clone())
    }

    fn fitting(&self, messages: usize, bytes: usize, budget: usize, at_least_one: bool) -> (u32, usize) {
        if self.messages as usize <= messages && self.bytes() <= bytes && self.charged() <= budget {
            return (self.messages, self.bytes());
        }
        let Content::Frames(frames) = &self.content else {
            return if at_least_one { (1, self.bytes()) } else { (0, 0) };
        };
        let (mut count, mut len) = (0, 0);
        let mut rest: &[u8] = frames;
        while count < self.messages && !rest.is_empty() {
            let frame = frame_len(rest).min(rest.len());
            let fits = (count as usize) < messages
                && len + frame <= bytes
                && charged(count as usize + 1, len + frame) <= budget;
            let first = at_least_one && count == 0;
            if !fits && !first {
                break;
            }
            count += 1;
            len += frame;
            rest.advance(frame);
        }
        (count, len)
    }
}

impl Popped<&[u8]> {
    /// What it was taken from, and how many were lost right before it. `None` where there is no memory for it.
    pub(super) fn into_run(self) -> Option<(Run, u64)> {
        let run = match self.content {
            Content::Frames(body) => {
                let mut frame = Vec::new();
                frame.try_reserve_exact(PREFIX + body.len()).ok()?;
                frame.extend_from_slice(&u32::try_from(body.len()).ok()?.to_le_bytes());
                frame.extend_from_slice(body);
                Run::frames(Bytes::from(frame), 1)
            }
            Content::Object(object, size) => Run::object(object, size),
        };
        Some((run.from(self.sender.as_ref()), self.dropped_before))
    }
}

/// Length of the frame at the head of `bytes`, prefix included; runs hold whole frames only.
pub(super) fn frame_len(bytes: &[u8]) -> usize {
    frame::claimed_len(bytes).unwrap_or(usize::MAX)
}

/// So many messages are missing here, by subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gap {
    pub reason: DropReason,
    pub counts: SmallVec<[(u64, u64); 1]>,
}

impl Gap {
    /// `None` where there is no memory for it.
    pub(super) fn new(reason: DropReason, messages: u64, subscriptions: &[u64]) -> Option<Self> {
        let mut counts: SmallVec<[(u64, u64); 1]> = SmallVec::new();
        counts.try_reserve(subscriptions.len()).ok()?;
        counts.extend(subscriptions.iter().map(|id| (*id, messages)));
        counts.sort_unstable();
        Some(Self { reason, counts })
    }

    /// The same subscriptions again, in the same order, is the usual case and costs one pass. False where there is no memory for others.
    pub(super) fn add(&mut self, messages: u64, subscriptions: &[u64]) -> bool {
        if self.counts.iter().map(|(id, _)| id).eq(subscriptions) {
            for (_, count) in &mut self.counts {
                *count = count.saturating_add(messages);
            }
            return true;
        }
        if self.counts.try_reserve(subscriptions.len()).is_err() {
            return false;
        }
        // Most often the next is found right behind the one before.
        let mut next = 0;
        for id in subscriptions {
            let found = match self.counts.get(next) {
                Some((known, _)) if known == id => Ok(next),
                _ => self.counts.binary_search_by_key(id, |(known, _)| *known),
            };
            match found {
                Ok(at) => {
                    if let Some((_, count)) = self.counts.get_mut(at) {
                        *count = count.saturating_add(messages);
                    }
                }
                Err(at) => self.counts.insert(at, (*id, messages)),
            }
            next = found.unwrap_or_else(|at| at) + 1;
        }
        true
    }

    /// What it takes of a [`Budget`](super::Budget).
    pub(super) fn charged(&self) -> usize {
        list_charge::<(u64, u64)>(self.counts.len())
    }

    /// Takes in what another says of the same reason. False where there is no memory for it.
    pub(super) fn join(&mut self, other: &Self) -> bool {
        let same = self
            .counts
            .iter()
            .map(|(id, _)| id)
            .eq(other.counts.iter().map(|(id, _)| id));
        if same {
            for ((_, count), (_, more)) in self.counts.iter_mut().zip(&other.counts) {
                *count = count.saturating_add(*more);
            }
            return true;
        }
        other.counts.iter().all(|(id, count)| self.add(*count, &[*id]))
    }

    /// Over all subscriptions.
    pub(super) fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// As the wire says it: one frame, or several where one could not hold so many subscriptions. `None` where there is no memory for it.
    pub(super) fn frame(&self) -> Option<Bytes> {
        use crate::wire::text::{Dropped, FromBroker};
        if self.counts.len() > MAX_UNCHECKED_COUNTS && !growth::is_available(self.counts.len() * BYTES_PER_COUNT) {
            return None;
        }
        let told = |counts: &[(u64, u64)]| {
            let dropped = Dropped {
                subscriptions: counts.iter().copied().collect(),
                reason: self.reason.name().to_owned(),
            };
            FromBroker::Dropped(dropped).frame()
        };
        Some(Bytes::from(
            self.counts.chunks(COUNTS_PER_FRAME).flat_map(told).collect::<Vec<u8>>(),
        ))
    }
}
