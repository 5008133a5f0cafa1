//! Who waits in front of a full queue, and for what.

use super::*;

/// Writes its name down each time it is woken.
struct Named(u64, Arc<Mutex<Vec<u64>>>);

impl Wake for Named {
    fn wake(&self) {
        self.1.lock().push(self.0);
    }
}

/// Producers with one kind of message each in front of a queue, and what was woken.
struct Line {
    fixture: Fixture,
    wakers: Vec<Option<Arc<dyn Wake>>>,
    woken: Arc<Mutex<Vec<u64>>>,
}

impl Line {
    fn new(producers: u64, limits: Limits) -> Self {
        let woken = Arc::<Mutex<Vec<_>>>::default();
        let named = |name| Some(Arc::new(Named(name, Arc::clone(&woken))) as Arc<dyn Wake>);
        Self {
            fixture: queue(limits, Overflow::DropOldest),
            wakers: (0..producers).map(named).collect(),
            woken,
        }
    }

    /// Publishes `run` as a publisher who waits does. True if it is taken whole.
    fn publish_run(&self, producer: u64, run: &Run) -> bool {
        let queue = &self.fixture.queue;
        let waker = self.wakers[producer as usize].as_ref().unwrap();
        match queue.push(run, &ids(&[1]), 0, OnFull::TryFirst(waker)) {
            Pushed::Done => return true,
            Pushed::Full { taken: 0, .. } => {}
            other => panic!("{other:?}"),
        }
        let waits = queue.push(run, &ids(&[1]), 0, OnFull::Wait(waker));
        assert!(matches!(waits, Pushed::Full { taken: 0, .. }));
        false
    }

    fn publish(&self, producer: u64) -> bool {
        self.publish_run(producer, &run(producer..producer + 1, 20))
    }

    /// Whoever is woken publishes as long as there is room.
    fn publish_all(&self, woken: &[u64]) -> Vec<u64> {
        let mut served = Vec::new();
        for producer in woken {
            while self.publish(*producer) {
                served.push(*producer);
            }
        }
        served
    }

    /// Takes one message out; who is woken then, in order.
    fn pop(&self) -> Vec<u64> {
        self.fixture.queue.pop().unwrap();
        std::mem::take(&mut self.woken.lock())
    }

    fn fill(&self) {
        while self.publish(0) {}
    }

    fn places(&self) -> usize {
        self.fixture.queue.inner.lock().waiters.line.len()
    }
}

#[test]
fn producers_are_served_in_turn_whatever_they_have() {
    for producers in 2..5 {
        let line = Line::new(producers, limits(8, usize::MAX));
        line.fill();
        (1..producers).for_each(|producer| assert!(!line.publish(producer)));
        let mut served = Vec::new();
        for _ in 0..3 * producers {
            let woken = line.pop();
            assert_eq!(woken.len() as u64, producers, "all are woken");
            served.extend(line.publish_all(&woken));
        }
        let in_turn: Vec<_> = (0..producers).cycle().take(served.len()).collect();
        assert_eq!(served, in_turn);
    }
}

#[test]
fn who_found_no_room_keeps_its_place_when_others_came_before_it() {
    let line = Line::new(3, limits(2, usize::MAX));
    line.fill();
    assert!(!line.publish(1));
    for _ in 0..5 {
        assert_eq!(line.pop(), [0, 1]);
        // Somebody who does not stand in the line takes what there was.
        assert!(line.publish(2));
        assert!(!line.publish(0) && !line.publish(1));
    }
    // It was served without having been woken, and asks for more.
    assert_eq!(line.pop(), [0, 1]);
    assert!(line.publish(0) && !line.publish(0) && !line.publish(1));
    assert_eq!(line.pop(), [1, 0]);
}

#[test]
fn nobody_waits_for_one_who_has_gone_or_does_not_come() {
    let mut line = Line::new(4, limits(2, usize::MAX));
    line.fill();
    (1..4).for_each(|producer| assert!(!line.publish(producer)));
    line.wakers[0] = None;
    assert_eq!(line.pop(), [1, 2, 3]);
    // The first does not come; the others do.
    assert!(line.publish(2) && !line.publish(2) && !line.publish(3));
    assert_eq!(line.pop(), [3, 2]);
    assert!(line.publish(3) && !line.publish(3) && !line.publish(2));
    // It comes late, and was the first.
    assert!(!line.publish(1));
    assert_eq!(line.pop(), [1, 2, 3]);
}

#[test]
fn a_small_message_does_not_wait_for_a_large_one_before_it() {
    // 24 bytes each, with the prefix.
    let line = Line::new(2, limits(100, 100));
    line.fill();
    let large = run(9..10, 70);
    assert!(!line.publish_run(1, &large));
    assert_eq!(line.pop(), [0, 1]);
    assert!(line.publish(0) && !line.publish(0) && !line.publish_run(1, &large));
    assert_eq!(line.pop(), [1, 0]);
    assert!(!line.publish_run(1, &large));
    assert!(line.publish(0), "there is room for the small one");
}

#[test]
fn an_empty_queue_keeps_no_places() {
    let line = Line::new(3, limits(2, usize::MAX));
    line.fill();
    assert!(!line.publish(1) && !line.publish(2));
    assert_eq!(line.pop(), [0, 1, 2]);
    assert_eq!((line.pop(), line.places()), (vec![], 0));
    // Whoever comes then waits as before.
    line.fill();
    assert_eq!((line.pop(), line.places()), (vec![0], 1));
    assert!(line.publish(0));
    assert_eq!(line.places(), 0, "who waits for no more has no place either");
}

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
    let places = |fixture: &Fixture| fixture.queue.inner.lock().waiters.line.len();
    assert_eq!(fixtures.each_ref().map(places), [1, 1]);
}
