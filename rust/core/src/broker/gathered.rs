//! Small events of a bus of this process for the same readers behind sockets, which go into the queues of these as one run.
//!
//! Each event alone would cost each reader a place in its queue, a step of every counter and a piece of a write. What is larger than
//! [`SMALL`] stands alone: to copy it takes longer.
//!
//! Guarantee: for who waits where there is no room, a run begins only where there is room for the largest, at every reader.

use std::sync::Arc;

use super::deliver::Delivery;
use super::route::{CommonForm, LaneKind, Route};
use super::shared::Shared;
use crate::queue::{DropReason, Run};
use crate::topic::LastTopic;
use crate::wire::frame::PREFIX;
use crate::wire::{self, Draft};

/// The largest run.
const RUN_BYTES: usize = 64 * 1024;
const RUN_MESSAGES: u32 = 512;
const SMALL: usize = 4 * 1024;

/// The readers of a topic, as they were looked up at `generation` of the router.
pub(super) struct LookedUp<'a> {
    pub(super) route: &'a Arc<Route>,
    pub(super) generation: u64,
}

struct Readers {
    route: Arc<Route>,
    form: CommonForm,
    /// Nobody else reads these topics, and the broker's own dialect is theirs.
    are_all: bool,
    /// The last topic that leads to them, while the router is at `generation`.
    topic: String,
    generation: u64,
}

pub(super) struct Gathered {
    frames: Vec<u8>,
    messages: u32,
    readers: Option<Readers>,
    topics: LastTopic,
}

impl Gathered {
    pub(super) fn new(max_topic_depth: usize) -> Self {
        Self {
            frames: Vec::new(),
            messages: 0,
            readers: None,
            topics: LastTopic::new(max_topic_depth),
        }
    }

    /// Whether an event of `size` is small.
    pub(super) const fn takes(size: usize) -> bool {
        size <= SMALL
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Takes `event` in behind the others, if that is all that there is to do for its topic; gives the size of its frame.
    #[inline]
    pub(super) fn add(&mut self, shared: &Shared, event: &Draft<'_>) -> Option<usize> {
        let readers = self.readers.as_ref()?;
        let form = readers.form;
        let is_next =
            readers.are_all && readers.topic == event.topic && readers.generation == shared.router.generation();
        if is_next && self.has_place() {
            self.append(shared, event, form)
        } else {
            None
        }
    }

    /// Takes `event` in for its readers behind sockets. False if it does not go with the others.
    pub(super) fn add_for(&mut self, shared: &Shared, event: &Draft<'_>, readers: &LookedUp<'_>) -> bool {
        let has_place = self.has_place();
        let Some(known) = self
            .readers
            .as_mut()
            .filter(|known| has_place && Arc::ptr_eq(&known.route, readers.route))
        else {
            return false;
        };
        known.topic.clear();
        known.topic.push_str(event.topic);
        known.generation = readers.generation;
        let form = known.form;
        self.append(shared, event, form).is_some()
    }

    /// Begins with `event`, of a publisher who waits (`block`) where there is no room. False if it is to stand alone.
    pub(super) fn begin(&mut self, shared: &Shared, event: &Draft<'_>, readers: &LookedUp<'_>, block: bool) -> bool {
        let lane = readers.route.lane(LaneKind::Everyone);
        let Some(form) = lane.common_form() else { return false };
        let has_room = || {
            lane.remote()
                .all(|target| target.sink.queue.accepts(RUN_MESSAGES as usize, RUN_BYTES))
        };
        if block && !has_room() || self.append(shared, event, form).is_none() {
            return false;
        }
        self.readers = Some(Readers {
            route: Arc::clone(readers.route),
            form,
            are_all: !lane.has_local() && form.dialect == shared.config.dialect,
            topic: event.topic.to_owned(),
            generation: readers.generation,
        });
        true
    }

    const fn has_place(&self) -> bool {
        self.messages < RUN_MESSAGES && self.frames.len() <= RUN_BYTES - SMALL
    }

    /// What cannot be written here is found out once more, for each of its readers.
    #[inline]
    fn append(&mut self, shared: &Shared, event: &Draft<'_>, form: CommonForm) -> Option<usize> {
        let (config, frames) = (&shared.config, &mut self.frames);
        let before = frames.len();
        shared.headroom.reserve(frames, SMALL).ok()?;
        let largest = form.max_frame.min(SMALL - PREFIX);
        match wire::write(form.dialect, event, config.max_frame, &mut self.topics, frames) {
            Ok(len) if len <= PREFIX + largest => {
                self.messages += 1;
                Some(len)
            }
            Ok(_) | Err(_) => {
                frames.truncate(before);
                frames.shrink_to(RUN_BYTES);
                None
            }
        }
    }

    /// Hands it on, and is empty then.
    pub(super) fn deliver(&mut self, shared: &Shared, delivery: &mut Delivery<'_>) {
        let Some(readers) = self.readers.take() else { return };
        let run = shared.headroom.copy(&self.frames, self.messages);
        if run.is_none() {
            shared.note_no_memory(self.frames.len());
        }
        for target in readers.route.lane(LaneKind::Everyone).remote() {
            let subscriptions = target.plain.clone();
            match &run {
                Some(run) => delivery.one(target, Run::clone(run), subscriptions),
                None => delivery.lost(target, u64::from(self.messages), subscriptions, DropReason::NoMemory),
            }
        }
        self.frames.clear();
        self.messages = 0;
    }

    /// Gives back what memory it has for more.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() {
            self.frames = Vec::new();
        }
    }
}
