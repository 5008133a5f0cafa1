//! Token buckets on the monotonic clock.

use std::time::Instant;

use super::RateLimit;

/// Of frames: one, or several together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

impl Cost {
    pub(super) const NONE: Self = Self { messages: 0, bytes: 0 };

    pub(super) const fn of(bytes: usize) -> Self {
        Self {
            messages: 1,
            bytes: bytes as u64,
        }
    }
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

impl std::ops::SubAssign for Cost {
    fn sub_assign(&mut self, other: Self) {
        self.messages -= other.messages;
        self.bytes -= other.bytes;
    }
}

#[derive(Debug)]
pub(super) struct Bucket {
    rate: f64,
    most: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(rate: f64, burst: f64) -> Self {
        let most = (rate * burst).max(1.0);
        Self {
            rate,
            most,
            level: most,
            at: Instant::now(),
        }
    }

    pub(super) fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = passed.mul_add(self.rate, self.level).min(self.most);
        self.at = self.at.max(now);
    }

    /// Seconds until `cost` can be taken with `aside` left.
    pub(super) fn wait(&self, cost: f64, aside: f64) -> f64 {
        ((aside + cost.min(self.most) - self.level) / self.rate).max(0.0)
    }

    pub(super) fn charge(&mut self, cost: f64) {
        self.level -= cost;
    }

    fn give_back(&mut self, cost: f64) {
        self.level = (self.level + cost).min(self.most);
    }
}

#[derive(Debug)]
pub(super) struct Buckets {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "frames are far below 2^52 bytes, all that wait together as well"
)]
impl Buckets {
    /// `None` where neither is limited.
    pub(super) fn of(limit: &RateLimit) -> Option<Self> {
        let bucket = |rate: Option<f64>| rate.map(|rate| Bucket::new(rate, limit.burst));
        let buckets = Self {
            messages: bucket(limit.messages_per_second),
            bytes: bucket(limit.bytes_per_second),
        };
        (buckets.messages.is_some() || buckets.bytes.is_some()).then_some(buckets)
    }

    /// Seconds until `cost` can be taken of both with `aside` left.
    pub(super) fn wait(&mut self, now: Instant, cost: Cost, aside: Cost) -> f64 {
        let wait = |bucket: &mut Option<Bucket>, cost: u64, aside: u64| {
            bucket.as_mut().map_or(0.0, |bucket| {
                bucket.refill(now);
                bucket.wait(cost as f64, aside as f64)
            })
        };
        let messages = wait(&mut self.messages, cost.messages, aside.messages);
        messages.max(wait(&mut self.bytes, cost.bytes, aside.bytes))
    }

    /// Whether `cost` is no more than `other`, in what is limited.
    pub(super) const fn covers(&self, other: Cost, cost: Cost) -> bool {
        (self.messages.is_none() || cost.messages <= other.messages)
            && (self.bytes.is_none() || cost.bytes <= other.bytes)
    }

    pub(super) fn charge(&mut self, cost: Cost) {
        self.each(cost, Bucket::charge);
    }

    pub(super) fn give_back(&mut self, cost: Cost) {
        self.each(cost, Bucket::give_back);
    }

    fn each(&mut self, cost: Cost, work: impl Fn(&mut Bucket, f64)) {
        if let Some(bucket) = &mut self.messages {
            work(bucket, cost.messages as f64);
        }
        if let Some(bucket) = &mut self.bytes {
            work(bucket, cost.bytes as f64);
        }
    }
}
