//! Who waits in front of a full queue, and for what.

use super::*;

fn waker() -> (Arc<WakeCounter>, Arc<dyn Wake>) {
    let wakes = Arc::new(WakeCounter::default());
    let waker: Arc<dyn Wake> = Arc::clone(&wakes) as _;
    (wakes, waker)
}

/// What a queue's session waits for: so many of these answers are too many.
fn answer_until_full(queue: &Queue, session: &Arc<dyn Wake>) {
    for _ in 0..MAX_ANSWERS {
        queue.answer(answer("PONG"));
    }
    assert!(queue.answers_full(session));
}

#[test]
fn a_producer_is_woken_by_room_however_many_answers_wait() {
    let queue = queue(limits(1, usize::MAX), Overflow::DropOldest);
    let ((producer, producer_waker), (session, session_waker)) = (waker(), waker());
    queue.push(&run(0..1, 20));
    answer_until_full(&queue.queue, &session_waker);
    let pushed = queue
        .queue
        .push(&run(1..2, 20), &ids(&[1]), 0, OnFull::Wait(&producer_waker));
    assert!(matches!(pushed, Pushed::Full { taken: 0, .. }));
    let mut out = Vec::new();
    queue.write(PREFIX + 20, &mut out);
    assert_eq!((producer.take_count(), session.take_count()), (1, 0));
    queue.write(8 * (MAX_ANSWERS / 2), &mut out);
    assert_eq!((producer.take_count(), session.take_count()), (0, 1));
}

#[test]
fn a_session_is_woken_when_its_answers_are_read_however_full_the_queue_is() {
    let queue = queue(limits(1, usize::MAX), Overflow::DropOldest);
    let ((producer, producer_waker), (session, session_waker)) = (waker(), waker());
    answer_until_full(&queue.queue, &session_waker);
    queue.push(&run(0..1, 20));
    let pushed = queue
        .queue
        .push(&run(1..2, 20), &ids(&[1]), 0, OnFull::Wait(&producer_waker));
    assert!(matches!(pushed, Pushed::Full { taken: 0, .. }));
    let mut out = Vec::new();
    queue.write(8 * (MAX_ANSWERS / 2), &mut out);
    assert_eq!((producer.take_count(), session.take_count()), (0, 1));
    assert_eq!(queue.write(usize::MAX, &mut out), Written::All);
    assert_eq!((producer.take_count(), session.take_count()), (1, 0));
}

#[test]
fn everybody_is_woken_by_the_end() {
    let queue = queue(limits(1, usize::MAX), Overflow::DropOldest);
    let ((producer, producer_waker), (session, session_waker)) = (waker(), waker());
    queue.push(&run(0..1, 20));
    answer_until_full(&queue.queue, &session_waker);
    queue
        .queue
        .push(&run(1..2, 20), &ids(&[1]), 0, OnFull::Wait(&producer_waker));
    queue.queue.finish();
    assert_eq!((producer.take_count(), session.take_count()), (1, 1));
}

#[test]
fn a_dropped_waiter_is_kept_by_no_queue() {
    let fixtures = [(); 2].map(|()| queue(limits(1, 1000), Overflow::DropOldest));
    for fixture in &fixtures {
        fixture.push(&run(0..1, 20));
    }
    let counters: Vec<_> = (0..100)
        .map(|_| {
            let wakes = Arc::new(WakeCounter::default());
            let waker: Arc<dyn Wake> = Arc::clone(&wakes) as _;
            for fixture in &fixtures {
                let pushed = fixture.queue.push(&run(1..2, 20), &ids(&[1]), 0, OnFull::Wait(&waker));
                assert!(matches!(pushed, Pushed::Full { taken: 0, .. }));
            }
            Arc::downgrade(&wakes)
        })
        .collect();
    assert!(counters.iter().all(|counter| counter.strong_count() == 0));
    // Of the last one the place is left, since nobody has come after it.
    let places = |fixture: &Fixture| fixture.queue.inner.lock().waiters.producers.len();
    assert_eq!(fixtures.each_ref().map(places), [1, 1]);
}

const PASSED_OVER: Duration = Duration::from_millis(100);

/// Full of small messages; a large one waits since long ago.
struct Crowded {
    fixture: Fixture,
    waker: Arc<dyn Wake>,
    since: Instant,
}

impl Crowded {
    fn new() -> Self {
        let fixture = within(
            limits(100, 2000),
            Overflow::DropOldest,
            Duration::from_secs(60),
            usize::MAX,
        );
        let crowded = Self {
            fixture,
            waker: waker().1,
            since: Instant::now() - 2 * PASSED_OVER,
        };
        while crowded.push_small() == Pushed::Done {}
        crowded
    }

    fn push_small(&self) -> Pushed {
        let queue = &self.fixture.queue;
        queue.push(&run(0..1, 20), &ids(&[1]), 0, OnFull::Wait(&self.waker))
    }

    fn push_large(&self) -> Pushed {
        let (waker, since) = (&self.waker, self.since);
        let queue = &self.fixture.queue;
        queue.push(&run(1..2, 1200), &ids(&[1]), 0, OnFull::WaitOn { waker, since })
    }

    fn pop(&self) -> bool {
        self.fixture.queue.pop().is_ok()
    }

    /// Takes one out, and has the large message ask for what becomes free.
    fn is_left_to_the_large(&self) {
        assert!(matches!(self.push_large(), Pushed::Full { taken: 0, .. }));
        assert!(self.pop());
    }
}

#[test]
#[cfg_attr(miri, ignore = "it goes by the clock")]
fn small_messages_do_not_keep_a_large_one_out_nor_it_them() {
    let crowded = Crowded::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut small = 0;
    // However often they are first.
    while crowded.push_large() != Pushed::Done {
        assert!(Instant::now() < deadline, "it never came in, and {small} others did");
        small += u64::from(crowded.push_small() == Pushed::Done);
        crowded.pop();
    }
    // Neither do large ones.
    let since = Instant::now() - 2 * PASSED_OVER;
    let mut large = 0;
    while crowded.push_small() == Pushed::Done {}
    loop {
        let waker = &crowded.waker;
        let on_full = OnFull::WaitOn { waker, since };
        let pushed = crowded.fixture.queue.push(&run(1..2, 1200), &ids(&[1]), 0, on_full);
        large += u64::from(pushed == Pushed::Done);
        if crowded.push_small() == Pushed::Done {
            break;
        }
        assert!(Instant::now() < deadline, "it never came in, and {large} others did");
        crowded.pop();
    }
}

#[test]
fn nobody_is_held_back_for_who_has_given_up_or_does_not_wait_for_room() {
    let crowded = Crowded::new();
    crowded.is_left_to_the_large();
    let queue = &crowded.fixture.queue;
    let push = |on_full| queue.push(&run(0..1, 20), &ids(&[1]), 0, on_full);
    assert_eq!(push(OnFull::Exceed { block: true }), Pushed::Done);
    assert!(crowded.pop());
    assert_eq!(push(OnFull::Try { block: false }), Pushed::Done);
    assert!(crowded.pop());
    let (small, waker) = waker();
    if push(OnFull::Wait(&waker)) != Pushed::Done {
        queue.stop_waiting(crowded.since);
        assert_eq!(small.take_count(), 1);
        assert_eq!(push(OnFull::Wait(&waker)), Pushed::Done);
    }
}

#[test]
#[cfg_attr(miri, ignore = "it goes by the clock")]
fn nobody_is_held_back_for_long_by_who_does_not_come_or_while_the_reader_takes_nothing() {
    for comes in [false, true] {
        let crowded = Crowded::new();
        crowded.is_left_to_the_large();
        let begun = Instant::now();
        while let Pushed::Full { retry_at, .. } = crowded.push_small() {
            let waits = retry_at.saturating_duration_since(Instant::now());
            assert!(waits <= PASSED_OVER && begun.elapsed() < Duration::from_secs(20));
            if comes {
                std::thread::sleep(waits / 4);
                crowded.push_large();
            } else {
                std::thread::sleep(waits);
            }
        }
    }
}
