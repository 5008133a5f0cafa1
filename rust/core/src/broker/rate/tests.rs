//! Rates: what passes at once, what waits and for how long, and what others have to do with it.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[derive(Default)]
struct Calls(AtomicUsize);

impl Wake for Calls {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn meter_of(rates: &Rates, limit: RateLimit, uid: u32, waits: bool) -> (Meter, Arc<Calls>) {
    let calls = Arc::new(Calls::default());
    let waker: Arc<dyn Wake> = Arc::<Calls>::clone(&calls);
    (rates.meter(&[limit], uid, waits, &waker).unwrap(), calls)
}

fn meter(limit: RateLimit) -> Meter {
    meter_of(&Rates::default(), limit, 7, true).0
}

fn pass(meter: &mut Meter, now: Instant, bytes: usize) -> bool {
    let admitted = meter.admit(now, bytes);
    if admitted {
        meter.settle();
    }
    admitted
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
        passed += u32::from(pass(meter, start + Duration::from_millis(at), bytes));
    }
    passed
}

#[test]
fn a_burst_then_the_rate() {
    let mut meter = meter(LIMIT);
    let now = Instant::now();
    let burst = (0..200).filter(|_| pass(&mut meter, now, 1)).count();
    assert!((50..=51).contains(&burst), "{burst}");
    let seconds = if cfg!(miri) { 1 } else { 10 };
    let second = passed(&mut meter, now, Duration::from_secs(seconds.into()), 1);
    assert!((99 * seconds..=100 * seconds + 1).contains(&second), "{second}");
    // A pause fills the bucket to its burst and no further.
    let later = now + Duration::from_secs(1000);
    let again = passed(&mut meter, later, Duration::from_millis(1), 1);
    assert_eq!(again, 1);
    let burst = (0..200).filter(|_| pass(&mut meter, later, 1)).count();
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
    assert!(pass(&mut meter, now, 5000) && !meter.admit(now, 5000));
    let ready = meter.line_up(now, 5000);
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
    assert!(meter.admit(now, 1));
    assert_eq!(passed(&mut meter, now, Duration::from_millis(1), 1), 1, "that one");
    let left = (0..200).filter(|_| pass(&mut meter, now, 1)).count();
    assert_eq!(left, 49);
    assert!(!meter.admit(now, 1));
}

#[test]
fn connections_of_one_uid_share_and_others_do_not() {
    let limit = RateLimit { per: Per::Uid, ..LIMIT };
    let rates = Rates::default();
    let [mut one, mut two, mut other] = [1, 1, 2].map(|uid| meter_of(&rates, limit, uid, true).0);
    let now = Instant::now();
    let mut shared = 0;
    for _ in 0..200 {
        for meter in [&mut one, &mut two] {
            shared += usize::from(pass(meter, now, 1));
        }
    }
    assert!((50..=51).contains(&shared), "{shared}");
    assert!(other.admit(now, 1));
}

const BYTES: RateLimit = RateLimit {
    per: Per::Uid,
    messages_per_second: None,
    bytes_per_second: Some(1000.0),
    connects_per_second: None,
    burst: 1.0,
};

#[test]
fn who_waits_is_served_in_turn_whatever_others_send() {
    let rates = Rates::default();
    for chatty_waits in [true, false] {
        let [(mut one, one_calls), (mut two, two_calls)] = [(); 2].map(|()| meter_of(&rates, BYTES, 1, true));
        let mut chatty = meter_of(&rates, BYTES, 1, chatty_waits).0;
        let now = Instant::now();
        let at = |millis| now + Duration::from_millis(millis);
        while pass(&mut chatty, now, 10) {}
        assert!(!one.admit(now, 625) && !two.admit(now, 250));
        assert_eq!(one.line_up(now, 625), at(625));
        assert!(two.line_up(now, 250) > at(3_000) && !two.is_called());
        assert!(
            (1..5).all(|eighths| !chatty.admit(at(eighths * 125), 10)),
            "{chatty_waits}"
        );
        // Not before the first, even if it asks before.
        assert!(!two.admit(at(625), 250) && pass(&mut one, at(625), 625));
        assert_eq!((two.is_called(), two_calls.0.load(Ordering::Relaxed)), (true, 1));
        assert!(!two.admit(at(625), 250));
        assert_eq!((two.line_up(at(625), 250), two.is_called()), (at(875), false));
        assert!(pass(&mut two, at(875), 250));
        assert_eq!(one_calls.0.load(Ordering::Relaxed), 0);
        assert!(!chatty.admit(at(880), 10) && pass(&mut chatty, at(900), 10));
        drop((one, two, chatty));
        // As it was, for the next.
        rates.0.lock().clear();
    }
}

#[test]
fn who_has_more_than_those_in_the_line_need_waits_for_nobody() {
    let rates = Rates::default();
    let [mut large, mut small, mut chatty] = [(); 3].map(|()| meter_of(&rates, BYTES, 1, true).0);
    let mut impatient = meter_of(&rates, BYTES, 1, false).0;
    let now = Instant::now();
    assert!(pass(&mut chatty, now, 1000));
    large.line_up(now, 500);
    small.line_up(now, 100);
    let later = now + Duration::from_millis(750);
    // 750 are there: 600 are those of who waits, or 500 are the first one's.
    assert!(!chatty.admit(later, 151) && pass(&mut chatty, later, 150));
    assert!(!impatient.admit(later, 101) && pass(&mut impatient, later, 100));
    assert!(pass(&mut large, later, 500));
}

#[test]
#[cfg_attr(miri, ignore = "a hundred thousand trials take minutes there")]
fn who_waits_leaves_half_of_the_rate_to_those_who_do_not_and_both_keep_to_it() {
    // The bucket never holds two messages.
    let small = RateLimit {
        per: Per::Uid,
        messages_per_second: Some(10.0),
        burst: 0.15,
        ..LIMIT
    };
    // Sizes of who waits and who does not, how often the latter tries in ms, and what passes of both in 20 s.
    for (limit, sizes, every, expected) in [
        (small, [100, 10_000], 10, [100, 100]),
        (small, [100, 100], 400, [150, 50]),
        (BYTES, [100, 100], 10, [100, 100]),
        (BYTES, [100, 400], 10, [100, 25]),
        (BYTES, [400, 100], 10, [40, 40]),
    ] {
        let rates = Rates::default();
        let [mut waiting, mut impatient] = [true, false].map(|waits| meter_of(&rates, limit, 7, waits).0);
        let start = Instant::now();
        while pass(&mut impatient, start, sizes[1]) {}
        let mut ready = waiting.line_up(start, sizes[0]);
        let mut passed = [0_u32; 2];
        for millis in 0..20_000 {
            let now = start + Duration::from_millis(millis);
            if ready <= now {
                passed[0] += u32::from(pass(&mut waiting, now, sizes[0]));
                ready = waiting.line_up(now, sizes[0]);
            }
            if millis % every == 0 {
                passed[1] += u32::from(pass(&mut impatient, now, sizes[1]));
            }
        }
        for (passed_of, expected_of) in passed.into_iter().zip(expected) {
            let near = (expected_of * 95 / 100)..=(expected_of + 1);
            assert!(
                near.contains(&passed_of),
                "{limit:?} {sizes:?}: {passed:?}, not {expected:?}"
            );
        }
    }
}

#[test]
fn who_has_gone_keeps_nobody_waiting() {
    let rates = Rates::default();
    let [(mut gone, _), (mut paid, _), (mut left, calls)] = [(); 3].map(|()| meter_of(&rates, BYTES, 1, true));
    let now = Instant::now();
    // It was charged for a frame that never comes whole.
    assert!(paid.admit(now, 1000));
    gone.line_up(now, 900);
    left.line_up(now, 400);
    assert!(!left.is_called());
    drop(gone);
    assert!(left.is_called() && !left.admit(now, 400));
    let ready = left.line_up(now, 400);
    assert_eq!((ready, left.is_called()), (now + Duration::from_millis(400), false));
    drop(paid);
    assert_eq!((left.is_called(), calls.0.load(Ordering::Relaxed)), (true, 2));
    assert!(pass(&mut left, now, 400) && pass(&mut left, now, 600));
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
    let _here = meter_of(&rates, limit, 7, true);
    assert!(rates.connect(&[limit], 7) && !rates.connect(&[limit], 7));
    for uid in 100..100_000 {
        rates.connect(&[limit], uid);
        assert!(rates.0.lock().len() <= MOST_UIDS);
    }
    assert!(!rates.connect(&[limit], 7));
}
