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
        Self {
            most: config.max_connections,
            most_per_uid: config.max_connections_per_uid.min(others),
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
