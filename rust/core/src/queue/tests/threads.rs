//! Those who feed a queue and its reader, each on a thread of its own.

use std::thread::{self, Thread};

use super::*;

struct Parked(Thread);

impl Wake for Parked {
    fn wake(&self) {
        self.0.unpark();
    }
}

#[test]
fn who_waits_for_room_is_woken_and_loses_nothing() {
    const EACH: u64 = if cfg!(miri) { 5 } else { 2000 };
    let queue = queue(limits(2, usize::MAX), Overflow::DropOldest);
    let feed = |first: u64| {
        let waker: Arc<dyn Wake> = Arc::new(Parked(thread::current()));
        for number in first..first + EACH {
            let run = run(number..number + 1, 20);
            while queue.queue.push(&run, &ids(&[1]), 0, OnFull::Wait(&waker)) != Pushed::Done {
                thread::park();
            }
        }
    };
    let read = thread::scope(|threads| {
        threads.spawn(|| feed(0));
        threads.spawn(|| feed(EACH));
        let mut read = Vec::new();
        while read.len() as u64 != 2 * EACH {
            read.extend(numbers(&queue.all()));
            thread::yield_now();
        }
        read
    });
    let (first, second): (Vec<u64>, Vec<u64>) = read.into_iter().partition(|number| *number < EACH);
    assert!(first.into_iter().eq(0..EACH) && second.into_iter().eq(EACH..2 * EACH));
    let after = queue.queue.snapshot();
    assert_eq!((after.delivered, after.pending, after.lost()), (2 * EACH, 0, 0));
}
