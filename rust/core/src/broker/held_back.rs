//! What a bus of this process has for readers behind sockets and has not written: its host's loop does that at the end of a turn, or of
//! the next ones while each has more ([`Cork`]).
//!
//! Model: small messages for the same readers gather ([`Gathered`]) and go into their queues as one run, without waking anybody for it:
//! when one comes that does not go with them, at the end, and when another publisher comes, who reads what changes, or somebody asks for
//! the numbers of queues.
//! Only this bus's own messages wait for the write: the first other who puts something behind them wakes the connection's task, which
//! writes all. A host whose loop stands still is not waited for: the broker's thread writes what has become [`LATE`].

use std::sync::{Arc, Weak};

use hashbrown::HashSet;
use smallvec::SmallVec;
use tokio::sync::Notify;

use super::deliver::Delivery;
use super::gathered::{Gathered, LookedUp};
use super::route::Sink;
use super::shared::Shared;
use crate::cork::{Cork, LATE};
use crate::event::Timestamp;
use crate::lock::Mutex;
use crate::queue::OnFull;
use crate::wire::Draft;
use crate::wire::text::Congestion;

/// Connections that are written to on the loop's own thread; the tasks of more than these are woken, so that a loop with very many
/// readers is not kept from its other work.
const WRITTEN_HERE: usize = 4;

/// Of one bus.
pub(super) struct HeldBack {
    congestion: Congestion,
    cork: Cork,
    gathered: Gathered,
    /// Readers who wait and have something to read in their queues.
    sinks: SmallVec<[Arc<Sink>; WRITTEN_HERE]>,
    /// The same by id, where they are too many to look through them for each message.
    known: HashSet<u64>,
    /// Of one copy of each message.
    bytes: usize,
    taken: u64,
    releases: u64,
    /// `releases` when the broker's thread last looked.
    seen: u64,
    /// The broker's thread looks.
    watched: bool,
}

/// What is to become of a message that was put in.
pub(super) enum Verdict {
    /// It waits for the end of the turn.
    Holds,
    /// And the broker's thread is to [`watch`](FlushWatchdog::begin) that it comes.
    HoldsUnwatched,
    Write(Release),
}

impl HeldBack {
    pub(super) fn new(congestion: Congestion, max_topic_depth: usize) -> Self {
        Self {
            congestion,
            cork: Cork::new(),
            gathered: Gathered::new(max_topic_depth),
            sinks: SmallVec::new(),
            known: HashSet::new(),
            bytes: 0,
            taken: 0,
            releases: 0,
            seen: 0,
            watched: false,
        }
    }

    /// The reader behind `sink` waits and has something to read.
    pub(super) fn add(&mut self, sink: &Arc<Sink>) {
        let is_new = if self.sinks.len() < WRITTEN_HERE {
            !self.sinks.iter().any(|known| Arc::ptr_eq(known, sink))
        } else {
            if self.known.is_empty() {
                self.known.extend(self.sinks.iter().map(|known| known.id));
            }
            self.known.insert(sink.id)
        };
        if is_new {
            self.sinks.push(Arc::clone(sink));
        }
    }

    /// Takes `event` in with those before, if that is all that there is to do for it; gives the size of its frame, and what is to become
    /// of it.
    // By itself: within `Port::publish` it would take registers from a publish whose readers are all of this process.
    #[inline(never)]
    pub(super) fn gather(&mut self, shared: &Shared, event: &Draft<'_>) -> Option<(usize, Verdict)> {
        let size = self.gathered.add(shared, event)?;
        Some((size, self.put_in(shared, event.timestamp, size, true)))
    }

    /// The same for its readers behind sockets, whoever else reads it. False if it does not go with those before.
    pub(super) fn gather_for(&mut self, shared: &Shared, event: &Draft<'_>, readers: &LookedUp<'_>) -> bool {
        self.gathered.add_for(shared, event, readers)
    }

    /// The same, with it as the first. False if it is to stand alone.
    pub(super) fn gather_first(&mut self, shared: &Shared, event: &Draft<'_>, readers: &LookedUp<'_>) -> bool {
        self.hand_on(shared);
        self.gathered
            .begin(shared, event, readers, self.congestion == Congestion::Block)
    }

    /// True if the broker's thread does not look yet, and from now on is to.
    pub(super) fn starts_watch(&mut self) -> bool {
        !std::mem::replace(&mut self.watched, true)
    }

    /// What has gathered goes into the queues.
    pub(super) fn hand_on(&mut self, shared: &Shared) {
        if self.gathered.is_empty() {
            return;
        }
        let on_full = match self.congestion {
            Congestion::Drop => OnFull::Overflow,
            Congestion::Block => OnFull::Exceed { block: true },
        };
        let max_topic_depth = shared.config.max_topic_depth;
        let mut gathered = std::mem::replace(&mut self.gathered, Gathered::new(max_topic_depth));
        let mut delivery = Delivery::new(&shared.router, max_topic_depth, on_full).holding_back(Some(self));
        gathered.deliver(shared, &mut delivery);
        self.gathered = gathered;
        shared.trim();
    }

    fn is_empty(&self) -> bool {
        self.gathered.is_empty() && self.sinks.is_empty()
    }

    /// A message of `bytes` was put in at `now`, by somebody who is `patient`.
    pub(super) fn put_in(&mut self, shared: &Shared, now: Timestamp, bytes: usize, patient: bool) -> Verdict {
        self.taken += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        if !patient || self.is_empty() || !self.cork.holds(now, self.bytes) {
            Verdict::Write(self.release(shared, now))
        } else if self.starts_watch() {
            Verdict::HoldsUnwatched
        } else {
            Verdict::Holds
        }
    }

    /// The end of a turn. `None` if those of the next turn are to share the write.
    pub(super) fn end_turn(&mut self, shared: &Shared, now: Timestamp) -> Option<Release> {
        let may_wait = self.cork.end_turn(self.taken);
        if may_wait && !self.is_empty() && self.cork.holds(now, self.bytes) {
            return None;
        }
        Some(self.release(shared, now))
    }

    pub(super) fn release(&mut self, shared: &Shared, now: Timestamp) -> Release {
        self.hand_on(shared);
        self.bytes = 0;
        self.known.clear();
        if !self.sinks.is_empty() {
            self.releases += 1;
            self.cork.note_write(now);
        }
        Release(std::mem::take(&mut self.sinks))
    }

    /// What stands since the last look; `None` if nothing was held back since then, and nobody need look on.
    fn look(&mut self, shared: &Shared) -> Option<Release> {
        let stood_still = self.seen == self.releases;
        self.seen = self.releases;
        if !stood_still {
            return Some(Release::default());
        }
        self.watched = !self.is_empty();
        if !self.watched {
            self.gathered.shrink();
            return None;
        }
        Some(self.release(shared, Timestamp::now()))
    }
}

/// To be written once no lock is held.
#[derive(Default)]
#[must_use]
pub(super) struct Release(SmallVec<[Arc<Sink>; WRITTEN_HERE]>);

impl Release {
    pub(super) fn write(self) {
        let (here, elsewhere) = self.0.split_at(self.0.len().min(WRITTEN_HERE));
        // Their tasks begin while this thread writes.
        for sink in elsewhere {
            sink.queue.wake_reader();
        }
        for sink in here {
            sink.flush();
        }
    }
}

// Never inlined, so that the trace of a panic names the task.
#[inline(never)]
fn late() -> tokio::time::Sleep {
    tokio::time::sleep(LATE)
}

/// Has the broker's thread write what was held back and not written by its own loop in time.
#[derive(Default)]
pub(super) struct FlushWatchdog {
    watched: Mutex<Vec<Weak<Mutex<HeldBack>>>>,
    begun: Notify,
}

impl FlushWatchdog {
    pub(super) fn begin(&self, held_back: &Arc<Mutex<HeldBack>>) {
        self.watched.lock().push(Arc::downgrade(held_back));
        self.begun.notify_one();
    }

    /// From when something is held back until nothing is any more. Goes on with what a panic has left in the list.
    pub(super) async fn run(&self, shared: &Shared) {
        let is_idle = self.watched.lock().is_empty();
        if is_idle {
            self.begun.notified().await;
        }
        loop {
            late().await;
            if !self.look(shared) {
                return;
            }
        }
    }

    /// What has gathered, of whatever bus, goes into the queues: before another publisher puts something there, so that what was published
    /// first comes first.
    pub(super) fn hand_on(&self, shared: &Shared) {
        for held_back in self.watched.lock().iter().filter_map(Weak::upgrade) {
            held_back.lock().hand_on(shared);
        }
    }

    fn look(&self, shared: &Shared) -> bool {
        let mut late: SmallVec<[Release; 1]> = SmallVec::new();
        let mut watched = self.watched.lock();
        watched.retain(|held_back| {
            let found = held_back.upgrade().and_then(|held_back| held_back.lock().look(shared));
            let goes_on = found.is_some();
            late.extend(found);
            goes_on
        });
        let goes_on = !watched.is_empty();
        drop(watched);
        for release in late {
            release.write();
        }
        goes_on
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::broker::BrokerConfig;
    use crate::queue::{Budget, Limits, Overflow, Queue, Wake};
    use crate::wire::Dialect;

    struct Nobody;

    impl Wake for Nobody {
        fn wake(&self) {}
    }

    #[test]
    fn very_many_readers_are_held_back_once_each_and_without_a_search_for_each() {
        let shared = Shared::new(BrokerConfig::default());
        let limits = Limits { messages: 1, bytes: 1 };
        let budget = Arc::new(Budget::new(1));
        let queue = Arc::new(Queue::new(limits, Overflow::DropOldest, None, budget, Arc::new(Nobody)));
        let sink = |id| {
            Arc::new(Sink {
                id,
                queue: Arc::clone(&queue),
                dialect: Dialect::Bincode,
                max_frame: 1,
                original: false,
                outlet: None,
            })
        };
        let very_many = if cfg!(miri) { 60 } else { 60_000 };
        for count in [1, WRITTEN_HERE as u64, WRITTEN_HERE as u64 + 1, very_many] {
            let sinks: Vec<_> = (0..count).map(sink).collect();
            let mut held_back = HeldBack::new(Congestion::Drop, 8);
            let begun = Instant::now();
            for _message in 0..3 {
                for sink in &sinks {
                    held_back.add(sink);
                }
            }
            let Release(released) = held_back.release(&shared, Timestamp::now());
            assert!(released.iter().map(|sink| sink.id).eq(0..count));
            // What was searched through took minutes here.
            assert!(begun.elapsed().as_secs() < 20, "{count}: {:?}", begun.elapsed());
            held_back.add(&sinks[0]);
            assert_eq!(held_back.release(&shared, Timestamp::now()).0.len(), 1);
        }
    }
}
