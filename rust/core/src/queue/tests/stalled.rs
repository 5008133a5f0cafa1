//! A reader that takes nothing, and when it is waited for again.

use super::*;

/// What is done between two pauses takes less, even where others have the processor.
const STALL: Duration = Duration::from_secs(1);

#[test]
#[cfg_attr(miri, ignore = "it goes by the clock")]
fn a_queue_that_takes_no_byte_stalls_even_if_it_is_not_quite_full() {
    let queue = within(limits(100, 1000), Overflow::DropOldest, STALL, usize::MAX);
    let waker: Arc<dyn Wake> = Arc::new(WakeCounter::default());
    let push = |run: &Run| queue.queue.push(run, &ids(&[1]), 0, OnFull::Wait(&waker));
    assert_eq!(push(&run(0..1, 590)), Pushed::Done);
    let Pushed::Full { taken: 0, retry_at } = push(&run(1..2, 590)) else {
        panic!("not full")
    };
    std::thread::sleep(retry_at.saturating_duration_since(Instant::now()));
    assert_eq!(push(&run(1..2, 590)), Pushed::Done);
    assert_eq!(queue.all(), [gap(&[(1, 1)], DropReason::Overflow), Item::Message(1)]);
    // Empty again, it is waited for again; and a reader that takes bytes is waited for as long as it does.
    assert_eq!(push(&run(2..3, 590)), Pushed::Done);
    let mut out = Vec::new();
    for _ in 0..3 {
        assert!(matches!(push(&run(3..4, 590)), Pushed::Full { .. }));
        std::thread::sleep(STALL / 2);
        queue.write(100, &mut out);
    }
}

#[test]
fn a_stalled_queue_that_is_trimmed_for_the_others_is_not_waited_for_again() {
    let queue = within(limits(100, 10_000), Overflow::DropOldest, STALL, 1000);
    let waker: Arc<dyn Wake> = Arc::new(WakeCounter::default());
    let push = || queue.queue.push(&run(0..1, 90), &ids(&[1]), 0, OnFull::Wait(&waker));
    while push() == Pushed::Done {}
    std::thread::sleep(STALL);
    for _ in 0..50 {
        assert_eq!(push(), Pushed::Done);
        queue.queue.trim(queue.budget.excess(), DropReason::Budget);
    }
    // What the reader takes ends it, once it has taken half of what the queue may hold.
    queue.write(100, &mut Vec::new());
    while push() == Pushed::Done {}
    assert!(queue.queue.is_lossless());
}

#[test]
fn a_stalled_queue_that_is_emptied_for_the_others_is_not_waited_for_again() {
    let queue = within(limits(100, 10_000), Overflow::DropOldest, STALL, 1000);
    let waker: Arc<dyn Wake> = Arc::new(WakeCounter::default());
    let push = || queue.queue.push(&run(0..1, 90), &ids(&[1]), 0, OnFull::Wait(&waker));
    while push() == Pushed::Done {}
    std::thread::sleep(STALL);
    // As much as there is, so that it is short whatever this queue holds.
    queue.budget.charge(0, 1000);
    for _ in 0..9 {
        // Empty it would take the first at any time.
        assert_eq!([push(), push()], [Pushed::Done, Pushed::Done]);
        queue.queue.trim(usize::MAX, DropReason::Budget);
        assert_eq!(queue.queue.snapshot().messages, 0);
    }
    // What the reader takes ends it, be it no more than the news of what it lost.
    queue.write(100, &mut Vec::new());
    while push() == Pushed::Done {}
    assert!(queue.queue.is_lossless());
}

#[test]
fn room_that_was_asked_for_is_given_but_not_by_a_stalled_queue() {
    let queue = within(limits(2, usize::MAX), Overflow::DropOldest, STALL, usize::MAX);
    let push = || {
        queue
            .queue
            .push(&run(0..1, 20), &ids(&[1]), 0, OnFull::Exceed { block: false })
    };
    for _ in 0..3 {
        assert_eq!(push(), Pushed::Done);
    }
    assert!(queue.queue.snapshot().messages == 3 && !queue.queue.accepts(1, 24));
    std::thread::sleep(STALL);
    assert!(queue.queue.accepts(1, 24));
    for _ in 0..9 {
        assert_eq!(push(), Pushed::Done);
    }
    assert_eq!(
        (queue.queue.snapshot().messages, queue.queue.snapshot().dropped[0]),
        (2, 10)
    );
}

/// It was judged by the last time it was full, as long as its reader had not brought it below half since.
#[test]
#[cfg_attr(miri, ignore = "it goes by the clock")]
fn a_queue_that_was_full_once_stalls_no_sooner_when_it_is_full_again() {
    let queue = within(limits(10, 1000), Overflow::DropOldest, STALL, usize::MAX);
    let waker: Arc<dyn Wake> = Arc::new(WakeCounter::default());
    let push = |run: &Run| queue.queue.push(run, &ids(&[1]), 0, OnFull::Wait(&waker));
    let refuse = |run: &Run| {
        queue.write(0, &mut Vec::new());
        let Pushed::Full { taken: 0, retry_at } = push(run) else {
            panic!("not full")
        };
        retry_at.saturating_duration_since(Instant::now())
    };
    let fill = || while queue.queue.snapshot().messages < 10 && push(&run(0..1, 20)) == Pushed::Done {};
    let take = |messages: usize| {
        for _ in 0..messages {
            queue.queue.pop().unwrap();
        }
    };
    // By its messages, with nobody who waits; by who waits for room that there is then; by its bytes.
    fill();
    take(3);
    std::thread::sleep(STALL);
    fill();
    assert!(refuse(&run(0..1, 20)) > STALL / 2);
    take(3);
    std::thread::sleep(STALL);
    fill();
    assert!(refuse(&run(0..1, 20)) > STALL / 2);
    take(10);
    assert_eq!(push(&run(0..1, 590)), Pushed::Done);
    assert_eq!(push(&run(0..1, 380)), Pushed::Done);
    refuse(&run(0..1, 380));
    take(1);
    std::thread::sleep(STALL);
    assert!(queue.queue.is_lossless() && !queue.queue.accepts(1, 800));
    assert!(refuse(&run(0..1, 800)) > STALL / 2);
    // Who waits has it run, whatever it lets by; nothing but the reader stops it.
    std::thread::sleep(STALL / 2);
    fill();
    assert!(refuse(&run(0..1, 800)) < STALL / 2);
    std::thread::sleep(STALL);
    assert_eq!(push(&run(0..1, 800)), Pushed::Done);
    assert!(!queue.queue.is_lossless());
}

/// One large message that found no room set the clock for whoever came long after it.
#[test]
#[cfg_attr(miri, ignore = "it goes by the clock")]
fn a_queue_with_room_is_short_for_nobody_once_the_large_one_is_given_up() {
    for on_full in ["wait", "drop"] {
        let queue = within(limits(10, 1000), Overflow::DropNewest, STALL, usize::MAX);
        let waker: Arc<dyn Wake> = Arc::new(WakeCounter::default());
        let push = |run: &Run| queue.queue.push(run, &ids(&[1]), 0, OnFull::Wait(&waker));
        assert_eq!(push(&run(0..1, 20)), Pushed::Done);
        if on_full == "wait" {
            let given_up: Arc<dyn Wake> = Arc::new(WakeCounter::default());
            let waits = queue
                .queue
                .push(&run(0..1, 1000), &ids(&[1]), 0, OnFull::Wait(&given_up));
            assert!(matches!(waits, Pushed::Full { taken: 0, .. }));
        } else {
            queue.queue.push(&run(0..1, 1000), &ids(&[1]), 0, OnFull::Overflow);
        }
        std::thread::sleep(STALL);
        while queue.queue.snapshot().messages < 10 {
            assert_eq!(push(&run(0..1, 20)), Pushed::Done);
        }
        assert!(matches!(push(&run(0..1, 20)), Pushed::Full { .. }), "{on_full}");
    }
}

/// Each time that all who waited were woken it had started anew, so that a reader that hung was waited for without end.
#[test]
#[cfg_attr(miri, ignore = "it goes by the clock")]
fn who_tries_again_or_flushes_does_not_restart_the_stall_clock() {
    let queue = within(limits(100, 1000), Overflow::DropOldest, STALL, 10_000);
    let (large, small): (Arc<dyn Wake>, Arc<dyn Wake>) =
        (Arc::new(WakeCounter::default()), Arc::new(WakeCounter::default()));
    let push = |run: &Run, waker| queue.queue.push(run, &ids(&[1]), 0, OnFull::Wait(waker));
    let refuse = |run: &Run, waker| {
        let Pushed::Full { taken: 0, retry_at } = push(run, waker) else {
            panic!("not full")
        };
        queue.write(0, &mut Vec::new());
        retry_at
    };
    assert_eq!(push(&run(0..1, 590), &large), Pushed::Done);
    let retry_at = refuse(&run(1..2, 800), &large);
    for _ in 0..3 {
        // Another waits for what all queues hold together, is woken, and does not come back.
        queue.budget.charge(0, 10_000);
        refuse(&run(2..3, 20), &small);
        queue.budget.release(0, 10_000);
        queue.write(0, &mut Vec::new());
        assert_eq!(refuse(&run(1..2, 800), &large), retry_at);
        assert_eq!(refuse(&run(1..2, 800), &large), retry_at);
    }
    // What the reader takes does, while it is not enough.
    queue.write(1, &mut Vec::new());
    let later = refuse(&run(1..2, 800), &large);
    assert!(later > retry_at);
    std::thread::sleep(later.saturating_duration_since(Instant::now()));
    assert_eq!(push(&run(1..2, 800), &large), Pushed::Done);
    assert!(!queue.queue.is_lossless());
}
