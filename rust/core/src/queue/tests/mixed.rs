//! Producers who wait and producers who do not, at one queue.

use super::*;

/// What is left of three messages of one who waits when another, who does not, has brought a fourth.
fn left(overflow: Overflow) -> Vec<u64> {
    let queue = queue(limits(3, usize::MAX), overflow);
    let waker: Arc<dyn Wake> = Arc::new(WakeCounter::default());
    let one = ids(&[1]);
    assert_eq!(
        queue.queue.push(&run(0..3, 20), &one, 0, OnFull::Wait(&waker)),
        Pushed::Done
    );
    assert!(queue.queue.is_lossless());
    assert_eq!(
        queue.queue.push(&run(3..4, 20), &one, 0, OnFull::Overflow),
        Pushed::Done
    );
    assert_eq!(queue.queue.snapshot().lost(), 1);
    let mut out = Vec::new();
    queue.write(usize::MAX, &mut out);
    numbers(&parse(&out))
}

#[test]
fn who_does_not_wait_has_the_policy_applied_to_all() {
    assert_eq!(left(Overflow::DropOldest), [1, 2, 3]);
    assert_eq!(left(Overflow::DropNewest), [0, 1, 2]);
}
