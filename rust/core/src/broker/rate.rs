//! How fast a client, and all clients of one uid together, may publish and connect.
//!
//! Token buckets on the monotonic clock. A bucket holds `burst` seconds' worth of its rate, and at least one message: what is larger
//! than the whole bucket passes when it is full, and leaves it in debt. A message needs room in every bucket that it falls under, and
//! is charged to all of them or to none. Who waits for a rate that others share does so in [`mod@line`].

mod bucket;
mod line;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use self::bucket::{Bucket, Buckets, Cost};
use self::line::Line;
use crate::error::{Error, Result};
use crate::lock::Mutex;
use crate::queue::Wake;

/// A publisher that waits is woken for a batch rather than for each message; far below the shortest burst.
const LEAST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
const SHORTEST_BURST: f64 = 0.05;
const LONGEST_BURST: f64 = 3600.0;
const LOWEST_RATE: f64 = 0.001;
const HIGHEST_RATE: f64 = 1e12;
/// Only uids that may connect get an entry; this bounds what a long list of them may cost.
const MOST_UIDS: usize = 1024;

/// Whose messages one set of limits counts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Per {
    Client,
    Uid,
}

/// See [`BrokerConfig::rate_limits`](super::BrokerConfig::rate_limits). `None`: not limited.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateLimit {
    pub per: Per,
    pub messages_per_second: Option<f64>,
    /// Of whole frames.
    pub bytes_per_second: Option<f64>,
    /// Per uid only.
    pub connects_per_second: Option<f64>,
    /// Seconds' worth that may come at once after a pause.
    pub burst: f64,
}

impl RateLimit {
    pub(super) fn validate(&self) -> Result<()> {
        let rates = [
            self.messages_per_second,
            self.bytes_per_second,
            self.connects_per_second,
        ];
        if rates.iter().all(Option::is_none) {
            return Err(Error::invalid(
                "rate_limit",
                "limits nothing; name a rate, or leave it out",
            ));
        }
        for rate in rates.into_iter().flatten() {
            if !(LOWEST_RATE..=HIGHEST_RATE).contains(&rate) {
                return Err(Error::invalid(
                    "rate_limit",
                    format!(
                        "{rate} per second is not within {LOWEST_RATE} to {HIGHEST_RATE}; choose a rate in between"
                    ),
                ));
            }
        }
        if !(SHORTEST_BURST..=LONGEST_BURST).contains(&self.burst) {
            return Err(Error::invalid(
                "rate_limit",
                format!(
                    "a burst of {} s is not within {SHORTEST_BURST} to {LONGEST_BURST}; choose a time in between",
                    self.burst
                ),
            ));
        }
        if self.per == Per::Client && self.connects_per_second.is_some() {
            return Err(Error::invalid(
                "rate_limit",
                "connects_per_second needs per=\"uid\": a client is one connection",
            ));
        }
        Ok(())
    }
}

/// What one connection's messages are held to. Dropped, it leaves the line of its uid.
pub(super) struct Meter {
    own: Option<Buckets>,
    of_uid: Option<Arc<Mutex<Line>>>,
    waits: bool,
    /// Woken when its turn may have come earlier than it was told.
    waker: Arc<dyn Wake>,
    /// In that line.
    place: Option<u64>,
    /// What the next frame was charged.
    paid: Option<Cost>,
}

impl Meter {
    /// Whether a frame of so many bytes may pass at `now`. Then it is charged, once until it is [done with](Self::settle), however often
    /// it is looked at; it need not have come whole.
    pub(super) fn admit(&mut self, now: Instant, bytes: usize) -> bool {
        if self.paid.is_some() {
            return true;
        }
        let cost = Cost::of(bytes);
        if self.wait_for_own(now, cost) > 0.0 {
            return false;
        }
        if let Some(line) = &self.of_uid {
            if !line.lock().take(now, cost, self.place, self.waits) {
                return false;
            }
            self.leave_line();
        }
        if let Some(buckets) = &mut self.own {
            buckets.charge(cost);
        }
        self.paid = Some(cost);
        true
    }

    /// For who waits with a frame that may not pass: lines up with it, and gives when to ask again, unless it is
    /// [called](Self::is_called) before.
    pub(super) fn line_up(&mut self, now: Instant, bytes: usize) -> Instant {
        let cost = Cost::of(bytes);
        let mut wait = self.wait_for_own(now, cost);
        // Nobody waits for one whom his own rate keeps.
        if wait <= 0.0
            && let Some(line) = &self.of_uid
        {
            let mut line = line.lock();
            let place = *self.place.get_or_insert_with(|| line.enter(cost, &self.waker));
            wait = line.wait(now, place);
        }
        let wait = Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX);
        now + wait.clamp(LEAST_WAIT, LONGEST_WAIT)
    }

    /// Whether to ask now, whatever it was told.
    pub(super) fn is_called(&self) -> bool {
        match (&self.of_uid, self.place) {
            (Some(line), Some(place)) => line.lock().is_called(place),
            _ => false,
        }
    }

    /// The frame that was admitted is done with.
    pub(super) const fn settle(&mut self) {
        self.paid = None;
    }

    /// The frame that was admitted does not pass after all.
    pub(super) fn give_back(&mut self) {
        let Some(cost) = self.paid.take() else { return };
        if let Some(buckets) = &mut self.own {
            buckets.give_back(cost);
        }
        if let Some(line) = &self.of_uid {
            let call = line.lock().give_back(cost);
            call.wake();
        }
    }

    fn wait_for_own(&mut self, now: Instant, cost: Cost) -> f64 {
        let own = self.own.as_mut();
        own.map_or(0.0, |buckets| buckets.wait(now, cost, Cost::NONE))
    }

    fn leave_line(&mut self) {
        if let Some(line) = &self.of_uid
            && let Some(place) = self.place.take()
        {
            let call = line.lock().leave(place);
            call.wake();
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.leave_line();
        self.give_back();
    }
}

#[derive(Debug, Default)]
struct OfUid {
    publishing: Option<Arc<Mutex<Line>>>,
    connects: Option<Bucket>,
}

/// The buckets of all uids.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<u32, OfUid>>);

impl Rates {
    /// What a new connection of `uid` is held to; `None` if to nothing. `waker` is for one that `waits` for its rate.
    pub(super) fn meter(&self, limits: &[RateLimit], uid: u32, waits: bool, waker: &Arc<dyn Wake>) -> Option<Meter> {
        let of = |per: Per| limits.iter().find(|limit| limit.per == per);
        let meter = Meter {
            own: of(Per::Client).and_then(Buckets::of),
            of_uid: of(Per::Uid).and_then(|limit| self.with(limit, uid, |known| known.publishing.clone())),
            waits,
            waker: Arc::clone(waker),
            place: None,
            paid: None,
        };
        (meter.own.is_some() || meter.of_uid.is_some()).then_some(meter)
    }

    /// Charges a connection to its uid; false if there were too many.
    pub(super) fn connect(&self, limits: &[RateLimit], uid: u32) -> bool {
        let Some(limit) = limits.iter().find(|limit| limit.connects_per_second.is_some()) else {
            return true;
        };
        self.with(limit, uid, |known| {
            let Some(bucket) = &mut known.connects else { return true };
            bucket.refill(Instant::now());
            let room = bucket.wait(1.0, 0.0) <= 0.0;
            if room {
                bucket.charge(1.0);
            }
            room
        })
    }

    fn with<R>(&self, limit: &RateLimit, uid: u32, work: impl FnOnce(&mut OfUid) -> R) -> R {
        let mut uids = self.0.lock();
        if uids.len() >= MOST_UIDS && !uids.contains_key(&uid) {
            // Whose connections are open is told by who else holds the line.
            uids.retain(|_, known| {
                known
                    .publishing
                    .as_ref()
                    .is_some_and(|line| Arc::strong_count(line) > 1)
            });
        }
        work(uids.entry(uid).or_insert_with(|| OfUid {
            publishing: Buckets::of(limit).map(|buckets| Arc::new(Mutex::new(Line::new(buckets)))),
            connects: limit.connects_per_second.map(|rate| Bucket::new(rate, limit.burst)),
        }))
    }
}
