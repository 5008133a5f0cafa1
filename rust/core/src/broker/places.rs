//! How many may be here at once: connections, those of one uid, and peers of the original.
//!
//! A place is given back when its [`Place`] or [`Seat`] is dropped, however a connection ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashMap;
use tokio::sync::Notify;

use super::config::BrokerConfig;
use super::statistics::Refusal;
use crate::lock::Mutex;

pub(super) struct Places {
    most: usize,
    most_per_uid: usize,
    /// What that follows from.
    limit_per_uid: &'static str,
    most_originals: usize,
    /// Exempt from `most_per_uid`.
    own_uid: u32,
    /// Changes under the lock of `per_uid`.
    taken: AtomicUsize,
    per_uid: Mutex<HashMap<u32, usize>>,
    /// Peers of the original by uid.
    originals: Mutex<HashMap<u32, usize>>,
    /// Told of each place that is given back.
    freed: Arc<Notify>,
}

impl Places {
    pub(super) fn new(config: &BrokerConfig, own_uid: u32, freed: Arc<Notify>) -> Self {
        // However few places there are, one uid leaves one.
        let others = config.max_connections.saturating_sub(1).max(1);
        let (most_per_uid, limit_per_uid) = if config.max_connections_per_uid <= others {
            (config.max_connections_per_uid, "max_connections_per_uid")
        } else {
            (others, "max_connections but one, which is kept for other users,")
        };
        Self {
            most: config.max_connections,
            most_per_uid,
            limit_per_uid,
            most_originals: config.max_original_peers,
            own_uid,
            taken: AtomicUsize::new(0),
            per_uid: Mutex::default(),
            originals: Mutex::default(),
            freed,
        }
    }

    /// Connections now. Whoever is gone by this number has its account settled.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    /// Takes one of the places for connections, or says which limit is reached.
    pub(super) fn take(self: &Arc<Self>, uid: u32) -> Result<Place, Refusal> {
        let mut per_uid = self.per_uid.lock();
        if self.taken.load(Ordering::Relaxed) >= self.most {
            return Err(Refusal::Busy);
        }
        let of_uid = per_uid.entry(uid).or_default();
        if uid != self.own_uid && *of_uid >= self.most_per_uid {
            return Err(Refusal::BusyUid);
        }
        *of_uid += 1;
        self.taken.fetch_add(1, Ordering::Relaxed);
        Ok(Place {
            places: Arc::clone(self),
            uid,
        })
    }

    /// What [`take`](Self::take) was refused for, and what to do.
    pub(super) fn explain(&self, refusal: Refusal) -> String {
        let limit = if refusal == Refusal::Busy {
            "max_connections"
        } else {
            self.limit_per_uid
        };
        format!("all connections of {limit} are in use; close one, or raise it")
    }

    /// One of the places for peers of the original, if one is free. Of these too one uid other than ours leaves one: whoever connects
    /// and says nothing sits in one.
    pub(super) fn take_seat(self: &Arc<Self>, uid: u32) -> Option<Seat> {
        let mut seats = self.originals.lock();
        if seats.values().sum::<usize>() >= self.most_originals {
            return None;
        }
        let of_uid = seats.entry(uid).or_default();
        if uid != self.own_uid && *of_uid >= self.most_originals.saturating_sub(1).max(1) {
            return None;
        }
        *of_uid += 1;
        Some(Seat {
            places: Arc::clone(self),
            uid,
        })
    }
}

/// A place among the connections.
pub(super) struct Place {
    places: Arc<Places>,
    uid: u32,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut per_uid = self.places.per_uid.lock();
        self.places.taken.fetch_sub(1, Ordering::AcqRel);
        give_back(&mut per_uid, self.uid);
        self.places.freed.notify_one();
    }
}

/// A place among the peers of the original.
pub(super) struct Seat {
    places: Arc<Places>,
    uid: u32,
}

impl Drop for Seat {
    fn drop(&mut self) {
        give_back(&mut self.places.originals.lock(), self.uid);
    }
}

/// One of those that `uid` has.
fn give_back(of_uids: &mut HashMap<u32, usize>, uid: u32) {
    if let Some(of_uid) = of_uids.get_mut(&uid) {
        *of_uid -= 1;
        if *of_uid == 0 {
            of_uids.remove(&uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::unconstrained;

    use super::*;

    const OWN: u32 = 1;
    const OTHER: u32 = 2;

    fn places(most: usize, of_uid: usize, originals: usize) -> Arc<Places> {
        let config = BrokerConfig {
            max_connections: most,
            max_connections_per_uid: of_uid,
            max_original_peers: originals,
            ..BrokerConfig::default()
        };
        Arc::new(Places::new(&config, OWN, Arc::new(Notify::new())))
    }

    /// Takes places until there is none, and says how many there were and why no more.
    fn fill(places: &Arc<Places>, uid: u32) -> (Vec<Place>, Refusal) {
        let mut held = Vec::new();
        loop {
            match places.take(uid) {
                Ok(place) => held.push(place),
                Err(refusal) => return (held, refusal),
            }
        }
    }

    #[test]
    fn one_uid_has_its_share_and_the_own_has_all() {
        // Asked for: places, and those of one uid. Got: those of another uid, and by which limit.
        let by_uid = "max_connections_per_uid are";
        let by_all = "max_connections but one,";
        for (most, of_uid, expected, limit) in [
            (8, 3, 3, by_uid),
            (8, 7, 7, by_uid),
            (8, 8, 7, by_all),
            (8, 100, 7, by_all),
            (2, 2, 1, by_all),
        ] {
            let places = places(most, of_uid, 0);
            let (others, refusal) = fill(&places, OTHER);
            assert_eq!(
                (others.len(), refusal),
                (expected, Refusal::BusyUid),
                "{most}, {of_uid}"
            );
            let why = places.explain(refusal);
            assert!(why.contains(limit) && why.ends_with("raise it"), "{why}");
            let (own, refusal) = fill(&places, OWN);
            assert_eq!((own.len(), refusal), (most - expected, Refusal::Busy));
            assert!(places.explain(refusal).contains("max_connections are"));
            assert_eq!(places.taken(), most);
        }
        let (others, refusal) = fill(&places(1, 1, 0), OTHER);
        assert_eq!(
            (others.len(), refusal),
            (1, Refusal::Busy),
            "the only place is anybody's"
        );
    }

    #[tokio::test]
    async fn what_is_given_back_can_be_taken_again() {
        let places = places(4, 2, 0);
        for _ in 0..3 {
            let (mut held, _) = fill(&places, OTHER);
            held.pop();
            assert_eq!(places.taken(), 1);
            assert_eq!(fill(&places, OTHER).0.len(), 1, "the one that was given back");
            drop(held);
            assert_eq!(places.taken(), 0);
            assert!(places.per_uid.lock().is_empty(), "who has left leaves nothing behind");
        }
        let told = tokio::time::timeout(std::time::Duration::ZERO, unconstrained(places.freed.notified()));
        assert!(told.await.is_ok(), "who waits for a place is told");
    }

    #[test]
    fn one_uid_leaves_a_seat_and_gives_all_back() {
        for (most, expected) in [(0, 0), (1, 1), (2, 1), (5, 4)] {
            let places = places(8, 8, most);
            for _ in 0..2 {
                let others: Vec<_> = std::iter::from_fn(|| places.take_seat(OTHER)).collect();
                assert_eq!(others.len(), expected);
                let own: Vec<_> = std::iter::from_fn(|| places.take_seat(OWN)).collect();
                assert_eq!(own.len(), most - expected);
            }
            assert!(places.originals.lock().is_empty());
        }
    }
}
