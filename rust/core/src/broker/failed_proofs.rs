//! How long the refusal of a proof is held back: longer with each in a row of one uid.
//!
//! Guessing costs time, and the time tells nothing. Who has the token is answered at once, so that nobody can lock out those who share
//! the uid. The table is bounded: beyond it every refusal takes the longest time.

use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::lock::Mutex;

const FIRST: Duration = Duration::from_millis(100);
/// Short enough for a client to learn why it was refused.
const LONGEST: Duration = Duration::from_millis(1600);
/// Without another failure for so long a uid begins anew.
const FORGIVEN: Duration = Duration::from_secs(60);
const MOST_UIDS: usize = 1024;

struct Failures {
    count: u32,
    last: Instant,
}

#[derive(Default)]
pub(super) struct FailedProofs(Mutex<HashMap<u32, Failures>>);

impl FailedProofs {
    /// Counts a failure of `uid` and says how long its refusal is to be held back.
    pub(super) fn note(&self, uid: u32) -> Duration {
        self.note_at(uid, Instant::now())
    }

    fn note_at(&self, uid: u32, now: Instant) -> Duration {
        let mut failures = self.0.lock();
        failures.retain(|_, of_uid| now.duration_since(of_uid.last) < FORGIVEN);
        if failures.len() >= MOST_UIDS && !failures.contains_key(&uid) {
            return LONGEST;
        }
        let of_uid = failures.entry(uid).or_insert(Failures { count: 0, last: now });
        let delay = (FIRST * 2_u32.saturating_pow(of_uid.count)).min(LONGEST);
        of_uid.count = of_uid.count.saturating_add(1);
        of_uid.last = now;
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_in_a_row_takes_twice_as_long_until_a_minute_is_quiet() {
        let failed = FailedProofs::default();
        let now = Instant::now();
        let taken: Vec<_> = (0..7).map(|_| failed.note_at(7, now).as_millis()).collect();
        assert_eq!(taken, [100, 200, 400, 800, 1600, 1600, 1600]);
        assert_eq!(failed.note_at(8, now), FIRST);
        assert_eq!(failed.note_at(7, now + FORGIVEN / 2), LONGEST);
        // Quiet since the last of them, not since the first.
        assert_eq!(failed.note_at(7, now + FORGIVEN), LONGEST);
        assert_eq!(failed.note_at(7, now + FORGIVEN * 2), FIRST);
    }

    #[test]
    #[cfg_attr(miri, ignore = "a full table takes minutes there")]
    fn who_comes_when_the_table_is_full_waits_longest() {
        let failed = FailedProofs::default();
        let now = Instant::now();
        for uid in 0..u32::try_from(MOST_UIDS).unwrap() {
            assert_eq!(failed.note_at(uid, now), FIRST);
        }
        assert_eq!(failed.note_at(u32::MAX, now), LONGEST);
        assert_eq!(failed.note_at(0, now), FIRST * 2);
    }
}
