//! The queue under its lock: what is held, the account of it, and who waits.
//!
//! Messages come in by `append` ([`fill`]) and leave by `release` ([`drain`] and [`fill`]) or all together at the end, so that limits,
//! budget and the account cannot drift from the items.

mod drain;
mod fill;
mod pace;
mod waiters;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::pace::Pace;
use self::waiters::Waiters;
use super::budget::list_charge;
use super::{
    Budget, DropReason, Gap, LateLosses, Limits, MAX_ANSWER_BYTES, MAX_ANSWERS, Overflow, Run, Snapshot, Subscriptions,
};

/// Places reserved with each run: for itself, for the gap that it may leave, for an answer, and for the part that is being written.
const RESERVED: usize = 4;
/// How many of the last items are searched for a run with the same list of subscriptions, to share that list.
const SHARE_WITHIN: usize = 16;
/// Bytes of long lists in unsent gaps, above which a client is read no further.
const MAX_GAP_LISTS: usize = 256 * 1024;

enum Item {
    /// With what its list is charged: nothing where a run near before it has the same.
    Run(Run, Subscriptions, usize),
    Answer(Bytes),
    Gap(Gap),
}

pub(super) struct Inner {
    items: VecDeque<Item>,
    limits: Limits,
    overflow: Overflow,
    budget: Arc<Budget>,
    messages: usize,
    bytes: usize,
    /// Of long lists of subscriptions, in runs and gaps.
    lists: usize,
    /// Of those, in gaps.
    gap_lists: usize,
    pending: u64,
    delivered: u64,
    dropped: [u64; DropReason::ALL.len()],
    answers: usize,
    answer_bytes: usize,
    /// So many answers were unsent that the connection is not read, and half of them are not gone yet.
    answers_paused: bool,
    /// Bytes of the frame at the front that the kernel has already.
    partial: usize,
    /// Bytes that the kernel ever took.
    pub(super) written: u64,
    pub(super) epoch: u64,
    /// Nothing more comes in.
    closed: bool,
    /// Why what comes all the same is lost.
    late_reason: DropReason,
    /// Where it is counted besides, once the numbers of this queue have been taken.
    pub(super) late_losses: Option<Arc<LateLosses>>,
    pub(super) wants_disconnect: bool,
    /// There was no memory for something that the reader must be told.
    pub(super) out_of_memory: bool,
    pub(super) fed_by_blocking: bool,
    pub(super) armed: bool,
    /// The reader found nothing and waits to be woken.
    idle: bool,
    /// It was told that the queue is half full, and has taken nothing since.
    backlog_told: bool,
    pub(super) waiters: Waiters,
    /// `None`: its reader is never counted as stalled, and no clock is read for it.
    stall: Option<Duration>,
    pace: Pace,
}

impl Inner {
    pub(super) fn new(limits: Limits, overflow: Overflow, stall: Option<Duration>, budget: Arc<Budget>) -> Self {
        Self {
            items: VecDeque::new(),
            limits,
            overflow,
            budget,
            messages: 0,
            bytes: 0,
            lists: 0,
            gap_lists: 0,
            pending: 0,
            delivered: 0,
            dropped: [0; DropReason::ALL.len()],
            answers: 0,
            answer_bytes: 0,
            answers_paused: false,
            partial: 0,
            written: 0,
            epoch: 0,
            closed: false,
            late_reason: DropReason::Closed,
            late_losses: None,
            wants_disconnect: false,
            out_of_memory: false,
            fed_by_blocking: false,
            armed: false,
            idle: true,
            backlog_told: false,
            waiters: Waiters::default(),
            stall,
            pace: Pace::Room,
        }
    }

    /// True if a producer who waits has fed this queue since it was last empty, and its reader has not stalled.
    pub(super) fn is_lossless(&self) -> bool {
        self.fed_by_blocking && self.pace != Pace::Stalled
    }

    /// Appends `run`; without memory for another item it is lost.
    pub(super) fn append(&mut self, run: Run, subscriptions: Subscriptions) {
        if !self.reserve(RESERVED) {
            return self.lose_run(&run, &subscriptions);
        }
        self.charge_run(&run, &subscriptions);
        let (subscriptions, list) = self.share(subscriptions);
        self.charge_list(list);
        self.items.push_back(Item::Run(run, subscriptions, list));
    }

    /// The list of a run near the end if it is the same, and what there is to charge for it.
    fn share(&self, subscriptions: Subscriptions) -> (Subscriptions, usize) {
        let list = list_charge::<u64>(subscriptions.len());
        if list == 0 {
            return (subscriptions, 0);
        }
        let same = |item: &Item| match item {
            Item::Run(_, known, _) if *known == subscriptions => Some(known.clone()),
            _ => None,
        };
        match self.items.iter().rev().take(SHARE_WITHIN).find_map(same) {
            Some(known) => (known, 0),
            None => (subscriptions, list),
        }
    }

    // Most lists are short and cost nothing, the step at everybody's counter included.
    fn charge_list(&mut self, list: usize) {
        if list > 0 {
            self.lists += list;
            self.budget.charge(0, list);
        }
    }

    fn release_list(&mut self, list: usize) {
        if list > 0 {
            self.lists = self.lists.saturating_sub(list);
            self.budget.release(0, list);
        }
    }

    fn charge_gap(&mut self, list: usize) {
        self.gap_lists += list;
        self.charge_list(list);
    }

    fn release_gap(&mut self, list: usize) {
        self.gap_lists = self.gap_lists.saturating_sub(list);
        self.release_list(list);
    }

    /// Lets a gap grow, and charges for that.
    fn grow(&mut self, at: usize, add: impl FnOnce(&mut Gap) -> bool) {
        let Some(Item::Gap(gap)) = self.items.get_mut(at) else {
            return;
        };
        let before = gap.charged();
        let added = add(gap);
        let grown = gap.charged().saturating_sub(before);
        self.out_of_memory |= !added;
        self.charge_gap(grown);
    }

    #[cold]
    fn lose_run(&mut self, run: &Run, subscriptions: &[u64]) {
        self.gap_at_tail(u64::from(run.messages), subscriptions, DropReason::NoMemory);
    }

    /// Whether there is room for so many items more.
    #[inline]
    fn reserve(&mut self, places: usize) -> bool {
        self.items.try_reserve(places).is_ok()
    }

    /// Adds `run` to the counts; the caller adds it to the items.
    fn charge_run(&mut self, run: &Run, subscriptions: &Subscriptions) {
        let was_full = self.is_full();
        self.messages += run.messages as usize;
        self.bytes += run.bytes();
        self.budget.charge(run.messages as usize, run.bytes());
        self.pending += u64::from(run.messages) * subscriptions.len() as u64;
        if !was_full && self.is_full() {
            self.note_short();
        }
    }

    /// Somebody finds too little room. Whoever finds that again changes nothing: only the reader does.
    fn note_short(&mut self) {
        if self.pace == Pace::Room && self.stall.is_some() {
            self.pace = Pace::ShortSince(Instant::now());
        }
    }

    /// Takes `run` off the counts; the caller counts where it went. Gives its (message, subscription) pairs.
    fn release(&mut self, run: &Run, subscriptions: usize) -> u64 {
        self.release_part(run.messages, run.bytes(), subscriptions)
    }

    fn release_part(&mut self, messages: u32, bytes: usize, subscriptions: usize) -> u64 {
        self.messages = self.messages.saturating_sub(messages as usize);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.budget.release(messages as usize, bytes);
        let pairs = u64::from(messages) * subscriptions as u64;
        self.pending = self.pending.saturating_sub(pairs);
        if self.messages == 0 {
            self.fed_by_blocking = false;
            // Only the reader ends a stall, by taking something; its queue may have been emptied to make room for others.
            if self.pace != Pace::Stalled {
                self.pace = Pace::Room;
            }
        }
        pairs
    }

    /// A broker says what it lost, and may say any number.
    pub(super) fn count_dropped(&mut self, reason: DropReason, pairs: u64) {
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            *count = count.saturating_add(pairs);
        }
        if let Some(late) = &self.late_losses {
            late.add(reason, pairs);
        }
    }

    /// Adds to the gap of this reason among those right before `at`, or makes one there.
    fn gap_before(&mut self, at: usize, messages: u64, subscriptions: &[u64], reason: DropReason) {
        let mut look = at;
        while let Some(before) = look.checked_sub(1) {
            match self.items.get(before) {
                Some(Item::Gap(gap)) if gap.reason == reason => {
                    return self.grow(before, |gap| gap.add(messages, subscriptions));
                }
                Some(Item::Gap(_)) => look = before,
                _ => break,
            }
        }
        let gap = Gap::new(reason, messages, subscriptions).filter(|_| self.reserve(1));
        match gap {
            Some(gap) => {
                self.charge_gap(gap.charged());
                self.items.insert(at, Item::Gap(gap));
            }
            None => self.out_of_memory = true,
        }
    }

    /// What stood between the gaps before `at` and those from there on has gone: of each reason one is left.
    fn join_gaps(&mut self, at: usize) {
        let is_gap = |item: &&Item| matches!(item, Item::Gap(_));
        let first = at - self.items.range(..at).rev().take_while(is_gap).count();
        let mut look = at;
        while let Some(Item::Gap(gap)) = self.items.get(look) {
            let same = |item: &Item| matches!(item, Item::Gap(before) if before.reason == gap.reason);
            let known = self.items.range(first..look).position(same);
            let Some(known) = known else {
                look += 1;
                continue;
            };
            let Some(Item::Gap(gap)) = self.items.remove(look) else {
                return;
            };
            self.release_gap(gap.charged());
            self.grow(first + known, |before| before.join(&gap));
        }
    }

    pub(super) fn gap_at_tail(&mut self, messages: u64, subscriptions: &[u64], reason: DropReason) {
        self.count_dropped(reason, messages.saturating_mul(subscriptions.len() as u64));
        self.gap_before(self.items.len(), messages, subscriptions, reason);
    }

    pub(super) fn answer(&mut self, frame: Bytes) {
        if self.is_closed() {
            return;
        }
        if !self.reserve(1) {
            self.out_of_memory = true;
            return;
        }
        self.answers += 1;
        self.answer_bytes += frame.len();
        self.items.push_back(Item::Answer(frame));
    }

    pub(super) fn merge_answer(&mut self, merge: impl FnOnce(&[u8]) -> Option<Bytes>) -> bool {
        let in_flight = self.items.len() == 1 && self.partial > 0;
        let Some(Item::Answer(last)) = self.items.back_mut() else {
            return false;
        };
        let Some(merged) = (!in_flight).then(|| merge(last)).flatten() else {
            return false;
        };
        self.answer_bytes = self.answer_bytes + merged.len() - last.len();
        *last = merged;
        true
    }

    /// True if so many answers are unsent that the connection is not read, until half are gone.
    pub(super) fn answers_full(&mut self) -> bool {
        // Answers keep gaps apart, so that their lists are bounded by this alone.
        let full =
            self.answers >= MAX_ANSWERS || self.answer_bytes >= MAX_ANSWER_BYTES || self.gap_lists >= MAX_GAP_LISTS;
        self.answers_paused = full || self.answers_paused && !self.answers_low();
        self.answers_paused
    }

    fn answers_low(&self) -> bool {
        self.answers <= MAX_ANSWERS / 2
            && self.answer_bytes <= MAX_ANSWER_BYTES / 2
            && self.gap_lists <= MAX_GAP_LISTS / 2
    }

    pub(super) fn arm_reader(&mut self) -> bool {
        let waits = self.messages > 0 || self.is_closed() || self.wants_disconnect;
        self.idle |= !waits;
        waits
    }

    pub(super) const fn is_idle(&self) -> bool {
        self.idle
    }

    /// True once for a reader that waits and has something to read now.
    pub(super) fn take_idle(&mut self) -> bool {
        self.idle && (!self.items.is_empty() || self.must_disconnect()) && std::mem::replace(&mut self.idle, false)
    }

    pub(super) const fn finish(&mut self) {
        self.closed = true;
    }

    pub(super) fn break_off(&mut self) {
        if !self.is_closed() {
            // Until the router knows that the reader was cut for its overflow, what comes overflows too.
            self.late_reason = if self.wants_disconnect {
                DropReason::Overflow
            } else {
                DropReason::Disconnected
            };
            self.finish();
        }
    }

    /// Drops everything, the messages of each subscription for its own `reason`.
    pub(super) fn discard(&mut self, reason: impl Fn(u64) -> DropReason) -> u64 {
        self.finish();
        let lost = self.messages as u64;
        self.budget.release(self.messages, self.bytes + self.lists);
        (self.messages, self.bytes, self.lists, self.pending) = (0, 0, 0, 0);
        (self.answers, self.answer_bytes, self.gap_lists) = (0, 0, 0);
        for item in std::mem::take(&mut self.items) {
            if let Item::Run(run, subscriptions, _) = item {
                self.count_each(&run, &subscriptions, &reason);
            }
        }
        lost
    }

    fn count_each(&mut self, run: &Run, subscriptions: &[u64], reason: impl Fn(u64) -> DropReason) {
        for id in subscriptions {
            self.count_dropped(reason(*id), u64::from(run.messages));
        }
    }

    /// Drops what is pending except the frame that is being written, then lets `last` be the end of the stream.
    pub(super) fn end_with(&mut self, last: Option<Bytes>, reason: impl Fn(u64) -> DropReason) -> u64 {
        let kept = self.items.pop_front().and_then(|front| match front {
            _ if self.partial == 0 => {
                self.items.push_front(front);
                None
            }
            Item::Run(mut run, subscriptions, list) if run.messages > 1 => {
                let first = run.split_first();
                self.items.push_front(Item::Run(run, subscriptions.clone(), list));
                Some(Item::Run(first, subscriptions, 0))
            }
            whole => Some(whole),
        });
        let mut lost = 0;
        let mut items = std::mem::take(&mut self.items);
        items.retain(|item| {
            match item {
                Item::Run(run, subscriptions, list) => {
                    lost += u64::from(run.messages);
                    self.release(run, subscriptions.len());
                    self.count_each(run, subscriptions, &reason);
                    self.release_list(*list);
                }
                Item::Gap(gap) => self.release_gap(gap.charged()),
                Item::Answer(_) => {}
            }
            matches!(item, Item::Answer(_))
        });
        self.items = items;
        if let Some(kept) = kept {
            self.items.push_front(kept);
        }
        if let Some(last) = last {
            self.answer(last);
        }
        self.break_off();
        lost
    }

    /// The connection of this reader is to be cut.
    pub(super) const fn must_disconnect(&self) -> bool {
        self.wants_disconnect || self.out_of_memory
    }

    pub(super) const fn is_partial(&self) -> bool {
        self.partial > 0
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            messages: self.messages,
            bytes: self.bytes,
            lists: self.lists,
            pending: self.pending,
            delivered: self.delivered,
            dropped: self.dropped,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.budget.release(self.messages, self.bytes + self.lists);
    }
}
