//! How fast a client, and all clients of one uid together, may publish and connect.
//!
//! Token buckets on the monotonic clock. A bucket holds `burst` seconds' worth of its rate, and at least one message: what is larger
//! than the whole bucket passes when it is full, and leaves it in debt. A message needs room in every bucket that it falls under, and
//! is charged to all of them or to none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::error::{Error, Result};
use crate::lock::Mutex;

/// A publisher that waits is woken for a batch rather than for each message; far below the shortest burst.
const LEAST_WAIT: Duration = Duration::from_millis(10);
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

#[derive(Debug)]
struct Bucket {
    rate: f64,
    most: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate: f64, burst: f64) -> Self {
        let most = (rate * burst).max(1.0);
        Self {
            rate,
            most,
            level: most,
            at: Instant::now(),
        }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = passed.mul_add(self.rate, self.level).min(self.most);
        self.at = self.at.max(now);
    }

    /// Seconds until `cost` can be taken.
    fn wait(&self, cost: f64) -> f64 {
        ((cost.min(self.most) - self.level) / self.rate).max(0.0)
    }
}

#[derive(Debug)]
struct Buckets {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl Buckets {
    /// `None` where neither is limited.
    fn of(limit: &RateLimit) -> Option<Self> {
        let bucket = |rate: Option<f64>| rate.map(|rate| Bucket::new(rate, limit.burst));
        let buckets = Self {
            messages: bucket(limit.messages_per_second),
            bytes: bucket(limit.bytes_per_second),
        };
        (buckets.messages.is_some() || buckets.bytes.is_some()).then_some(buckets)
    }

    fn both(&mut self, bytes: f64) -> impl Iterator<Item = (&mut Bucket, f64)> {
        let messages = self.messages.iter_mut().map(|bucket| (bucket, 1.0));
        messages.chain(self.bytes.iter_mut().map(move |bucket| (bucket, bytes)))
    }

    fn wait(&mut self, now: Instant, bytes: f64) -> f64 {
        let waits = self.both(bytes).map(|(bucket, cost)| {
            bucket.refill(now);
            bucket.wait(cost)
        });
        waits.fold(0.0, f64::max)
    }

    fn charge(&mut self, bytes: f64) {
        for (bucket, cost) in self.both(bytes) {
            bucket.level -= cost;
        }
    }
}

/// What one connection's messages are held to.
#[derive(Debug)]
pub(super) struct Meter {
    own: Option<Buckets>,
    of_uid: Option<Arc<Mutex<Buckets>>>,
    /// The next frame is charged already.
    paid: bool,
}

impl Meter {
    /// Whether a frame of so many bytes may pass at `now`: if not, when it may.
    #[expect(clippy::cast_precision_loss, reason = "frames are far below 2^52 bytes")]
    pub(super) fn admit(&mut self, now: Instant, bytes: usize) -> Result<(), Instant> {
        if self.paid {
            return Ok(());
        }
        let bytes = bytes as f64;
        let own = self.own.as_mut().map_or(0.0, |buckets| buckets.wait(now, bytes));
        let of_uid = self.of_uid.as_ref();
        let wait = of_uid.map_or(own, |buckets| own.max(buckets.lock().wait(now, bytes)));
        if wait > 0.0 {
            let wait = Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX);
            let wait = wait.clamp(LEAST_WAIT, Duration::from_secs(3600));
            return Err(now + wait);
        }
        Ok(())
    }

    /// Charges a frame that was admitted a moment ago.
    #[expect(clippy::cast_precision_loss, reason = "frames are far below 2^52 bytes")]
    pub(super) fn charge(&mut self, bytes: usize) {
        if self.settle() {
            return;
        }
        let bytes = bytes as f64;
        if let Some(buckets) = &mut self.own {
            buckets.charge(bytes);
        }
        if let Some(buckets) = &self.of_uid {
            buckets.lock().charge(bytes);
        }
    }

    /// The same for a frame that has not come whole, once: it passes when it has. If it may not, when it may.
    pub(super) fn pay_ahead(&mut self, now: Instant, bytes: usize) -> Result<(), Instant> {
        if !self.paid {
            self.admit(now, bytes)?;
            self.charge(bytes);
            self.paid = true;
        }
        Ok(())
    }

    /// That frame is done with. True if it was charged ahead.
    pub(super) const fn settle(&mut self) -> bool {
        std::mem::replace(&mut self.paid, false)
    }
}

#[derive(Debug, Default)]
struct OfUid {
    publishing: Option<Arc<Mutex<Buckets>>>,
    connects: Option<Bucket>,
}

/// The buckets of all uids.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<u32, OfUid>>);

impl Rates {
    /// What a new connection of `uid` is held to; `None` if to nothing.
    pub(super) fn meter(&self, limits: &[RateLimit], uid: u32) -> Option<Meter> {
        let of = |per: Per| limits.iter().find(|limit| limit.per == per);
        let meter = Meter {
            own: of(Per::Client).and_then(Buckets::of),
            of_uid: of(Per::Uid).and_then(|limit| self.with(limit, uid, |known| known.publishing.clone())),
            paid: false,
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
            let room = bucket.wait(1.0) <= 0.0;
            if room {
                bucket.level -= 1.0;
            }
            room
        })
    }

    fn with<R>(&self, limit: &RateLimit, uid: u32, work: impl FnOnce(&mut OfUid) -> R) -> R {
        let mut uids = self.0.lock();
        if uids.len() >= MOST_UIDS && !uids.contains_key(&uid) {
            // Whose connections are open is told by who else holds the bucket.
            uids.retain(|_, known| {
                known
                    .publishing
                    .as_ref()
                    .is_some_and(|buckets| Arc::strong_count(buckets) > 1)
            });
        }
        work(uids.entry(uid).or_insert_with(|| OfUid {
            publishing: Buckets::of(limit).map(|buckets| Arc::new(Mutex::new(buckets))),
            connects: limit.connects_per_second.map(|rate| Bucket::new(rate, limit.burst)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(limit: RateLimit) -> Meter {
        Rates::default().meter(&[limit], 7).unwrap()
    }

    const LIMIT: RateLimit = RateLimit {
        per: Per::Client,
        messages_per_second: Some(100.0),
        bytes_per_second: None,
        connects_per_second: None,
        burst: 0.5,
    };

    /// Messages of `bytes` let through from `start` on, within `length`, one tried each millisecond.
    fn passed(meter: &mut Meter, start: Instant, length: Duration, bytes: usize) -> u32 {
        let mut passed = 0;
        let length = u64::try_from(length.as_millis()).unwrap();
        // Thousands of trials take minutes there.
        let step = if cfg!(miri) { (length / 500).max(1) } else { 1 };
        for at in (0..length / step).map(|trial| trial * step) {
            if meter.admit(start + Duration::from_millis(at), bytes).is_ok() {
                meter.charge(bytes);
                passed += 1;
            }
        }
        passed
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut meter = meter(LIMIT);
        let now = Instant::now();
        let burst = (0..200)
            .filter(|_| {
                meter.admit(now, 1).is_ok_and(|()| {
                    meter.charge(1);
                    true
                })
            })
            .count();
        assert!((50..=51).contains(&burst), "{burst}");
        let seconds = if cfg!(miri) { 1 } else { 10 };
        let second = passed(&mut meter, now, Duration::from_secs(seconds.into()), 1);
        assert!((99 * seconds..=100 * seconds + 1).contains(&second), "{second}");
        // A pause fills the bucket to its burst and no further.
        let later = now + Duration::from_secs(1000);
        let again = passed(&mut meter, later, Duration::from_millis(1), 1);
        assert_eq!(again, 1);
        let burst = (0..200)
            .filter(|_| {
                meter.admit(later, 1).is_ok_and(|()| {
                    meter.charge(1);
                    true
                })
            })
            .count();
        assert_eq!(burst, 49);
    }

    #[test]
    fn bytes_count_and_one_larger_than_the_bucket_passes_in_its_time() {
        let limit = RateLimit {
            messages_per_second: None,
            bytes_per_second: Some(1000.0),
            burst: 1.0,
            ..LIMIT
        };
        let mut meter = meter(limit);
        let now = Instant::now();
        assert!(meter.admit(now, 5000).is_ok());
        meter.charge(5000);
        let ready = meter.admit(now, 5000).unwrap_err();
        let wait = ready.duration_since(now).as_secs_f64();
        assert!((4.9..=5.1).contains(&wait), "{wait}");
        let most = if cfg!(miri) { 2 } else { 20 };
        let many = passed(&mut meter, ready, Duration::from_secs(5 * u64::from(most)), 5000);
        assert!((most..=most + 1).contains(&many), "{many}");
    }

    #[test]
    fn a_frame_that_is_paid_for_ahead_is_charged_once_and_the_next_anew() {
        let mut meter = meter(LIMIT);
        let now = Instant::now();
        assert_eq!(meter.pay_ahead(now, 1), Ok(()));
        assert_eq!(passed(&mut meter, now, Duration::from_millis(1), 1), 1, "that one");
        let left = (0..200)
            .filter(|_| meter.pay_ahead(now, 1).is_ok() && meter.settle())
            .count();
        assert_eq!(left, 49);
        assert!(meter.admit(now, 1).is_err() && meter.pay_ahead(now, 1).is_err());
    }

    #[test]
    fn connections_of_one_uid_share_and_others_do_not() {
        let limit = RateLimit { per: Per::Uid, ..LIMIT };
        let rates = Rates::default();
        let (mut one, mut two) = (rates.meter(&[limit], 1).unwrap(), rates.meter(&[limit], 1).unwrap());
        let mut other = rates.meter(&[limit], 2).unwrap();
        let now = Instant::now();
        let mut shared = 0;
        for _ in 0..200 {
            for meter in [&mut one, &mut two] {
                if meter.admit(now, 1).is_ok() {
                    meter.charge(1);
                    shared += 1;
                }
            }
        }
        assert!((50..=51).contains(&shared), "{shared}");
        assert!(other.admit(now, 1).is_ok());
    }

    #[test]
    #[cfg_attr(miri, ignore = "a full table takes minutes there")]
    fn the_table_of_uids_is_bounded_and_keeps_those_who_are_here() {
        let limit = RateLimit {
            per: Per::Uid,
            // One in a time that no run of this test takes.
            connects_per_second: Some(0.001),
            ..LIMIT
        };
        let rates = Rates::default();
        let _here = rates.meter(&[limit], 7);
        assert!(rates.connect(&[limit], 7) && !rates.connect(&[limit], 7));
        for uid in 100..100_000 {
            rates.connect(&[limit], uid);
            assert!(rates.0.lock().len() <= MOST_UIDS);
        }
        assert!(!rates.connect(&[limit], 7));
    }
}
