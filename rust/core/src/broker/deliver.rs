//! From one publisher to the queues of a lane: whole runs where nothing speaks against it, message by message ([`per_message`]) where a
//! filter, a smaller `max_frame` or another dialect does.
//!
//! What a full queue leaves with a publisher who waits is kept per reader, in order, as [`Waiting`]; the other readers have theirs
//! already. A queue that refuses because its reader's subscriptions changed meanwhile gets its messages matched anew, one by one, while
//! its lock keeps them as they are.

mod per_message;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

pub(super) use self::per_message::unwritten;

use self::per_message::LazyMessage;
use super::held_back::HeldBack;
use super::route::{Lane, LaneKind, RouteStatus, Sink, Target};
use super::router::Router;
use super::shared::Shared;
use crate::queue::{Content, DropReason, OnFull, Pushed, Run, Sender, Subscriptions};
use crate::wire::{Dialect, frame};

enum Piece {
    Run(Run, Subscriptions),
    /// So many messages that this reader cannot take.
    Gap(u64, Subscriptions, DropReason),
}

/// What full queues have left for one reader, in order.
struct Backlog {
    sink: Arc<Sink>,
    /// Of the oldest match among them.
    epoch: u64,
    pieces: VecDeque<Piece>,
}

impl Backlog {
    /// Behind what waits already. The queue takes none as it is once one of them is out of date, so that all are matched anew.
    fn add(&mut self, epoch: u64, piece: Piece) {
        self.epoch = self.epoch.min(epoch);
        self.pieces.push_back(piece);
    }
}

/// What full queues have left with a publisher.
pub(super) struct Waiting {
    backlogs: Vec<Backlog>,
    retry_at: Instant,
}

impl Waiting {
    /// When to try again, woken or not: the first of the full queues counts as stalled then, if it takes nothing before, or others may
    /// have left it some of what all queues together hold.
    pub(super) const fn retry_at(&self) -> Instant {
        self.retry_at
    }

    /// Messages in it, each as often as it has readers left.
    pub(super) fn messages(&self) -> u64 {
        let of_piece = |piece: &Piece| match piece {
            Piece::Run(run, _) => u64::from(run.messages),
            Piece::Gap(..) => 0,
        };
        self.backlogs
            .iter()
            .flat_map(|backlog| &backlog.pieces)
            .map(of_piece)
            .sum()
    }

    /// Nobody tries any more: what was left is a gap where it would have stood, so that it costs others nothing.
    pub(super) fn give_up(self, shared: &Shared) {
        let mut delivery = Delivery::new(&shared.router, shared.config.max_topic_depth, OnFull::Overflow);
        for backlog in self.backlogs {
            for piece in backlog.pieces {
                let (messages, ids, reason) = match piece {
                    Piece::Run(run, ids) => (u64::from(run.messages), ids, DropReason::Overflow),
                    Piece::Gap(messages, ids, reason) => (messages, ids, reason),
                };
                delivery.tell_gap(&backlog.sink, backlog.epoch, messages, &ids, reason);
            }
        }
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting")
            .field("messages", &self.messages())
            .field("retry_at", &self.retry_at)
            .finish()
    }
}

/// One delivery under way.
pub(super) struct Delivery<'a> {
    router: &'a Router,
    max_depth: usize,
    on_full: OnFull<'a>,
    /// Told to readers of this process.
    sender: Option<&'a Arc<Sender>>,
    /// Takes it on to have connections written to at the end of a turn.
    held_back: Option<&'a mut HeldBack>,
    waiting: Option<Waiting>,
    handed_over: bool,
    met_end: u64,
    per_message_time: Duration,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(router: &'a Router, max_depth: usize, on_full: OnFull<'a>) -> Self {
        Self {
            router,
            max_depth,
            on_full,
            sender: None,
            held_back: None,
            waiting: None,
            handed_over: false,
            met_end: 0,
            per_message_time: Duration::ZERO,
        }
    }

    pub(super) fn from(self, sender: &'a Arc<Sender>) -> Self {
        Self {
            sender: Some(sender),
            ..self
        }
    }

    pub(super) fn holding_back(self, held_back: Option<&'a mut HeldBack>) -> Self {
        Self { held_back, ..self }
    }

    /// What is left to deliver, if queues were full and the publisher waits.
    pub(super) fn finish(self) -> Option<Waiting> {
        self.waiting
    }

    /// Whether some reader has got something, or is told of a gap.
    pub(super) const fn has_handed_over(&self) -> bool {
        self.handed_over
    }

    /// Messages for readers whose queues had ended, each as often as it had such; they are counted there as lost.
    pub(super) const fn met_end(&self) -> u64 {
        self.met_end
    }

    /// The time that messages took which were looked at one by one.
    pub(super) const fn per_message_time(&self) -> Duration {
        self.per_message_time
    }

    /// Tries again what was left.
    pub(super) fn resume(&mut self, waiting: Waiting) {
        for backlog in waiting.backlogs {
            for piece in backlog.pieces {
                self.offer(&backlog.sink, backlog.epoch, piece);
            }
        }
    }

    /// Frames of one dialect for everyone in `lane`; `largest` is the largest body among them.
    pub(super) fn frames(&mut self, lane: &Lane, run: &Run, dialect: Dialect, largest: usize) {
        let mut selective: SmallVec<[&Target; 4]> = SmallVec::new();
        for target in &lane.targets {
            let sink = &target.sink;
            if target.filtered.is_empty() && sink.dialect == dialect && largest <= sink.max_frame {
                self.push(sink, target.epoch, run, &target.plain);
            } else {
                selective.push(target);
            }
        }
        if !selective.is_empty() {
            let began = Instant::now();
            self.deliver_each(&selective, run, dialect);
            self.per_message_time += began.elapsed();
        }
    }

    /// One piece for one reader, behind what that reader waits for already.
    pub(super) fn one(&mut self, target: &Target, run: Run, subscriptions: Subscriptions) {
        let sink = &target.sink;
        let run = match self.sender {
            Some(sender) if sink.is_local() => run.from(Some(sender)),
            _ => run,
        };
        if self.backlog(sink).is_some() {
            return self.push(sink, target.epoch, &run, &subscriptions);
        }
        let (epoch, on_full) = (target.epoch, self.first_try());
        let left = match self.held_back.as_deref_mut().filter(|_| !sink.is_local()) {
            Some(held_back) => match sink.queue.try_push_unwoken(run, subscriptions, epoch, on_full) {
                Ok(waits) => {
                    if waits {
                        held_back.add(sink);
                    }
                    None
                }
                Err(left) => Some(left),
            },
            None => sink.queue.try_push(run, subscriptions, epoch, on_full),
        };
        match left {
            None => self.handed_over = true,
            Some((run, subscriptions)) => self.push(sink, epoch, &run, &subscriptions),
        }
    }

    /// Messages that a reader cannot have.
    pub(super) fn lost(&mut self, target: &Target, messages: u64, subscriptions: Subscriptions, reason: DropReason) {
        self.offer(&target.sink, target.epoch, Piece::Gap(messages, subscriptions, reason));
    }

    fn backlog(&mut self, sink: &Sink) -> Option<&mut Backlog> {
        self.waiting
            .as_mut()?
            .backlogs
            .iter_mut()
            .find(|backlog| backlog.sink.id == sink.id)
    }

    fn offer(&mut self, sink: &Arc<Sink>, epoch: u64, piece: Piece) {
        match piece {
            Piece::Run(run, subscriptions) => self.push(sink, epoch, &run, &subscriptions),
            Piece::Gap(messages, subscriptions, reason) => self.gap(sink, epoch, messages, subscriptions, reason),
        }
    }

    fn push(&mut self, sink: &Arc<Sink>, epoch: u64, run: &Run, subscriptions: &Subscriptions) {
        let sender = if run.sender.is_some() {
            None
        } else {
            self.sender.filter(|_| sink.is_local())
        };
        let stamped;
        let run = if sender.is_some() {
            stamped = run.clone().from(sender);
            &stamped
        } else {
            run
        };
        if let Some(backlog) = self.backlog(sink) {
            if backlog.pieces.try_reserve(1).is_err() {
                let messages = u64::from(run.messages);
                return self.tell_gap(sink, epoch, messages, subscriptions, DropReason::NoMemory);
            }
            return backlog.add(epoch, Piece::Run(run.clone(), subscriptions.clone()));
        }
        match sink.queue.push(run, subscriptions, epoch, self.first_try()) {
            Pushed::Done => self.handed_over = true,
            Pushed::Closed => self.met_end += u64::from(run.messages),
            Pushed::Full { taken, .. } => self.push_rest(sink, epoch, run.clone().skip_first(taken), subscriptions),
            Pushed::Stale => self.rematch(sink, run, subscriptions),
        }
    }

    fn first_try(&self) -> OnFull<'a> {
        match self.on_full {
            OnFull::Wait(waker) | OnFull::TryFirst(waker) => OnFull::TryFirst(waker),
            exceed @ OnFull::Exceed { .. } => exceed,
            OnFull::Overflow | OnFull::Try { .. } => OnFull::Try { block: false },
        }
    }

    /// The queue is full: the kernel is asked first; then [`OnFull`] decides.
    #[cold]
    fn push_rest(&mut self, sink: &Arc<Sink>, epoch: u64, mut rest: Run, subscriptions: &Subscriptions) {
        loop {
            sink.flush();
            match sink.queue.push(&rest, subscriptions, epoch, self.first_try()) {
                Pushed::Done => {
                    self.handed_over = true;
                    return;
                }
                Pushed::Closed => {
                    self.met_end += u64::from(rest.messages);
                    return;
                }
                Pushed::Stale => return self.rematch(sink, &rest, subscriptions),
                Pushed::Full { taken: 0, .. } => break,
                Pushed::Full { taken, .. } => rest = rest.skip_first(taken),
            }
        }
        match sink.queue.push(&rest, subscriptions, epoch, self.on_full) {
            Pushed::Done => self.handed_over = true,
            Pushed::Closed => self.met_end += u64::from(rest.messages),
            Pushed::Stale => self.rematch(sink, &rest, subscriptions),
            Pushed::Full { taken, retry_at } => {
                let rest = Piece::Run(rest.skip_first(taken), subscriptions.clone());
                let waiting = self.waiting.get_or_insert_with(|| Waiting {
                    backlogs: Vec::new(),
                    retry_at,
                });
                waiting.retry_at = waiting.retry_at.min(retry_at);
                waiting.backlogs.push(Backlog {
                    sink: Arc::clone(sink),
                    epoch,
                    pieces: VecDeque::from([rest]),
                });
            }
        }
    }

    fn gap(&mut self, sink: &Arc<Sink>, epoch: u64, messages: u64, ids: Subscriptions, reason: DropReason) {
        if let Some(backlog) = self.backlog(sink)
            && backlog.pieces.try_reserve(1).is_ok()
        {
            return backlog.add(epoch, Piece::Gap(messages, ids, reason));
        }
        self.tell_gap(sink, epoch, messages, &ids, reason);
    }

    fn tell_gap(&mut self, sink: &Arc<Sink>, epoch: u64, messages: u64, ids: &Subscriptions, reason: DropReason) {
        let still_live = || {
            let live = self.router.subscription_ids(sink)?;
            let left: Subscriptions = ids.iter().copied().filter(|id| live.contains(id)).collect();
            (!left.is_empty()).then_some(left)
        };
        self.handed_over |= sink.queue.push_gap(messages, ids, epoch, reason)
            || sink.queue.push_gap_looked_up(messages, ids, reason, still_live);
    }

    /// The reader's subscriptions are not those that `run` was matched with: each message is matched with what holds now.
    #[cold]
    fn rematch(&mut self, sink: &Arc<Sink>, run: &Run, subscriptions: &Subscriptions) {
        let router = self.router;
        let frames = match &run.content {
            Content::Frames(frames) => frames,
            // A reader of this process has one subscription, which ends with its queue.
            Content::Object(..) => {
                return self.push_looked_up(sink, run, subscriptions, || {
                    router.subscription_ids(sink).map(|_| subscriptions.clone())
                });
            }
        };
        for (frame, body) in frame::split(frames) {
            let message = LazyMessage::new(sink.dialect, body, self.max_depth);
            let one = Run::frames(frames.slice_ref(frame), 1).unshared_from(run);
            let one = one.from(run.sender.as_ref());
            self.push_looked_up(sink, &one, subscriptions, || {
                // Without a topic or the memory for its route, what it was matched with before holds.
                let as_before = || Some(subscriptions.clone());
                let Some(summary) = &message.summary else {
                    return as_before();
                };
                let route = router.resolve(summary.topic.text());
                if route.status() == RouteStatus::NoMemory {
                    return as_before();
                }
                let target = route.lane(LaneKind::of(summary)).target(sink.id)?;
                target.accepted(|filters| message.accepts(filters))
            });
        }
    }

    /// For the subscriptions that `look_up` finds while the reader's stand still, so that a reader that changes them all the time loses
    /// nothing.
    fn push_looked_up(
        &mut self,
        sink: &Arc<Sink>,
        run: &Run,
        matched: &Subscriptions,
        look_up: impl FnOnce() -> Option<Subscriptions>,
    ) {
        if self.backlog(sink).is_some() {
            // It is matched anew when its turn comes, if need be.
            if let Some(subscriptions) = look_up() {
                self.push(sink, sink.queue.epoch(), run, &subscriptions);
            }
            return;
        }
        let mut found = None;
        let pushed = sink.queue.push_looked_up(run, matched, self.first_try(), |epoch| {
            let subscriptions = look_up()?;
            found = Some((epoch, subscriptions.clone()));
            Some(subscriptions)
        });
        match (pushed, found) {
            (Pushed::Done, _) => self.handed_over = true,
            (Pushed::Closed, _) => self.met_end += u64::from(run.messages),
            (Pushed::Full { taken, .. }, Some((epoch, subscriptions))) => {
                self.push_rest(sink, epoch, run.clone().skip_first(taken), &subscriptions);
            }
            _ => {}
        }
    }
}
