//! The producers' side: what comes in, and what goes to make room for it.
//!
//! A push is decided in this order: nobody reads any more (then it is lost); the reader is to be cut; everything fits; who only tries,
//! or waits for a reader that has not stalled, keeps what does not fit; what is above the budget is lost; of the rest the policy decides.

use std::time::{Duration, Instant};

use super::{Inner, Item, Pace, RESERVED};
use crate::queue::budget::charged;
use crate::queue::{DropReason, OnFull, Overflow, Pushed, Run, Subscriptions};

/// How often who waits for room in the budget looks for it.
const BUDGET_RETRY: Duration = Duration::from_millis(50);
/// Beyond the life of any process.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl Inner {
    pub(in crate::queue) fn push(&mut self, run: &Run, subscriptions: &Subscriptions, on_full: OnFull<'_>) -> Pushed {
        if self.is_closed() {
            self.count_dropped(self.late_reason, u64::from(run.messages) * subscriptions.len() as u64);
            return Pushed::Closed;
        }
        if self.wants_disconnect {
            // Nobody has cut the reader yet; until then this matches, and is lost as what did not fit was.
            self.gap_at_tail(u64::from(run.messages), subscriptions, DropReason::Overflow);
            return Pushed::Closed;
        }
        let waits = match on_full {
            OnFull::Wait(waker) if !self.has_stalled() => Some(waker),
            _ => None,
        };
        let budget = self.budget_for(on_full);
        // The usual case first: everything fits.
        if self.fits_whole(run, budget) || (matches!(on_full, OnFull::Exceed { .. }) && !self.has_stalled()) {
            self.append(run.clone(), subscriptions.clone());
            self.note_served(on_full.waker());
            return Pushed::Done;
        }
        if matches!(on_full, OnFull::Try { .. } | OnFull::TryFirst(_)) {
            let taken = self.take_part(run, subscriptions, budget, on_full);
            return Self::push_result(run, taken, self.stalls_at());
        }
        if waits.is_some() || self.is_full() {
            self.note_short();
        }
        if let Some(waker) = waits {
            let taken = self.take_part(run, subscriptions, budget, on_full);
            let mut retry_at = self.stalls_at();
            if taken < run.messages {
                let next = run.clone().skip_first(taken).first_len();
                self.wait_for_room(waker, next);
                if self.is_within_limits(1, next) {
                    // It is the budget that is short, and whoever makes room there does not know who waits here.
                    retry_at = retry_at.min(Instant::now() + BUDGET_RETRY);
                }
            }
            return Self::push_result(run, taken, retry_at);
        }
        if run.charged() > budget {
            let taken = self.take_part(run, subscriptions, budget, on_full);
            if taken < run.messages {
                self.gap_at_tail(u64::from(run.messages - taken), subscriptions, DropReason::Budget);
            }
            return Pushed::Done;
        }
        match self.overflow {
            Overflow::DropOldest => {
                self.append(run.clone(), subscriptions.clone());
                self.trim_to_limits();
            }
            Overflow::DropNewest => {
                let mut rest = run.clone();
                if let Some(part) = self.split_what_fits(&mut rest, usize::MAX) {
                    self.append(part.unshared_from(run), subscriptions.clone());
                }
                if rest.messages > 0 {
                    self.gap_at_tail(u64::from(rest.messages), subscriptions, DropReason::Overflow);
                }
            }
            Overflow::Disconnect => {
                self.wants_disconnect = true;
                self.gap_at_tail(u64::from(run.messages), subscriptions, DropReason::Overflow);
                return Pushed::Closed;
            }
        }
        Pushed::Done
    }

    /// Takes a run that fits whole; gives back any other.
    pub(in crate::queue) fn try_push(
        &mut self,
        run: Run,
        subscriptions: Subscriptions,
        epoch: u64,
        on_full: OnFull<'_>,
    ) -> Option<(Run, Subscriptions)> {
        if self.epoch != epoch || !self.appends_as_is(&run, on_full) {
            return Some((run, subscriptions));
        }
        self.append(run, subscriptions);
        self.note_served(on_full.waker());
        None
    }

    /// True if `push` would append `run` as it is and do nothing else.
    fn appends_as_is(&mut self, run: &Run, on_full: OnFull<'_>) -> bool {
        if self.is_closed() || self.wants_disconnect {
            return false;
        }
        let budget = self.budget_for(on_full);
        self.fits_whole(run, budget)
    }

    /// How many bytes of the budget a producer who does this when it is full may take.
    fn budget_for(&mut self, on_full: OnFull<'_>) -> usize {
        self.fed_by_blocking |= matches!(
            on_full,
            OnFull::Wait(_) | OnFull::TryFirst(_) | OnFull::Try { block: true } | OnFull::Exceed { block: true }
        );
        // What is to be lossless is never trimmed for the budget; so it must not grow beyond it either, whoever feeds it.
        if self.is_lossless() {
            self.budget.room()
        } else {
            usize::MAX
        }
    }

    fn fits_whole(&self, run: &Run, budget: usize) -> bool {
        self.messages + run.messages as usize <= self.limits.messages
            && self.bytes + run.bytes() <= self.limits.bytes
            && run.charged() <= budget
    }

    const fn push_result(run: &Run, taken: u32, retry_at: Instant) -> Pushed {
        if taken == run.messages {
            return Pushed::Done;
        }
        Pushed::Full { taken, retry_at }
    }

    fn stalls_at(&self) -> Instant {
        let since = match self.pace {
            Pace::ShortSince(since) => since,
            Pace::Room | Pace::Stalled => Instant::now(),
        };
        since + self.stall.unwrap_or(NEVER)
    }

    /// Takes what fits into the queue and into `budget` bytes; an empty queue takes one message whatever it holds, so that no reader
    /// is starved by the others.
    fn take_part(&mut self, run: &Run, subscriptions: &Subscriptions, budget: usize, on_full: OnFull<'_>) -> u32 {
        let mut rest = run.clone();
        let Some(part) = self.split_what_fits(&mut rest, budget) else {
            return 0;
        };
        let taken = part.messages;
        self.append(part.unshared_from(run), subscriptions.clone());
        self.note_served(on_full.waker());
        taken
    }

    /// True if so many messages, of `bytes` together, would come in now without a drop and without a wait.
    pub(in crate::queue) fn accepts(&mut self, messages: usize, bytes: usize) -> bool {
        self.is_closed() || self.wants_disconnect || self.fits(messages, bytes) || self.has_stalled()
    }

    /// An empty queue takes any one message.
    pub(super) fn fits(&self, messages: usize, bytes: usize) -> bool {
        self.messages == 0 && messages == 1
            || self.is_within_limits(messages, bytes) && self.budget.room() >= charged(messages, bytes)
    }

    /// Whether so many messages more, of `bytes` together, are within the queue's own limits.
    const fn is_within_limits(&self, messages: usize, bytes: usize) -> bool {
        self.messages.saturating_add(messages) <= self.limits.messages
            && self.bytes.saturating_add(bytes) <= self.limits.bytes
    }

    fn split_what_fits(&self, run: &mut Run, budget: usize) -> Option<Run> {
        run.split_fitting_budget(
            self.limits.messages.saturating_sub(self.messages),
            self.limits.bytes.saturating_sub(self.bytes),
            budget,
            self.messages == 0,
        )
    }

    /// One message is never too much.
    pub(in crate::queue) const fn is_exceeded(&self) -> bool {
        self.messages > 1 && (self.messages > self.limits.messages || self.bytes > self.limits.bytes)
    }

    fn trim_to_limits(&mut self) {
        while self.is_exceeded() {
            let (messages, bytes) = (
                self.messages.saturating_sub(self.limits.messages),
                self.bytes.saturating_sub(self.limits.bytes),
            );
            // One message stays, however large, or a queue smaller than a frame would never deliver any: the newest, unless the kernel has
            // another in part.
            let spare = self.messages.saturating_sub(1);
            if !self.drop_front(messages, bytes, spare, DropReason::Overflow) {
                break;
            }
        }
    }

    pub(in crate::queue) fn trim_oldest(&mut self, bytes: usize, reason: DropReason) -> usize {
        let before = self.snapshot().charged();
        loop {
            let now = self.snapshot().charged();
            // The gap that is left may take more than the first message that it is for.
            let freed = before.saturating_sub(now);
            let missing = bytes.saturating_sub(freed);
            // The share of it that are bytes of frames; the next round takes what that was too little.
            let frames = (missing as u128 * self.bytes as u128).div_ceil(now.max(1) as u128);
            if missing == 0 || !self.drop_front(0, usize::try_from(frames).unwrap_or(usize::MAX), usize::MAX, reason) {
                return freed;
            }
        }
    }

    /// Drops messages of the oldest run that may be dropped, at least one and at most `most`, until `messages` and `bytes` are freed or
    /// that run is gone, and leaves a gap in their place. False if nothing may be dropped.
    fn drop_front(&mut self, messages: usize, bytes: usize, most: usize, reason: DropReason) -> bool {
        let Some(mut at) = self.items.iter().position(|item| matches!(item, Item::Run(..))) else {
            return false;
        };
        // What the kernel has in part is not at our disposal.
        if at == 0 && self.partial > 0 {
            let splits = self.reserve(RESERVED / 2);
            let Some(Item::Run(run, subscriptions, _)) = self.items.front_mut() else {
                return false;
            };
            if run.messages > 1 && splits {
                let first = Item::Run(run.split_first(), subscriptions.clone(), 0);
                self.items.push_front(first);
                at = 1;
            } else {
                match self.items.iter().skip(1).position(|item| matches!(item, Item::Run(..))) {
                    Some(next) => at = next + 1,
                    None => return false,
                }
            }
        }
        let Some(Item::Run(run, subscriptions, list)) = self.items.get_mut(at) else {
            return false;
        };
        let (subscriptions, list) = (subscriptions.clone(), *list);
        let lost = run.split_at_least(messages, bytes, most);
        let is_whole = run.messages == 0;
        if is_whole {
            self.items.remove(at);
            self.release_list(list);
        }
        let pairs = self.release(&lost, subscriptions.len());
        self.count_dropped(reason, pairs);
        self.gap_before(at, u64::from(lost.messages), &subscriptions, reason);
        if is_whole {
            self.join_gaps(at);
        }
        true
    }
}
