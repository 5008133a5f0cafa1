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
