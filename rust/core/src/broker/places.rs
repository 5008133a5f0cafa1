//! How many may be here at once: connections, those of one uid, and peers of the original.
//!
//! A place is given back when its [`Place`] or [`Seat`] is dropped, however a connection ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::config::BrokerConfig;
use super::statistics::Refusal;

pub(super) struct Places {
    most: usize,
    most_per_uid: usize,
    most_originals: usize,
    /// Exempt from `most_per_uid`.
    own_uid: u32,
    /// Changes under the lock of `per_uid`.
    taken: AtomicUsize,
    per_uid: Mutex<HashMap<u32, usize>>,
    originals: AtomicUsize,
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
            originals: AtomicUsize::new(0),
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

    /// One of the places for peers of the original, if one is free.
    pub(super) fn take_seat(self: &Arc<Self>) -> Option<Seat> {
        self.originals
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                (taken < self.most_originals).then_some(taken + 1)
            })
            .ok()?;
        Some(Seat(Arc::clone(self)))
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
        if let Some(of_uid) = per_uid.get_mut(&self.uid) {
            *of_uid -= 1;
            if *of_uid == 0 {
                per_uid.remove(&self.uid);
            }
        }
        self.places.freed.notify_one();
    }
}

/// A place among the peers of the original.
pub(super) struct Seat(Arc<Places>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.originals.fetch_sub(1, Ordering::AcqRel);
    }
}
