//! Whether the broker's thread looks at the kernel again before it sleeps.
//!
//! To sleep and to be woken takes longer, and more processor time of both sides, than the pause of a conversation: a process answers what
//! it has just been sent, and is answered. There the thread spins until the next message has come. A stream one way is no conversation
//! however fast it is, since its publisher is sent nothing: there the others need the processors more.
//!
//! The process that is to answer may have been woken on the very processor that spins, so the thread gives way each time it looks. Where
//! programs that never sleep share the processor, one of them then has it for milliseconds, while a thread that sleeps is run as soon as it
//! is woken. So after a turn of such a one it does not spin for the next [`REST`] messages.
//!
//! Guarantee: it spins for [`LONGEST`] at most after the last message, and not at all where the mean of the last answers is above
//! [`WORTH`].

use std::array;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// A mean pause up to which it is worth it. Measured between two Python programs, with sleeping and without, on a slow host: a round trip
/// took half the time, and a tenth more processor time of all together; on a faster one two thirds of the time, and a sixth less.
const WORTH: Duration = Duration::from_micros(100);
/// What a message counts as that answers nothing, or comes later.
const UNLIKE: Duration = Duration::from_micros(300);
const LONGEST: Duration = Duration::from_micros(125);
/// Nobody who answers has the processor for so long.
const HOGGED: Duration = Duration::from_millis(1);
/// Beside programs that never sleep a round trip takes 40 us without spinning: one turn of such a one in so many messages is 1 us of each.
const REST: u32 = 4096;
/// Counters that all processes share: who shares one with a process that is sent something seems to answer.
const COUNTERS: usize = 64;

/// Only the broker's thread changes it, but for `sent`.
pub(super) struct Spin {
    made: Instant,
    /// Nanoseconds from `made` to the last message.
    last: AtomicU64,
    /// A moving mean, in nanoseconds.
    pause: AtomicU64,
    /// Messages that it does not spin for.
    rest: AtomicU32,
    begun: Notify,
    sent: [Arc<AtomicU64>; COUNTERS],
}

impl Default for Spin {
    fn default() -> Self {
        Self {
            made: Instant::now(),
            last: AtomicU64::new(0),
            pause: AtomicU64::new(nanos(UNLIKE)),
            rest: AtomicU32::new(0),
            begun: Notify::new(),
            sent: array::from_fn(|_| Arc::default()),
        }
    }
}

impl Spin {
    /// What counts the writes to a process, over all of its connections: a subscription may have one to itself.
    pub(super) fn sent_to(&self, pid: Option<u32>) -> Arc<AtomicU64> {
        let counter = pid.and_then(|pid| self.sent.get(pid as usize % COUNTERS));
        counter.map(Arc::clone).unwrap_or_default()
    }

    /// Something has come at `now`, from a process that `answers`: it was sent something since it was last heard.
    pub(super) fn note(&self, now: Instant, answers: bool) {
        let at = nanos(now.saturating_duration_since(self.made));
        let pause = at.saturating_sub(self.last.swap(at, Ordering::Relaxed));
        let pause = if answers {
            pause.min(nanos(UNLIKE))
        } else {
            nanos(UNLIKE)
        };
        let mean = self.pause.load(Ordering::Relaxed);
        self.pause.store(mean - mean / 4 + pause / 4, Ordering::Relaxed);
        let rest = self.rest.load(Ordering::Relaxed);
        self.rest.store(rest.saturating_sub(1), Ordering::Relaxed);
        if self.goes_on(now) {
            self.begun.notify_one();
        }
    }

    fn is_conversation(&self) -> bool {
        self.pause.load(Ordering::Relaxed) < nanos(WORTH)
    }

    fn goes_on(&self, now: Instant) -> bool {
        let since = nanos(now.saturating_duration_since(self.made)).saturating_sub(self.last.load(Ordering::Relaxed));
        self.is_conversation() && since < nanos(LONGEST) && self.rest.load(Ordering::Relaxed) == 0
    }

    /// It has given way to others for so long.
    fn gave_way(&self, time: Duration) {
        if time > HOGGED {
            self.rest.store(REST, Ordering::Relaxed);
        }
    }

    /// Spins when it is worth it; each turn the runtime asks the kernel what is ready, without waiting.
    pub(super) async fn run(&self) {
        loop {
            self.begun.notified().await;
            loop {
                let now = Instant::now();
                if !self.goes_on(now) {
                    break;
                }
                thread::yield_now();
                self.gave_way(now.elapsed());
                tokio::task::yield_now().await;
            }
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(spin: &Spin, pauses: &[(u64, bool)]) -> (Instant, bool) {
        let mut now = spin.made;
        for (pause, answers) in pauses {
            now += Duration::from_micros(*pause);
            spin.note(now, *answers);
        }
        (now, spin.goes_on(now))
    }

    #[test]
    fn a_conversation_is_waited_for_and_for_no_longer_than_the_longest() {
        let spin = Spin::default();
        let (now, goes_on) = after(&spin, &[(30, true); 20]);
        assert!(goes_on);
        assert!(spin.goes_on(now + LONGEST / 2));
        assert!(!spin.goes_on(now + LONGEST));
    }

    #[test]
    fn who_only_publishes_or_takes_long_to_answer_is_not_waited_for() {
        assert!(!after(&Spin::default(), &[(5, false); 100]).1);
        assert!(!after(&Spin::default(), &[(150, true); 100]).1);
        // Nor is a conversation beside a stream.
        assert!(!after(&Spin::default(), &[(5, false), (30, true)].repeat(50)).1);
    }

    #[test]
    fn one_pause_does_not_end_a_conversation_and_two_do() {
        let spin = Spin::default();
        after(&spin, &[(30, true); 20]);
        let mut now = spin.made + Duration::from_secs(1);
        spin.note(now, true);
        assert!(spin.goes_on(now));
        now += Duration::from_secs(1);
        spin.note(now, true);
        assert!(!spin.goes_on(now));
    }

    #[test]
    fn who_has_lost_the_processor_in_a_spin_sleeps_for_a_while() {
        let spin = Spin::default();
        let (now, goes_on) = after(&spin, &[(30, true); 20]);
        spin.gave_way(HOGGED);
        assert!(goes_on && spin.goes_on(now));
        spin.gave_way(HOGGED * 4);
        assert!(!spin.goes_on(now));
        let rest = vec![(30, true); REST as usize];
        assert!(!after(&spin, &rest[1..]).1);
        assert!(after(&spin, &rest).1);
    }

    #[test]
    fn processes_are_told_apart_and_one_that_the_kernel_does_not_name_is_alone() {
        let spin = Spin::default();
        assert!(Arc::ptr_eq(&spin.sent_to(Some(7)), &spin.sent_to(Some(7))));
        assert!(!Arc::ptr_eq(&spin.sent_to(Some(7)), &spin.sent_to(Some(8))));
        assert!(!Arc::ptr_eq(&spin.sent_to(None), &spin.sent_to(None)));
    }
}
