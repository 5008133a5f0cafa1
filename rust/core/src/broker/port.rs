//! A bus in the broker's own process: the same router and queues, without socket and without codec.
//!
//! What is published here is routed on the caller's thread. Readers of this process get the object itself; a frame is encoded only if a
//! reader behind a socket matches, once per dialect. A subscription's queue is its only stage.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use smallvec::SmallVec;
use uuid::Uuid;

use super::deliver::{Delivery, Waiting};
use super::gathered::{Gathered, LookedUp};
use super::held_back::{HeldBack, Release, Verdict};
use super::local::{Held, LocalSubscription, ONLY};
use super::outgoing::Outgoing;
use super::pending_publish::{PendingPublish, Published};
use super::publish_state::PublishState;
use super::rights::{self, Rights};
use super::route::{Lane, LaneKind, RouteStatus};
use super::shared::{self, Phase, Shared};
use super::statistics::Refusal;
use super::subscription::{self, Load};
use crate::error::{Error, Result};
use crate::event::{EventKind, EventSubscription, Timestamp};
use crate::lock::Mutex;
use crate::queue::{DropReason, Limits, Object, OnFull, Overflow, Queue, Run, Sender, Wake};
use crate::transport::User;
use crate::wire::frame::PREFIX;
use crate::wire::text::{Congestion, Sub};
use crate::wire::{self, Dialect, Draft, Payload};

const SHUT_DOWN: &str = "this bus was shut down; make a new one";

/// How a bus of this process behaves.
#[derive(Debug, Clone, Default)]
pub struct PortOptions {
    pub name: String,
    pub congestion: Congestion,
}

/// Who publishes.
#[derive(Clone, Copy, Default)]
pub struct Caller<'a> {
    /// Woken when there is room, for a caller who waits for it.
    pub waker: Option<&'a Arc<dyn Wake>>,
    /// It calls [`Port::end_turn`] at the end of its turn if it is told to.
    pub flushes: bool,
}

/// One bus of this process.
pub struct Port {
    shared: Arc<Shared>,
    id: Uuid,
    congestion: Congestion,
    /// This process, as a reader of it is told.
    sender: Arc<Sender>,
    /// `None` unless a rule forbids the broker's own user something.
    rights: Option<Arc<Rights>>,
    closed: AtomicBool,
    publish_state: Arc<Mutex<PublishState>>,
    held_back: Arc<Mutex<HeldBack>>,
    held: Arc<Mutex<Held>>,
    /// Accepted publishes.
    published: Arc<AtomicU64>,
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Port").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Port {
    pub(super) fn new(shared: Arc<Shared>, options: PortOptions) -> Result<Self> {
        let id = Uuid::new_v4();
        let port = Self {
            id,
            sender: Arc::new(Sender {
                uid: shared.own_uid,
                pid: Some(std::process::id()),
                client_id: id,
            }),
            rights: shared.rights(&User::own(), None),
            congestion: options.congestion,
            closed: AtomicBool::new(false),
            publish_state: Arc::new(Mutex::new(PublishState::new(shared.config.max_topic_depth))),
            held_back: Arc::new(Mutex::new(HeldBack::new(
                options.congestion,
                shared.config.max_topic_depth,
            ))),
            held: Arc::default(),
            published: Arc::default(),
            shared,
        };
        port.open()?;
        port.shared
            .register_local(port.id, options.name, Arc::clone(&port.published));
        Ok(port)
    }

    /// As in [`ClientInfo`](super::ClientInfo).
    pub const fn id(&self) -> Uuid {
        self.id
    }

    fn open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Lifecycle(SHUT_DOWN));
        }
        match self.shared.phase() {
            Phase::Running => Ok(()),
            Phase::New | Phase::Starting => Err(Error::Lifecycle("the broker is not running yet; start it first")),
            _ => Err(Error::Lifecycle(shared::SHUT_DOWN)),
        }
    }

    /// Checks and routes one message. Sets the draft's sequence, and asks for the `object` with that number once the message is taken,
    /// if a reader of this process takes it. Gives the size of its frame as well.
    ///
    /// With congestion `block` and a waker, full queues are waited for. Without waker a full queue is [`Error::WouldBlock`], and then
    /// nobody has got anything. With congestion `drop` each queue's own policy applies.
    // Inlined into the one step of the bindings: called, it would have draft and closure moved for it.
    #[inline]
    pub fn publish(
        &self,
        draft: &mut Draft<'_>,
        object: impl FnOnce(u64) -> Object,
        caller: Caller<'_>,
    ) -> Result<(Published, usize)> {
        self.open()?;
        let config = &self.shared.config;
        let router = &self.shared.router;
        let rights = self.rights.as_deref();
        let mut publish_state = self.publish_state.lock();
        let PublishState {
            topics,
            routes,
            numbers,
            may_gather,
        } = &mut *publish_state;
        draft.sequence = numbers.next;
        let gathers = self.gathers(draft, caller);
        if gathers && *may_gather {
            let gathered = self.held_back.lock().gather(&self.shared, draft);
            if let Some((size, verdict)) = gathered {
                numbers.next += 1;
                drop(publish_state);
                self.note_published();
                return Ok((self.carry_out(verdict), size));
            }
        }
        let generation = router.generation();
        let size = wire::encoded_len(config.dialect, draft, config.max_frame, topics)?;
        let route = routes.get_or_insert_with(draft.topic, generation, || rights::look_up(router, rights, draft.topic));
        match route.status() {
            RouteStatus::Usable => {}
            RouteStatus::Refused => return Err(self.refused_on(draft.topic)),
            RouteStatus::NoMemory => {
                routes.forget();
                return Err(Error::NoMemory(size));
            }
        }
        let outgoing = Outgoing::new(draft, config.dialect);
        let lane_kind = LaneKind::of(&outgoing.summary);
        let lane = route.lane(lane_kind);
        let on_full = match (self.congestion, caller.waker) {
            (Congestion::Drop, _) => OnFull::Overflow,
            (Congestion::Block, Some(waker)) => OnFull::Wait(waker),
            (Congestion::Block, None) => {
                if !self.has_room(lane, &outgoing, size) {
                    return Err(Error::WouldBlock("publish_nowait"));
                }
                OnFull::Exceed { block: false }
            }
        };
        *may_gather = lane.has_remote();
        numbers.next += 1;
        let route = Arc::clone(route);
        // Making the object, and what is dropped for it, may run code that publishes.
        drop(publish_state);
        let lane = route.lane(lane_kind);
        if lane.targets.is_empty() {
            self.note_published();
            return Ok((Published::Done, size));
        }
        let object = lane.has_local().then(|| object(outgoing.draft.sequence));
        let has_gathered = lane.has_remote() && {
            let readers = LookedUp {
                route: &route,
                generation,
            };
            self.gather(outgoing.draft, &readers, gathers && Gathered::takes(size))
        };
        // Readers of this process are told at once, and cost nobody a write.
        let mut held_back = (caller.flushes && lane.has_remote()).then(|| self.held_back.lock());
        let mut delivery = Delivery::new(router, config.max_topic_depth, on_full)
            .from(&self.sender)
            .holding_back(held_back.as_deref_mut());
        self.deliver(&mut delivery, lane, &outgoing, size, object, has_gathered);
        self.shared.trim();
        let handed_over = has_gathered || delivery.has_handed_over();
        let waiting = delivery.finish();
        // Nobody waits for room while something waits for him.
        let verdict = held_back
            .take()
            .map(|mut held_back| held_back.put_in(&self.shared, outgoing.draft.timestamp, size, waiting.is_none()));
        let done = verdict.map_or(Published::Done, |verdict| self.carry_out(verdict));
        if handed_over || waiting.is_none() {
            self.note_published();
        }
        let number = outgoing.draft.sequence;
        let published = waiting.map_or(done, |waiting| {
            Published::Wait(self.pending_publish(number, waiting, handed_over))
        });
        Ok((published, size))
    }

    fn pending_publish(&self, number: u64, waiting: Waiting, handed_over: bool) -> PendingPublish {
        if handed_over {
            self.shared.note_pending(0, waiting.messages(), 0);
        } else {
            self.publish_state.lock().numbers.wait(number);
        }
        PendingPublish {
            shared: Arc::clone(&self.shared),
            published: Arc::clone(&self.published),
            publish_state: Arc::clone(&self.publish_state),
            number,
            waiting: Some(waiting),
            counted: handed_over,
        }
    }

    /// Whether it may wait with others of this turn: a small event, of somebody who is not told what becomes of it.
    fn gathers(&self, draft: &Draft<'_>, caller: Caller<'_>) -> bool {
        let tells_full_queues = self.congestion == Congestion::Block && caller.waker.is_none();
        let is_event = matches!(draft.payload, Payload::Event(event) if event.kind() != EventKind::Trigger);
        caller.flushes && !tells_full_queues && is_event
    }

    /// Lets `event` wait with others for its readers behind sockets, if it `may`. Otherwise all that waits is in their queues.
    #[inline(never)]
    fn gather(&self, event: &Draft<'_>, readers: &LookedUp<'_>, may: bool) -> bool {
        if may && self.held_back.lock().gather_for(&self.shared, event, readers) {
            return true;
        }
        self.shared.flush_watchdog.hand_on(&self.shared);
        let mut held_back = self.held_back.lock();
        if may && held_back.starts_watch() {
            // Before it is put in: others hand on what they find in that list.
            drop(held_back);
            self.shared.flush_watchdog.begin(&self.held_back);
            held_back = self.held_back.lock();
        }
        if may {
            return held_back.gather_first(&self.shared, event, readers);
        }
        held_back.hand_on(&self.shared);
        false
    }

    fn carry_out(&self, verdict: Verdict) -> Published {
        match verdict {
            Verdict::Holds => {}
            Verdict::HoldsUnwatched => self.shared.flush_watchdog.begin(&self.held_back),
            Verdict::Write(release) => {
                release.write();
                return Published::Done;
            }
        }
        Published::HeldBack
    }

    /// The end of a turn of the host's loop: writes what was held back. False if the turn was full of publishes and those of the next are
    /// to share the write: then it is to be called again at the end of that.
    pub fn end_turn(&self) -> bool {
        let release = self.held_back.lock().end_turn(&self.shared, Timestamp::now());
        release.map(Release::write).is_some()
    }

    /// Writes what was held back.
    pub fn flush(&self) {
        let release = self.held_back.lock().release(&self.shared, Timestamp::now());
        release.write();
    }

    fn note_published(&self) {
        self.shared.counters.note_published(1);
        self.published.fetch_add(1, Ordering::Relaxed);
    }

    /// Its accepted publishes.
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    #[cold]
    fn refused_on(&self, topic: &str) -> Error {
        let on = format!("{topic:?}");
        let why = self.rights.as_ref().map(|rights| rights.publish_refusal(&on));
        self.refused(why.unwrap_or_default(), Some(topic.to_owned()))
    }

    fn refused(&self, reason: String, topic: Option<String>) -> Error {
        self.shared.counters.note(Refusal::Rights);
        Error::PermissionRefused {
            uid: self.shared.own_uid,
            reason,
            topic,
        }
    }

    /// Tries again what was left of a publish. An error if the broker has ended and nobody has it.
    pub fn resume(&self, pending: PendingPublish, waker: &Arc<dyn Wake>) -> Result<Published> {
        pending.resume(waker)
    }

    fn has_room(&self, lane: &Lane, outgoing: &Outgoing<'_>, size: usize) -> bool {
        if lane.has_remote() {
            self.held_back.lock().hand_on(&self.shared);
        }
        lane.targets.iter().all(|target| {
            if target.sink.queue.accepts(1, size) || target.accepted(|filters| outgoing.accepts(filters)).is_none() {
                return true;
            }
            // The kernel may have room for what waits.
            target.sink.flush();
            target.sink.queue.accepts(1, size)
        })
    }

    fn deliver(
        &self,
        delivery: &mut Delivery<'_>,
        lane: &Lane,
        outgoing: &Outgoing<'_>,
        size: usize,
        mut object: Option<Object>,
        has_gathered: bool,
    ) {
        let mut frames: SmallVec<[(Dialect, Result<Bytes, DropReason>); 1]> = SmallVec::new();
        for (at, target) in lane.targets.iter().enumerate() {
            let sink = &target.sink;
            if has_gathered && !sink.is_local() {
                continue;
            }
            let Some(accepted) = target.accepted(|filters| outgoing.accepts(filters)) else {
                continue;
            };
            if sink.is_local() {
                let others_follow = at + 1 < lane.targets.len();
                if let Some(object) = if others_follow { object.clone() } else { object.take() } {
                    delivery.one(target, Run::object(object, size), accepted);
                }
                continue;
            }
            let frame = match frames.iter().find(|(dialect, _)| *dialect == sink.dialect) {
                Some((_, frame)) => frame.clone(),
                None => {
                    let frame = self.encode(sink.dialect, outgoing.draft, size);
                    frames.push((sink.dialect, frame.clone()));
                    frame
                }
            };
            match frame {
                Ok(frame) if frame.len() <= PREFIX.saturating_add(sink.max_frame) => {
                    delivery.one(target, Run::frames(frame, 1), accepted);
                }
                Ok(_) => delivery.lost(target, 1, accepted, DropReason::TooLarge),
                Err(reason) => delivery.lost(target, 1, accepted, reason),
            }
        }
    }

    /// Or why not. `size`: what it takes in the broker's own dialect, or about that.
    fn encode(&self, dialect: Dialect, draft: &Draft<'_>, size: usize) -> Result<Bytes, DropReason> {
        let (headroom, config) = (&self.shared.headroom, &self.shared.config);
        let mut frame = Vec::new();
        headroom
            .reserve(&mut frame, size)
            .and_then(|()| wire::write(dialect, draft, config.max_frame, config.max_topic_depth, &mut frame))
            .map_err(|error| self.shared.note_unwritten(&error))?;
        frame.shrink_to_fit();
        Ok(Bytes::from(frame))
    }

    /// Subscribes; live when it returns. `reader` is woken when something comes into the empty queue.
    pub fn subscribe(
        &self,
        subscription: &EventSubscription,
        limits: Limits,
        overflow: Overflow,
        reader: Arc<dyn Wake>,
    ) -> Result<LocalSubscription> {
        let config = &self.shared.config;
        let mut held = self.held.lock();
        // Under the lock that closing takes: whatever is held when it closes ends with it, and nothing comes after.
        self.open()?;
        let load = held.sinks.values().map(|(_, load)| *load).sum();
        let interest = self
            .shared
            .memory_for_subscription()
            .and_then(|()| subscription::compile(config, subscription, load))
            .and_then(|interest| Sub::frame_of(ONLY, subscription).map(|_| interest))
            .inspect_err(|error| self.shared.counters.note(Refusal::of(error.code())))?;
        let rights = self.rights.as_ref();
        if let Some(why) = rights.and_then(|rights| rights.refuse_subscription(&interest.patterns)) {
            return Err(self.refused(why, None));
        }
        let (load, patterns) = (Load::of(&interest), interest.patterns.clone());
        let queue = Arc::new(Queue::new(
            limits,
            overflow,
            Some(config.stall_timeout),
            Arc::clone(&self.shared.budget),
            reader,
        ));
        let sink = self
            .shared
            .router
            .join(Arc::clone(&queue), config.dialect, config.max_frame, None);
        if !self.shared.register_queue(self.id, &sink) {
            self.shared.change_readers().leave(&sink);
            return Err(Error::Lifecycle(SHUT_DOWN));
        }
        self.shared.change_readers().subscribe(&sink, ONLY, interest, None);
        held.sinks.insert(sink.id, (Arc::clone(&sink), load));
        drop(held);
        // A broker that began to stop in between has not seen this queue.
        if self.shared.phase() != Phase::Running {
            queue.finish();
        }
        Ok(LocalSubscription {
            queue,
            patterns,
            client: self.id,
            sink,
            shared: Arc::clone(&self.shared),
            held: Arc::clone(&self.held),
        })
    }

    /// Ends every subscription of this bus; what they have not handed over is dropped as `closed`. Idempotent.
    pub fn close(&self) {
        self.flush();
        let mut held = self.held.lock();
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        let sinks = std::mem::take(&mut *held).sinks;
        drop(held);
        for (sink, _) in sinks.into_values() {
            self.shared.retire_queue(self.id, &sink);
        }
        self.shared.retire_local(self.id);
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.close();
    }
}
