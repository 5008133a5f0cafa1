//! The reader's side: bytes for the kernel, or messages one by one.
//!
//! A queue has one way out: `write_to` for a connection, `write_one` for a peer of the original, `pop` for a subscription. A message is
//! delivered when the kernel has all of its frame, or when it was popped; until then it is pending, though no longer to be dropped once
//! the kernel has its first byte.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use smallvec::SmallVec;

use super::{Inner, Item};
use crate::queue::{Content, DropReason, Gap, PopError, Popped, Run, Subscriptions, Written, WrittenOne};

/// Slices handed to the kernel in one call, and the bytes after which no more are collected.
const MAX_SLICES: usize = 64;
const MAX_WRITE: usize = 256 * 1024;
/// Bytes after which others have their turn, however fast the reader takes them.
const MAX_TURN: usize = 1024 * 1024;
/// Places for items that an empty queue keeps.
const KEPT_ITEMS: usize = 256;

impl Inner {
    pub(in crate::queue) fn write_to(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<Written> {
        if self.must_disconnect() && !self.is_closed() {
            return Ok(Written::Disconnect);
        }
        if self.armed {
            return Ok(Written::Armed);
        }
        let mut turn = 0;
        loop {
            // Only a gap at the very front is final: until then it may grow.
            if let Some(front) = self.items.front_mut()
                && let Item::Gap(gap) = front
            {
                let Some(frame) = gap.frame() else {
                    self.out_of_memory = true;
                    // Who leaves is to be told nothing more than this, and the stream breaks off where it cannot be.
                    return if self.is_closed() {
                        Err(io::ErrorKind::OutOfMemory.into())
                    } else {
                        Ok(Written::Disconnect)
                    };
                };
                self.answers += 1;
                self.answer_bytes += frame.len();
                let list = gap.charged();
                *front = Item::Answer(frame);
                self.release_gap(list);
            }
            let mut slices: SmallVec<[IoSlice<'_>; MAX_SLICES]> = SmallVec::new();
            let mut len = 0;
            for item in &self.items {
                let bytes = match item {
                    Item::Run(
                        Run {
                            content: Content::Frames(bytes),
                            ..
                        },
                        ..,
                    )
                    | Item::Answer(bytes) => bytes,
                    Item::Run(..) | Item::Gap(_) => break,
                };
                let skip = if len == 0 && slices.is_empty() { self.partial } else { 0 };
                let bytes = bytes.get(skip..).unwrap_or_default();
                slices.push(IoSlice::new(bytes));
                len += bytes.len();
                if slices.len() == MAX_SLICES || len >= MAX_WRITE {
                    break;
                }
            }
            if slices.is_empty() {
                drop(slices);
                self.idle = true;
                self.shrink();
                return Ok(Written::All);
            }
            if turn >= MAX_TURN {
                self.armed = true;
                return Ok(Written::Blocked);
            }
            match write(&slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    drop(slices);
                    self.advance(written);
                    self.note_progress();
                    turn += written;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.armed = true;
                    return Ok(Written::Blocked);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(in crate::queue) fn write_one(
        &mut self,
        write: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> io::Result<WrittenOne> {
        while let Some(Item::Gap(gap)) = self.items.front() {
            let list = gap.charged();
            self.items.pop_front();
            self.release_gap(list);
        }
        let bytes = match self.items.front() {
            Some(Item::Run(run, ..)) => match &run.content {
                Content::Frames(bytes) => bytes.get(..run.first_len()),
                Content::Object(..) => None,
            },
            Some(Item::Answer(bytes)) => Some(bytes.as_ref()),
            Some(Item::Gap(_)) | None => None,
        };
        let Some(rest) = bytes.and_then(|bytes| bytes.get(self.partial..)) else {
            self.idle = true;
            self.shrink();
            return Ok(WrittenOne::Nothing);
        };
        match write(rest) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                self.advance(written);
                self.note_progress();
                Ok(if self.is_partial() {
                    WrittenOne::Blocked
                } else {
                    WrittenOne::Sent
                })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(WrittenOne::Blocked),
            Err(error) => Err(error),
        }
    }

    /// Gives back what a burst has left behind; an idle reader should cost little.
    fn shrink(&mut self) {
        if self.items.capacity() > KEPT_ITEMS && self.items.is_empty() {
            self.items = VecDeque::new();
        }
    }

    /// The kernel has taken `written` bytes more.
    fn advance(&mut self, written: usize) {
        self.written += written as u64;
        let mut rest = self.partial + written;
        self.partial = 0;
        loop {
            match self.items.front_mut() {
                Some(Item::Run(run, subscriptions, _)) => {
                    let subscriptions = subscriptions.len();
                    let sent = run.split_fitting(usize::MAX, rest, false);
                    let whole = run.messages == 0;
                    if let Some(sent) = sent {
                        rest -= sent.bytes();
                        self.delivered += self.release(&sent, subscriptions);
                    }
                    if !whole {
                        break;
                    }
                }
                Some(Item::Answer(frame)) => {
                    if rest < frame.len() {
                        break;
                    }
                    rest -= frame.len();
                    self.answers -= 1;
                    self.answer_bytes -= frame.len();
                }
                Some(Item::Gap(_)) | None => break,
            }
            if let Some(Item::Run(_, _, list)) = self.items.pop_front() {
                self.release_list(list);
            }
        }
        self.partial = rest;
    }

    pub(in crate::queue) fn pop<F, E>(
        &mut self,
        make: impl FnOnce(&[u8]) -> Result<F, E>,
    ) -> Result<Result<Popped<F>, PopError>, E> {
        // A gap without a message behind it waits for one to tell it.
        let Some(next) = self.items.iter().position(|item| matches!(item, Item::Run(..))) else {
            return Ok(Err(self.nothing_to_pop()));
        };
        let made = match self.items.get(next) {
            Some(Item::Run(run, ..)) => run.first_frame().map(make).transpose()?,
            _ => None,
        };
        // From here on nothing fails.
        let mut dropped_before = 0;
        for _ in 0..next {
            if let Some(Item::Gap(gap)) = self.items.pop_front() {
                dropped_before = gap.total().saturating_add(dropped_before);
                self.release_gap(gap.charged());
            }
        }
        let Some(Item::Run(run, subscriptions, _)) = self.items.front_mut() else {
            return Ok(Err(self.nothing_to_pop()));
        };
        let (subscriptions, bytes) = (subscriptions.len(), run.first_len());
        let popped = if run.messages > 1 {
            run.pop_first(made, dropped_before)
        } else if let Some(Item::Run(last, _, list)) = self.items.pop_front() {
            self.release_list(list);
            last.into_popped(made, dropped_before)
        } else {
            Err(PopError::Empty)
        };
        self.delivered += self.release_part(1, bytes, subscriptions);
        self.note_progress();
        Ok(popped)
    }

    fn nothing_to_pop(&mut self) -> PopError {
        // Who reads here is cut by being told.
        if self.is_closed() || self.wants_disconnect {
            return PopError::Ended;
        }
        self.idle = true;
        self.shrink();
        PopError::Empty
    }

    pub(in crate::queue) fn put_back(&mut self, popped: Popped<&[u8]>, subscriptions: &Subscriptions) {
        let pairs = subscriptions.len() as u64;
        self.delivered = self.delivered.saturating_sub(pairs);
        let run = popped.into_run().filter(|_| self.items.try_reserve(2).is_ok());
        let Some((run, dropped_before)) = run else {
            return self.count_dropped(DropReason::NoMemory, pairs);
        };
        self.charge_run(&run, subscriptions);
        self.items.push_front(Item::Run(run, subscriptions.clone(), 0));
        let gap = (dropped_before > 0).then(|| Gap::new(DropReason::Overflow, dropped_before, subscriptions));
        if let Some(gap) = gap.flatten() {
            self.charge_gap(gap.charged());
            self.items.push_front(Item::Gap(gap));
        }
    }
}
