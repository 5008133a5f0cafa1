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
            queue.queue.push(&run(numbers, 20), &ids(&[1]), 0, Patience::None),
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
    assert_eq!(queue.queue.pop().unwrap_err(), Empty::Yet);
    let after = queue.queue.snapshot();
    assert_eq!(
        (after.messages, after.bytes, after.pending, after.delivered),
        (0, 0, 0, 4)
    );
    assert_eq!(queue.budget.used(), 0);
}
