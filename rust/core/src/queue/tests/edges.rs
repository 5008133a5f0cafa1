//! Where a queue is just full, just half empty, just read to its end or just closed.

use super::*;

fn pop(queue: &Fixture) -> Result<(), PopError> {
    queue.queue.pop().map(drop)
}

#[test]
fn a_single_write_says_how_far_it_came() {
    let queue = queue(limits(10, usize::MAX), Overflow::DropOldest);
    queue.push(&run(0..2, 20));
    let write = |takes: io::Result<usize>| queue.queue.write_one(|_| takes).unwrap();
    let would_block = || Err(io::ErrorKind::WouldBlock.into());
    assert_eq!(write(Ok(24)), WrittenOne::Sent);
    assert_eq!(write(would_block()), WrittenOne::Blocked);
    assert_eq!(write(Ok(10)), WrittenOne::Blocked);
    assert!(queue.queue.is_partial());
    assert_eq!(write(would_block()), WrittenOne::Blocked);
    assert_eq!(write(Ok(14)), WrittenOne::Sent);
    assert_eq!(write(Ok(1)), WrittenOne::Nothing);
    queue.reader.take_count();
    queue.push(&run(2..3, 20));
    assert_eq!(queue.reader.take_count(), 1);
}

#[test]
fn a_reader_that_has_popped_everything_is_woken_by_the_next() {
    let queue = queue(limits(10, usize::MAX), Overflow::DropOldest);
    for number in 0..3 {
        queue.push(&run(number..number + 1, 20));
        assert_eq!(queue.reader.take_count(), 1);
        assert_eq!(pop(&queue), Ok(()));
        assert_eq!(pop(&queue), Err(PopError::Empty));
    }
}

#[test]
fn what_an_answer_is_merged_to_is_what_is_sent() {
    let queue = queue(limits(10, usize::MAX), Overflow::DropOldest);
    queue.queue.answer(answer("OK 1"));
    assert!(queue.queue.merge_answer(|_| Some(answer("OK 1 and 2"))));
    assert_eq!(queue.all(), [Item::Answer("OK 1 and 2".into())]);
}

#[test]
fn full_in_messages_in_bytes_or_in_budget_there_is_no_room() {
    for (limits, budget) in [
        (limits(1, usize::MAX), usize::MAX),
        (limits(10, 24), usize::MAX),
        (limits(10, usize::MAX), charged(1, 24)),
    ] {
        let queue = within(limits, Overflow::DropOldest, Duration::from_secs(3600), budget);
        let wakes = Arc::new(WakeCounter::default());
        let waker: Arc<dyn Wake> = Arc::clone(&wakes) as _;
        let push = || queue.queue.push(&run(0..1, 20), &ids(&[1]), 0, OnFull::Wait(&waker));
        assert!(queue.queue.accepts(1, 24));
        assert_eq!(push(), Pushed::Done);
        assert!(!queue.queue.accepts(1, 24) && matches!(push(), Pushed::Full { taken: 0, .. }));
        assert_eq!((pop(&queue), wakes.take_count()), (Ok(()), 1));
        assert!(queue.queue.accepts(1, 24));
    }
}

#[test]
fn beside_what_waits_there_may_be_room() {
    let queue = queue(limits(2, 3 * 24), Overflow::DropOldest);
    queue.push(&run(0..1, 20));
    assert!(queue.queue.accepts(1, 24));
}

#[test]
fn a_stall_is_over_once_half_is_read_in_messages_and_in_bytes() {
    for limits in [limits(4, usize::MAX), limits(100, 4 * 24)] {
        let queue = within(limits, Overflow::DropOldest, Duration::ZERO, usize::MAX);
        let waker: Arc<dyn Wake> = Arc::new(WakeCounter::default());
        let pushed = queue.queue.push(&run(0..4, 20), &ids(&[1]), 0, OnFull::Wait(&waker));
        // Full, and for as long as this queue allows.
        assert!(pushed == Pushed::Done && queue.queue.accepts(1, 24));
        let lossless = [(); 2].map(|()| {
            pop(&queue).unwrap();
            queue.queue.is_lossless()
        });
        assert_eq!(lossless, [false, true]);
    }
}

#[test]
fn neither_a_closed_queue_nor_one_to_be_cut_takes_anything_in() {
    let try_push = |queue: &Fixture| {
        queue
            .queue
            .try_push(run(2..3, 20), ids(&[1]), 0, OnFull::Overflow)
            .is_none()
    };
    let closed = queue(limits(1, usize::MAX), Overflow::Disconnect);
    closed.queue.finish();
    assert!(!try_push(&closed));
    let cut = queue(limits(1, usize::MAX), Overflow::Disconnect);
    cut.push(&run(0..1, 20));
    assert_eq!(cut.push(&run(1..2, 20)), Pushed::Closed);
    assert_eq!(pop(&cut), Ok(()));
    assert!(!try_push(&cut));
    for queue in [closed, cut] {
        assert_eq!(queue.queue.snapshot().pending, 0);
    }
}

#[test]
fn gaps_whose_message_between_them_is_dropped_become_one() {
    let queue = queue(limits(1, usize::MAX), Overflow::DropOldest);
    let last = if cfg!(miri) { 20 } else { 999 };
    for number in 0..=last {
        queue.push(&run(number..number + 1, 20));
        assert!(
            queue
                .queue
                .push_gap(1, &ids(&[1, 2]), queue.queue.epoch(), DropReason::TooLarge)
        );
    }
    let too_large = |count| gap(&[(1, count), (2, count)], DropReason::TooLarge);
    assert_eq!(
        queue.all(),
        [
            gap(&[(1, last)], DropReason::Overflow),
            too_large(last),
            Item::Message(last),
            too_large(1)
        ]
    );
}

#[test]
#[cfg_attr(miri, ignore = "lists of a thousand subscriptions take minutes there")]
fn answers_keep_only_so_many_long_gaps_apart() {
    let queue = queue(limits(10, usize::MAX), Overflow::DropOldest);
    let room: Arc<dyn Wake> = Arc::new(WakeCounter::default());
    let many = ids(&(0..1000).collect::<Vec<u64>>());
    let mut answers = 0;
    while !queue.queue.answers_full(&room) {
        assert!(
            queue
                .queue
                .push_gap(1, &many, queue.queue.epoch(), DropReason::TooLarge)
        );
        queue.queue.answer(answer("PONG"));
        answers += 1;
    }
    assert!((2..100).contains(&answers), "{answers}");
    assert_eq!(queue.budget.used(), queue.queue.snapshot().charged());
    assert_eq!(queue.all().len(), 2 * answers);
    assert!(!queue.queue.answers_full(&room));
    assert_eq!(queue.budget.used(), 0);
}

#[test]
fn a_gap_that_comes_to_stand_before_another_of_its_reason_is_one_with_it() {
    let queue = queue(limits(10, usize::MAX), Overflow::DropOldest);
    queue.push(&run(0..1, 20));
    assert!(queue.queue.push_gap(2, &ids(&[1]), 0, DropReason::Budget));
    assert!(queue.queue.trim(1, DropReason::Budget) > 0);
    assert_eq!(queue.all(), [gap(&[(1, 3)], DropReason::Budget)]);
}
