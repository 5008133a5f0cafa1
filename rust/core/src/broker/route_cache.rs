//! What one publisher remembers of the routes to its readers.
//!
//! A route lists every subscription that it leads to, and each topic may have one of its own. Guarantee: what is remembered takes
//! [`MOST_BYTES`] and one route more, whatever is subscribed and published. To look one up may take long where very many
//! subscriptions match, so that is timed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::route::Route;
use crate::topic::Cache;

/// Topics whose routes one publisher remembers.
const TOPICS: usize = 1024;
/// Bytes of the lists in routes that are remembered.
pub(super) const MOST_BYTES: usize = 1024 * 1024;

pub(super) struct RouteCache {
    by_topic: Cache<Arc<Route>>,
    /// The same, each once, since topics share them.
    known: Vec<Arc<Route>>,
    generation: u64,
    bytes: usize,
    looked_up: Duration,
}

impl RouteCache {
    pub(super) fn new() -> Self {
        Self {
            by_topic: Cache::new(TOPICS),
            known: Vec::new(),
            generation: 0,
            bytes: 0,
            looked_up: Duration::ZERO,
        }
    }

    /// What is remembered for `topic` of this `generation`, or what `look_up` gives.
    #[inline]
    pub(super) fn get_or_insert_with(
        &mut self,
        topic: impl AsRef<[u8]>,
        generation: u64,
        look_up: impl FnOnce() -> Arc<Route>,
    ) -> &Arc<Route> {
        // As many topics as are remembered may each have a route of its own, and more of them have been forgotten.
        if self.bytes > MOST_BYTES && self.known.len() > 1 || self.known.len() > TOPICS {
            self.forget();
        }
        let Self {
            by_topic,
            known,
            generation: of_known,
            bytes,
            looked_up,
        } = self;
        by_topic.get_or_insert_with(topic, generation, || {
            let began = Instant::now();
            let route = look_up();
            if *of_known != generation {
                known.clear();
                (*of_known, *bytes) = (generation, 0);
            }
            if !known.iter().any(|known| Arc::ptr_eq(known, &route)) && known.try_reserve(1).is_ok() {
                *bytes += route.bytes();
                known.push(Arc::clone(&route));
            }
            *looked_up += began.elapsed();
            route
        })
    }

    #[cold]
    pub(super) fn forget(&mut self) {
        self.by_topic = Cache::new(TOPICS);
        self.known.clear();
        self.bytes = 0;
    }

    /// What looking up has taken since this was asked last.
    #[inline]
    pub(super) fn take_looked_up(&mut self) -> Duration {
        std::mem::take(&mut self.looked_up)
    }
}

#[cfg(test)]
mod tests {
    use super::super::route::LaneKind;
    use super::super::router::{Interest, Router};
    use super::super::tests::join;
    use super::*;
    use crate::topic::Pattern;

    fn subscribe(
        router: &Router,
        sink: &super::super::route::Sink,
        ids: std::ops::Range<u64>,
        pattern: impl Fn(u64) -> String,
    ) {
        for id in ids {
            let interest = Interest {
                patterns: vec![Pattern::parse(&pattern(id), 8).unwrap()],
                filters: None,
                include_control: false,
            };
            router.change().subscribe(sink, id, interest, None);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "thousands of subscriptions take minutes there")]
    fn topics_with_long_lists_of_their_own_are_not_all_remembered() {
        let router = Router::default();
        for _ in 0..4 {
            subscribe(&router, &join(&router), 0..1000, |_| "events.#".to_owned());
        }
        subscribe(&router, &join(&router), 0..200, |id| format!("events.t{id}"));
        let mut routes = RouteCache::new();
        let found: Vec<_> = (0..200)
            .map(|id| {
                let topic = format!("events.t{id}");
                let route = routes.get_or_insert_with(&topic, router.generation(), || router.resolve(&topic));
                assert_eq!(route.lane(LaneKind::Everyone).targets.len(), 5);
                Arc::downgrade(route)
            })
            .collect();
        let kept = || {
            found
                .iter()
                .filter_map(std::sync::Weak::upgrade)
                .map(|route| route.bytes())
        };
        assert!(kept().all(|bytes| bytes > 32_000));
        // Of them the router remembers some, to share them.
        assert!(kept().sum::<usize>() < 5 * MOST_BYTES / 2, "{}", kept().sum::<usize>());
        // What topics share counts once.
        for id in 0..200 {
            let topic = format!("events.other.t{id}");
            routes.get_or_insert_with(&topic, router.generation(), || router.resolve(&topic));
        }
        routes.get_or_insert_with("events.other.t0", router.generation(), || {
            unreachable!("it was remembered")
        });
    }
}
