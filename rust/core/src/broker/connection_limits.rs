//! How many may be here at once: connections, those of one uid, and peers of the original.
//!
//! Whoever is let in holds a permit, [`ConnectionPermit`] or [`OriginalPermit`]; it is released by its drop, however a connection ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashMap;
use tokio::sync::Notify;

use super::config::BrokerConfig;
use super::statistics::Refusal;
use crate::lock::Mutex;

pub(super) struct ConnectionLimits {
    most: usize,
    most_per_uid: usize,
    /// What that follows from.
    limit_per_uid: &'static str,
    most_originals: usize,
    /// Exempt from `most_per_uid`.
    own_uid: u32,
    /// Changes under the lock of `per_uid`.
    in_use: AtomicUsize,
    per_uid: Mutex<HashMap<u32, usize>>,
    /// Peers of the original by uid.
    originals: Mutex<HashMap<u32, usize>>,
    /// Told of each connection permit that is released.
    freed: Arc<Notify>,
}

impl ConnectionLimits {
    pub(super) fn new(config: &BrokerConfig, own_uid: u32, freed: Arc<Notify>) -> Self {
        // However few there may be, one uid leaves one to others.
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
            in_use: AtomicUsize::new(0),
            per_uid: Mutex::default(),
            originals: Mutex::default(),
            freed,
        }
    }

    /// Connections now. Whoever is gone by this number has its account settled.
    pub(super) fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Acquire)
    }

    /// A permit for a connection, or which limit is reached.
    pub(super) fn acquire(self: &Arc<Self>, uid: u32) -> Result<ConnectionPermit, Refusal> {
        let mut per_uid = self.per_uid.lock();
        if self.in_use.load(Ordering::Relaxed) >= self.most {
            return Err(Refusal::Busy);
        }
        let of_uid = per_uid.entry(uid).or_default();
        if uid != self.own_uid && *of_uid >= self.most_per_uid {
            return Err(Refusal::BusyUid);
        }
        *of_uid += 1;
        self.in_use.fetch_add(1, Ordering::Relaxed);
        Ok(ConnectionPermit {
            limits: Arc::clone(self),
            uid,
        })
    }

    /// What [`acquire`](Self::acquire) was refused for, and what to do.
    pub(super) fn explain(&self, refusal: Refusal) -> String {
        let limit = if refusal == Refusal::Busy {
            "max_connections"
        } else {
            self.limit_per_uid
        };
        format!("all connections of {limit} are in use; close one, or raise it")
    }

    /// A permit for a peer of the original, if one is free. Of these too one uid other than ours leaves one: whoever connects and says
    /// nothing holds one.
    pub(super) fn acquire_original(self: &Arc<Self>, uid: u32) -> Option<OriginalPermit> {
        let mut originals = self.originals.lock();
        if originals.values().sum::<usize>() >= self.most_originals {
            return None;
        }
        let of_uid = originals.entry(uid).or_default();
        if uid != self.own_uid && *of_uid >= self.most_originals.saturating_sub(1).max(1) {
            return None;
        }
        *of_uid += 1;
        Some(OriginalPermit {
            limits: Arc::clone(self),
            uid,
        })
    }
}

/// Lets one connection stay.
pub(super) struct ConnectionPermit {
    limits: Arc<ConnectionLimits>,
    uid: u32,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut per_uid = self.limits.per_uid.lock();
        self.limits.in_use.fetch_sub(1, Ordering::AcqRel);
        release(&mut per_uid, self.uid);
        self.limits.freed.notify_one();
    }
}

/// Lets one peer of the original stay.
pub(super) struct OriginalPermit {
    limits: Arc<ConnectionLimits>,
    uid: u32,
}

impl Drop for OriginalPermit {
    fn drop(&mut self) {
        release(&mut self.limits.originals.lock(), self.uid);
    }
}

/// Takes one off those that `uid` has.
fn release(of_uids: &mut HashMap<u32, usize>, uid: u32) {
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

    fn limits(most: usize, of_uid: usize, originals: usize) -> Arc<ConnectionLimits> {
        let config = BrokerConfig {
            max_connections: most,
            max_connections_per_uid: of_uid,
            max_original_peers: originals,
            ..BrokerConfig::default()
        };
        Arc::new(ConnectionLimits::new(&config, OWN, Arc::new(Notify::new())))
    }

    /// Takes permits until there is none, and says how many there were and why no more.
    fn fill(limits: &Arc<ConnectionLimits>, uid: u32) -> (Vec<ConnectionPermit>, Refusal) {
        let mut held = Vec::new();
        loop {
            match limits.acquire(uid) {
                Ok(permit) => held.push(permit),
                Err(refusal) => return (held, refusal),
            }
        }
    }

    #[test]
    fn one_uid_has_its_share_and_the_brokers_own_has_all() {
        // Asked for: connections, and those of one uid. Got: those of another uid, and by which limit.
        let by_uid = "max_connections_per_uid are";
        let by_all = "max_connections but one,";
        for (most, of_uid, expected, limit) in [
            (8, 3, 3, by_uid),
            (8, 7, 7, by_uid),
            (8, 8, 7, by_all),
            (8, 100, 7, by_all),
            (2, 2, 1, by_all),
        ] {
            let limits = limits(most, of_uid, 0);
            let (others, refusal) = fill(&limits, OTHER);
            assert_eq!(
                (others.len(), refusal),
                (expected, Refusal::BusyUid),
                "{most}, {of_uid}"
            );
            let why = limits.explain(refusal);
            assert!(why.contains(limit) && why.ends_with("raise it"), "{why}");
            let (own, refusal) = fill(&limits, OWN);
            assert_eq!((own.len(), refusal), (most - expected, Refusal::Busy));
            assert!(limits.explain(refusal).contains("max_connections are"));
            assert_eq!(limits.in_use(), most);
        }
        let (others, refusal) = fill(&limits(1, 1, 0), OTHER);
        assert_eq!(
            (others.len(), refusal),
            (1, Refusal::Busy),
            "the only connection is anybody's"
        );
    }

    #[tokio::test]
    async fn a_released_permit_can_be_acquired_again() {
        let limits = limits(4, 2, 0);
        for _ in 0..3 {
            let (mut held, _) = fill(&limits, OTHER);
            held.pop();
            assert_eq!(limits.in_use(), 1);
            assert_eq!(fill(&limits, OTHER).0.len(), 1, "the one that was released");
            drop(held);
            assert_eq!(limits.in_use(), 0);
            assert!(limits.per_uid.lock().is_empty(), "who has left leaves nothing behind");
        }
        let told = tokio::time::timeout(std::time::Duration::ZERO, unconstrained(limits.freed.notified()));
        assert!(told.await.is_ok(), "who waits for a permit is told");
    }

    #[test]
    fn one_uid_leaves_a_permit_for_originals_to_others_and_releases_all() {
        for (most, expected) in [(0, 0), (1, 1), (2, 1), (5, 4)] {
            let limits = limits(8, 8, most);
            for _ in 0..2 {
                let others: Vec<_> = std::iter::from_fn(|| limits.acquire_original(OTHER)).collect();
                assert_eq!(others.len(), expected);
                let own: Vec<_> = std::iter::from_fn(|| limits.acquire_original(OWN)).collect();
                assert_eq!(own.len(), most - expected);
            }
            assert!(limits.originals.lock().is_empty());
        }
    }
}
