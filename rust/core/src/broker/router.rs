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

use super::route::{Outlet, Route, Sink, Target};
use super::route_cache::MOST_BYTES;
use crate::filter::Filters;
use crate::growth;
use crate::lock::Mutex;
use crate::queue::Queue;
use crate::topic::{self, Matcher, Pattern};
use crate::wire::Dialect;

/// Routes remembered to be shared by topics that lead to the same readers.
const SHARED_ROUTES: usize = 256;
/// Subscriptions that match a topic without it being asked whether there is memory for the list of them.
const FEW_MATCHES: usize = 32;
/// Bytes of one in all lists together while they are made.
const MATCH: usize = 512;

/// What one subscription asks for.
pub(super) struct Interest {
    pub(super) patterns: Vec<Pattern>,
    pub(super) filters: Option<Arc<Filters>>,
    pub(super) include_control: bool,
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
    shared_bytes: usize,
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
            shared_bytes: 0,
            no_memory: Arc::new(Route::no_memory()),
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

    /// For [`Shared::change_readers`](super::shared::Shared::change_readers) alone, which sees to what was matched before.
    pub(super) const fn change(&self) -> ReaderChange<'_> {
        ReaderChange(self)
    }

    fn moved(&self, table: &mut Table) {
        table.share_nothing();
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
        table.share(&route);
        route
    }

    /// A reader's subscriptions by id, if it is still one.
    pub(super) fn subscription_ids(&self, sink: &Sink) -> Option<HashSet<u64>> {
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

/// Changes who reads what.
pub(super) struct ReaderChange<'a>(&'a Router);

impl ReaderChange<'_> {
    /// Takes a reader out with all its subscriptions.
    pub(super) fn leave(&self, sink: &Sink) {
        let mut table = self.0.table.lock();
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
        self.0.moved(&mut table);
    }

    /// Subscribes, with `answer` standing where it begins to count. A subscription that was there under `id` ends with that.
    pub(super) fn subscribe(&self, sink: &Sink, id: u64, interest: Interest, answer: Option<Bytes>) {
        sink.queue.change(|epoch| {
            let mut table = self.0.table.lock();
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
            self.0.moved(&mut table);
            ((), answer)
        });
    }

    /// Ends a subscription, with `answer` standing where it ends. The caller has made sure that there is one.
    pub(super) fn unsubscribe(&self, sink: &Sink, id: u64, answer: Option<Bytes>) {
        sink.queue.change(|epoch| {
            let mut table = self.0.table.lock();
            let interest = table.readers.get_mut(&sink.id).and_then(|reader| {
                reader.epoch = epoch;
                reader.interests.remove(&id)
            });
            if let Some(interest) = interest {
                table.forget(sink.id, id, &interest);
            }
            self.0.moved(&mut table);
            ((), answer)
        });
    }
}

impl Table {
    /// Remembers a route for other topics with the same readers; when full, those before are forgotten.
    fn share(&mut self, route: &Arc<Route>) {
        let bytes = route.bytes();
        if self.shared.len() == SHARED_ROUTES || self.shared_bytes + bytes > MOST_BYTES {
            self.share_nothing();
        }
        self.shared_bytes += bytes;
        self.shared.push(Arc::clone(route));
    }

    fn share_nothing(&mut self) {
        self.shared.clear();
        self.shared_bytes = 0;
    }

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
        if keys.len() < matching || matching > FEW_MATCHES && !growth::is_available(matching * MATCH) {
            return None;
        }
        // In order of reader and id, each subscription once, however many of its patterns match.
        keys.sort_unstable();
        keys.dedup();
        let (mut everyone, mut control) = (Vec::new(), Vec::new());
        let original = topic::original::accepts(topic);
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
            let of_everyone = interests()
                .map(|(id, interest)| (id, interest.filters.clone()))
                .collect();
            let of_control = interests()
                .filter(|(_, interest)| interest.include_control)
                .map(|(id, interest)| (id, interest.filters.clone()))
                .collect();
            everyone.extend(target(of_everyone));
            control.extend(target(of_control));
        }
        Some(Route::new(everyone, control))
    }
}
