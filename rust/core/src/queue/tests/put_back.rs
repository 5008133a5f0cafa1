//! A reader that cannot make anything of the next message, for now.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

#[test]
fn what_cannot_be_made_stays_in_its_place_and_in_the_account() {
    let queue = queue(limits(4, usize::MAX), Overflow::DropOldest);
    for at in 0..2 {
        // Two runs, of which the first has lost its first two messages.
        let numbers = 3 * at..3 * at + 3;
        assert_eq!(
            queue.queue.push(&run(numbers, 20), &ids(&[1]), 0, OnFull::Overflow),
            Pushed::Done
        );
    }
    let before = queue.queue.snapshot();
    assert_eq!((before.messages, before.lost()), (4, 2));
    let mut lost_before = vec![2, 0, 0, 0].into_iter();
    for number in 2..6 {
        assert_eq!(
            queue.queue.pop_as(|_| Err::<(), _>("no memory")).unwrap_err(),
            "no memory"
        );
        let broke = catch_unwind(AssertUnwindSafe(|| {
            queue.queue.pop_as(|_| -> Result<(), ()> { panic!("no memory") })
        }));
        assert!(broke.is_err());
        let popped = queue.queue.pop().unwrap();
        let Content::Frames(got) = &popped.content else {
            panic!("a frame")
        };
        assert_eq!(*got, frame(number, 20));
        assert_eq!(Some(popped.dropped_before), lost_before.next());
    }
    assert_eq!(queue.queue.pop().unwrap_err(), PopError::Empty);
    let after = queue.queue.snapshot();
    assert_eq!(
        (after.messages, after.bytes, after.pending, after.delivered),
        (0, 0, 0, 4)
    );
    assert_eq!(queue.budget.used(), 0);
}

/// What was lost before the next message, and what is taken of it.
fn popped(queue: &Queue) -> (u64, Vec<u8>) {
    let popped = queue.pop().unwrap();
    let Content::Frames(frame) = popped.content else {
        panic!("a frame")
    };
    (popped.dropped_before, frame.to_vec())
}

#[test]
fn what_is_put_back_stands_first_with_what_was_lost_before_it() {
    let queue = queue(limits(2, usize::MAX), Overflow::DropOldest);
    let one = ids(&[1]);
    let push = |numbers| {
        assert_eq!(
            queue.queue.push(&run(numbers, 20), &one, 0, OnFull::Overflow),
            Pushed::Done
        )
    };
    push(0..3);
    let before = queue.queue.snapshot();
    for _ in 0..2 {
        let (lost, frame) = popped(&queue.queue);
        assert_eq!(lost, 1);
        queue.queue.put_back(
            Popped {
                content: Content::Frames(&frame[PREFIX..]),
                sender: None,
                dropped_before: lost,
            },
            &one,
        );
        assert_eq!(queue.queue.snapshot(), before);
        assert_eq!(queue.budget.used(), charged(before.messages, before.bytes));
    }
    // It is the oldest, and goes as that.
    push(3..4);
    assert_eq!(popped(&queue.queue), (2, frame(2, 20)));
    assert_eq!(popped(&queue.queue), (0, frame(3, 20)));
    let object: Object = Arc::new(7_u8);
    queue
        .queue
        .push(&Run::object(Arc::clone(&object), 9), &one, 0, OnFull::Overflow);
    let taken = queue.queue.pop().unwrap();
    // Nothing is lost between the two, and what came meanwhile stands behind it.
    push(4..5);
    let Content::Object(object, size) = taken.content else {
        panic!("an object")
    };
    queue.queue.put_back(
        Popped {
            content: Content::Object(object, size),
            sender: None,
            dropped_before: 0,
        },
        &one,
    );
    let taken = queue.queue.pop().unwrap();
    assert!(matches!(
        (taken.content, taken.dropped_before),
        (Content::Object(_, 9), 0)
    ));
    assert_eq!(popped(&queue.queue), (0, frame(4, 20)));
    let after = queue.queue.snapshot();
    assert_eq!(
        (after.messages, after.pending, after.delivered, after.lost()),
        (0, 0, 4, 2)
    );
    assert_eq!(queue.budget.used(), 0);
}
