//! Who reads what: one table of subscriptions, and routes looked up in it.
//!
//! A look-up takes the table's lock once; its result, a [`Route`], is kept by whoever publishes until the generation moves, so the
//! usual message takes no lock but those of the queues it goes to. Every target carries the epoch of its reader's subscriptions: a
//! queue refuses what was looked up before a change, so a message is matched either wholly before a change or wholly after it.
//!
//! Locks: a queue's, then the table's. Nothing here locks a queue while it holds the table.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use crate::filter::Filters;
use crate::growth;
use crate::lock::Mutex;
use crate::queue::{Queue, Subscriptions};
use crate::topic::{self, Matcher, Pattern};
use crate::wire::{Dialect, MessageType, Summary};

/// Topics whose routes one publisher remembers.
pub(super) const CACHED_TOPICS: usize = 1024;
/// Routes remembered to be shared by topics that lead to the same readers.
const SHARED_ROUTES: usize = 256;
/// Subscriptions that match a topic without it being asked whether there is memory for the list of them.
const FEW_MATCHES: usize = 32;
/// Bytes of one in all lists together while they are made.
const MATCH: usize = 512;

/// Something that can hand a queue's bytes to the kernel at once.
pub(super) trait Outlet: Send + Sync {
    fn flush(&self);
}

/// One reader: a connection, or one subscription of this process.
pub(super) struct Sink {
    pub(super) id: u64,
    pub(super) queue: Arc<Queue>,
    pub(super) dialect: Dialect,
    /// Bytes of the largest frame body that it takes.
    pub(super) max_frame: usize,
    /// A peer of the original, who reads fewer topics than others.
    pub(super) original: bool,
    /// `None` for a reader of this process, who takes objects.
    pub(super) outlet: Option<Weak<dyn Outlet>>,
}

impl Sink {
    pub(super) fn is_local(&self) -> bool {
        self.outlet.is_none()
    }

    pub(super) fn flush(&self) {
        if let Some(outlet) = self.outlet.as_ref().and_then(Weak::upgrade) {
            outlet.flush();
        }
    }
}

/// What one subscription asks for.
pub(super) struct Interest {
    pub(super) patterns: Vec<Pattern>,
    pub(super) filters: Option<Arc<Filters>>,
    pub(super) include_control: bool,
}

/// One reader in a route, and which of its subscriptions match.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) sink: Arc<Sink>,
    pub(super) epoch: u64,
    /// Those without filters, by id.
    pub(super) plain: Subscriptions,
    pub(super) filtered: Vec<(u64, Arc<Filters>)>,
    /// Both together, by id.
    pub(super) all: Subscriptions,
}

impl Target {
    fn new(sink: Arc<Sink>, epoch: u64, matches: &[(u64, Option<Arc<Filters>>)]) -> Self {
        let all: Subscriptions = matches.iter().map(|(id, _)| *id).collect();
        let filtered: Vec<_> = matches
            .iter()
            .filter_map(|(id, filters)| Some((*id, Arc::clone(filters.as_ref()?))))
            .collect();
        let plain = if filtered.is_empty() {
            Arc::clone(&all)
        } else {
            matches
                .iter()
                .filter(|(_, filters)| filters.is_none())
                .map(|(id, _)| *id)
                .collect()
        };
        Self {
            sink,
            epoch,
            plain,
            filtered,
            all,
        }
    }

    /// Which subscriptions take a message, asking `accepts` about each filter; `None` if none does.
    pub(super) fn accepted(&self, mut accepts: impl FnMut(&Filters) -> bool) -> Option<Subscriptions> {
        if self.filtered.is_empty() {
            return Some(Arc::clone(&self.plain));
        }
        let ids: SmallVec<[u64; 8]> = self
            .filtered
            .iter()
            .filter(|(_, filters)| accepts(filters))
            .map(|(id, _)| *id)
            .collect();
        if ids.is_empty() {
            return (!self.plain.is_empty()).then(|| Arc::clone(&self.plain));
        }
        if ids.len() == self.filtered.len() {
            return Some(Arc::clone(&self.all));
        }
        let taken = |id: &u64| ids.contains(id) || self.plain.binary_search(id).is_ok();
        Some(self.all.iter().copied().filter(taken).collect())
    }

    fn is_same(&self, other: &Self) -> bool {
        self.sink.id == other.sink.id && self.epoch == other.epoch && self.all == other.all && self.plain == other.plain
    }
}

/// The readers of one kind of message on one topic.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) targets: Vec<Target>,
}

impl Lane {
    pub(super) fn target(&self, sink: u64) -> Option<&Target> {
        self.targets.iter().find(|target| target.sink.id == sink)
    }

    pub(super) fn has_local(&self) -> bool {
        self.targets.iter().any(|target| target.sink.is_local())
    }

    pub(super) fn has_remote(&self) -> bool {
        self.targets.iter().any(|target| !target.sink.is_local())
    }

    /// The same readers but `sink`, if that is one of them.
    pub(super) fn without(&self, sink: u64) -> Option<Self> {
        self.target(sink)?;
        let targets = self.targets.iter().filter(|target| target.sink.id != sink).cloned();
        Some(Self {
            targets: targets.collect(),
        })
    }

    fn is_same(&self, other: &Self) -> bool {
        self.targets.len() == other.targets.len()
            && self
                .targets
                .iter()
                .zip(&other.targets)
                .all(|(one, two)| one.is_same(two))
    }
}

/// Which of a route's lanes a message takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Events and trigger requests: whoever's pattern matches.
    Everyone,
    /// Other control messages: who asked for them besides.
    Control,
}

impl Way {
    pub(super) fn of(summary: &Summary<'_>) -> Self {
        match (summary.message_type, summary.event) {
            (MessageType::Event, _) | (_, Some(_)) => Self::Everyone,
            _ => Self::Control,
        }
    }
}

/// The readers of one topic.
#[derive(Default)]
pub(super) struct Route {
    everyone: Lane,
    control: Lane,
    standing: Standing,
}

/// What a route that was looked up is good for. Only one that is usual has readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Standing {
    #[default]
    Usual,
    /// Stands for topics that a publisher may not publish.
    Refused,
    /// There was no memory for the list of readers; not to be kept.
    NoMemory,
}

impl Route {
    pub(super) fn refused() -> Self {
        Self {
            standing: Standing::Refused,
            ..Self::default()
        }
    }

    pub(super) const fn standing(&self) -> Standing {
        self.standing
    }

    pub(super) fn lane(&self, way: Way) -> &Lane {
        match way {
            Way::Everyone => &self.everyone,
            Way::Control => &self.control,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.everyone.is_same(&other.everyone) && self.control.is_same(&other.control)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    sink: u64,
    subscription: u64,
}

struct Reader {
    sink: Arc<Sink>,
    epoch: u64,
    interests: HashMap<u64, Interest>,
}

struct Table {
    matcher: Matcher<Key>,
    readers: HashMap<u64, Reader>,
    subscriptions: usize,
    shared: Vec<Arc<Route>>,
    /// Made ahead.
    no_memory: Arc<Route>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            matcher: Matcher::default(),
            readers: HashMap::new(),
            subscriptions: 0,
            shared: Vec::with_capacity(SHARED_ROUTES),
            no_memory: Arc::new(Route {
                standing: Standing::NoMemory,
                ..Route::default()
            }),
        }
    }
}

/// The table and its generation.
#[derive(Default)]
pub(super) struct Router {
    /// Moves with every change of the table, under its lock.
    generation: AtomicU64,
    next_sink: AtomicU64,
    table: Mutex<Table>,
}

impl Router {
    /// To be read *before* a look-up that is to be kept under it.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// A new reader, without subscriptions so far.
    pub(super) fn join(
        &self,
        queue: Arc<Queue>,
        dialect: Dialect,
        max_frame: usize,
        outlet: Option<Weak<dyn Outlet>>,
    ) -> Arc<Sink> {
        self.enter(queue, dialect, max_frame, false, outlet)
    }

    /// A new reader that is a peer of the original.
    pub(super) fn join_original(
        &self,
        queue: Arc<Queue>,
        dialect: Dialect,
        max_frame: usize,
        outlet: Weak<dyn Outlet>,
    ) -> Arc<Sink> {
        self.enter(queue, dialect, max_frame, true, Some(outlet))
    }

    fn enter(
        &self,
        queue: Arc<Queue>,
        dialect: Dialect,
        max_frame: usize,
        original: bool,
        outlet: Option<Weak<dyn Outlet>>,
    ) -> Arc<Sink> {
        let sink = Arc::new(Sink {
            id: self.next_sink.fetch_add(1, Ordering::Relaxed),
            queue,
            dialect,
            max_frame,
            original,
            outlet,
        });
        let epoch = sink.queue.epoch();
        let reader = Reader {
            sink: Arc::clone(&sink),
            epoch,
            interests: HashMap::new(),
        };
        self.table.lock().readers.insert(sink.id, reader);
        sink
    }

    /// Takes a reader out with all its subscriptions.
    pub(super) fn leave(&self, sink: &Sink) {
        let mut table = self.table.lock();
        let Some(reader) = table.readers.remove(&sink.id) else {
            return;
        };
        if reader.interests.is_empty() {
            // It stands in no route: who only publishes comes and goes without a look-up of anybody's.
            return;
        }
        for (id, interest) in &reader.interests {
            table.forget(sink.id, *id, interest);
        }
        self.moved(&mut table);
    }

    /// Subscribes, with `answer` standing where it begins to count. A subscription that was there under `id` ends with that.
    pub(super) fn subscribe(&self, sink: &Sink, id: u64, interest: Interest, answer: Option<Bytes>) {
        sink.queue.change(|epoch| {
            let mut table = self.table.lock();
            let patterns = interest.patterns.clone();
            let entered = table.readers.get_mut(&sink.id).map(|reader| {
                reader.epoch = epoch;
                reader.interests.insert(id, interest)
            });
            if let Some(before) = entered {
                if let Some(before) = before {
                    table.forget(sink.id, id, &before);
                }
                table.subscriptions += 1;
                for pattern in &patterns {
                    let key = Key {
                        sink: sink.id,
                        subscription: id,
                    };
                    table.matcher.insert(pattern, key);
                }
            }
            self.moved(&mut table);
            ((), answer)
        });
    }

    /// Ends a subscription, with `answer` standing where it ends. The caller has made sure that there is one.
    pub(super) fn unsubscribe(&self, sink: &Sink, id: u64, answer: Option<Bytes>) {
        sink.queue.change(|epoch| {
            let mut table = self.table.lock();
            let interest = table.readers.get_mut(&sink.id).and_then(|reader| {
                reader.epoch = epoch;
                reader.interests.remove(&id)
            });
            if let Some(interest) = interest {
                table.forget(sink.id, id, &interest);
            }
            self.moved(&mut table);
            ((), answer)
        });
    }

    fn moved(&self, table: &mut Table) {
        table.shared.clear();
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Who reads `topic` now.
    pub(super) fn resolve(&self, topic: &str) -> Arc<Route> {
        let mut table = self.table.lock();
        let Some(route) = table.resolve(topic) else {
            return Arc::clone(&table.no_memory);
        };
        if let Some(known) = table.shared.iter().find(|known| known.is_same(&route)) {
            return Arc::clone(known);
        }
        let route = Arc::new(route);
        if table.shared.len() < SHARED_ROUTES {
            table.shared.push(Arc::clone(&route));
        }
        route
    }

    /// A reader's subscriptions by id, if it is still one.
    pub(super) fn standing(&self, sink: &Sink) -> Option<HashSet<u64>> {
        let table = self.table.lock();
        let reader = table.readers.get(&sink.id)?;
        Some(reader.interests.keys().copied().collect())
    }

    /// How many subscriptions a reader has.
    pub(super) fn subscriptions_of(&self, sink: &Sink) -> usize {
        self.table
            .lock()
            .readers
            .get(&sink.id)
            .map_or(0, |reader| reader.interests.len())
    }

    /// Live subscriptions, and distinct patterns among them.
    pub(super) fn subscriptions_and_patterns(&self) -> (usize, usize) {
        let table = self.table.lock();
        (table.subscriptions, table.matcher.patterns())
    }

    /// Of every reader, with room to sort them by what they hold. `None` where there is no memory for that.
    pub(super) fn queues(&self) -> Option<Vec<(Reverse<usize>, Arc<Queue>)>> {
        let table = self.table.lock();
        let mut queues = Vec::new();
        queues.try_reserve_exact(table.readers.len()).ok()?;
        let readers = table.readers.values();
        queues.extend(readers.map(|reader| (Reverse(0), Arc::clone(&reader.sink.queue))));
        Some(queues)
    }
}

impl Table {
    fn forget(&mut self, sink: u64, subscription: u64, interest: &Interest) {
        self.subscriptions = self.subscriptions.saturating_sub(1);
        for pattern in &interest.patterns {
            self.matcher.remove(pattern, Key { sink, subscription });
        }
    }

    /// `None` where there is no memory for it.
    fn resolve(&self, topic: &str) -> Option<Route> {
        let mut keys: Vec<Key> = Vec::new();
        let mut matching = 0;
        self.matcher.find(topic, |_, key| {
            matching += 1;
            if keys.try_reserve(1).is_ok() {
                keys.push(key);
            }
        });
        // Each match stands in lists that nobody can refuse to make.
        if keys.len() < matching || matching > FEW_MATCHES && !growth::is_there(matching * MATCH) {
            return None;
        }
        // In order of reader and id, each subscription once, however many of its patterns match.
        keys.sort_unstable();
        keys.dedup();
        let mut route = Route::default();
        let original = topic::original::reads(topic);
        for of_one in keys.chunk_by(|one, two| one.sink == two.sink) {
            let Some(reader) = of_one.first().and_then(|key| self.readers.get(&key.sink)) else {
                continue;
            };
            if reader.sink.original && !original {
                continue;
            }
            let interests = || {
                of_one
                    .iter()
                    .filter_map(|key| Some((key.subscription, reader.interests.get(&key.subscription)?)))
            };
            let target = |matches: Vec<(u64, Option<Arc<Filters>>)>| {
                (!matches.is_empty()).then(|| Target::new(Arc::clone(&reader.sink), reader.epoch, &matches))
            };
            let everyone = interests()
                .map(|(id, interest)| (id, interest.filters.clone()))
                .collect();
            let control = interests()
                .filter(|(_, interest)| interest.include_control)
                .map(|(id, interest)| (id, interest.filters.clone()))
                .collect();
            route.everyone.targets.extend(target(everyone));
            route.control.targets.extend(target(control));
        }
        Some(route)
    }
}
