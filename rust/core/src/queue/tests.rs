//! The queue, one promise at a time; [`model`] tries them all together.

mod edges;
mod mixed;
mod model;
mod put_back;
mod stalled;
mod threads;
mod waiters;

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::budget::charged;
use super::*;
use crate::wire::frame::PREFIX;
use crate::wire::text::{ErrText, FromBroker};

#[derive(Default)]
struct WakeCounter(AtomicUsize);

impl Wake for WakeCounter {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl WakeCounter {
    fn take_count(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

/// A frame that carries its number, of `size` bytes of body.
fn frame(number: u64, size: usize) -> Vec<u8> {
    let mut frame = vec![0; PREFIX + size];
    frame[..PREFIX].copy_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
    frame[PREFIX] = 0x10;
    frame[PREFIX + 1..][..8].copy_from_slice(&number.to_le_bytes());
    frame
}

fn run(numbers: std::ops::Range<u64>, size: usize) -> Run {
    let messages = u32::try_from(numbers.end - numbers.start).unwrap();
    let frames: Vec<_> = numbers.map(|number| frame(number, size)).collect();
    Run::frames(Bytes::from(frames.concat()), messages)
}

fn ids(ids: &[u64]) -> Subscriptions {
    ids.iter().copied().collect()
}

fn limits(messages: usize, bytes: usize) -> Limits {
    Limits { messages, bytes }
}

struct Fixture {
    queue: Queue,
    reader: Arc<WakeCounter>,
    budget: Arc<Budget>,
}

fn queue(limits: Limits, overflow: Overflow) -> Fixture {
    within(limits, overflow, Duration::from_secs(3600), usize::MAX)
}

fn within(limits: Limits, overflow: Overflow, stall: Duration, budget: usize) -> Fixture {
    let reader = Arc::new(WakeCounter::default());
    let budget = Arc::new(Budget::new(budget));
    let queue = Queue::new(
        limits,
        overflow,
        Some(stall),
        Arc::clone(&budget),
        Arc::clone(&reader) as _,
    );
    Fixture { queue, reader, budget }
}

impl Fixture {
    /// The kernel takes at most `room` bytes; what it took is appended to `out`.
    fn write(&self, room: usize, out: &mut Vec<u8>) -> Written {
        let mut left = room;
        let written = self.queue.write_to(|slices| {
            if left == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let mut taken = 0;
            for slice in slices {
                let len = slice.len().min(left);
                out.extend_from_slice(&slice[..len]);
                (left, taken) = (left - len, taken + len);
            }
            Ok(taken)
        });
        let written = written.unwrap();
        if written == Written::Blocked {
            self.queue.disarm();
        }
        written
    }

    fn all(&self) -> Vec<Item> {
        let mut out = Vec::new();
        assert_eq!(self.write(usize::MAX, &mut out), Written::All);
        parse(&out)
    }

    fn push(&self, run: &Run) -> Pushed {
        self.queue.push(run, &ids(&[1]), self.queue.epoch(), OnFull::Overflow)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Item {
    Message(u64),
    Dropped(Vec<(u64, u64)>, String),
    Answer(String),
}

fn parse(mut bytes: &[u8]) -> Vec<Item> {
    let mut items = Vec::new();
    while let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() {
        let (body, rest) = rest.split_at(u32::from_le_bytes(*prefix) as usize);
        items.push(if body[0] == 0x10 {
            Item::Message(u64::from_le_bytes(body[1..9].try_into().unwrap()))
        } else if let Ok(FromBroker::Dropped(dropped)) = FromBroker::parse(body) {
            Item::Dropped(dropped.subscriptions.into_iter().collect(), dropped.reason)
        } else {
            Item::Answer(String::from_utf8(body.to_vec()).unwrap())
        });
        bytes = rest;
    }
    assert!(bytes.is_empty(), "half a frame at the end");
    items
}

fn answer(text: &str) -> Bytes {
    let mut frame = u32::try_from(text.len()).unwrap().to_le_bytes().to_vec();
    frame.extend_from_slice(text.as_bytes());
    Bytes::from(frame)
}

fn numbers(items: &[Item]) -> Vec<u64> {
    items
        .iter()
        .filter_map(|item| {
            if let Item::Message(number) = item {
                Some(*number)
            } else {
                None
            }
        })
        .collect()
}

fn gap(counts: &[(u64, u64)], reason: DropReason) -> Item {
    Item::Dropped(counts.to_vec(), reason.name().to_owned())
}

#[test]
fn what_is_half_written_is_finished_and_the_gap_stands_behind_it() {
    let queue = queue(limits(3, usize::MAX), Overflow::DropOldest);
    queue.push(&run(0..3, 20));
    let mut out = Vec::new();
    assert_eq!(queue.write(30, &mut out), Written::Blocked);
    queue.push(&run(3..6, 20));
    assert_eq!(queue.write(usize::MAX, &mut out), Written::All);
    let expected = [0, 1]
        .map(Item::Message)
        .into_iter()
        .chain([gap(&[(1, 2)], DropReason::Overflow)]);
    assert_eq!(
        parse(&out),
        expected.chain([4, 5].map(Item::Message)).collect::<Vec<_>>()
    );
}

#[test]
fn a_frame_larger_than_the_queue_passes_when_nothing_waits() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        let queue = queue(limits(10, 100), overflow);
        assert_eq!(queue.push(&run(0..1, 5000)), Pushed::Done);
        assert_eq!(queue.all(), [Item::Message(0)]);
    }
    // The newest stays, however large.
    let queue = queue(limits(10, 100), Overflow::DropOldest);
    let bytes = [frame(0, 20), frame(1, 5000)].concat();
    queue.push(&Run::frames(bytes.into(), 2));
    assert_eq!(queue.all(), [gap(&[(1, 1)], DropReason::Overflow), Item::Message(1)]);
}

#[test]
fn a_part_of_a_run_keeps_no_more_memory_than_it_is_charged_for() {
    let queue = queue(limits(1000, 250), Overflow::DropNewest);
    let big = run(0..1000, 96);
    let Content::Frames(bytes) = &big.content else {
        unreachable!()
    };
    let held = bytes.as_ptr_range();
    queue.push(&big);
    let seen = queue.queue.write_to(|slices| {
        assert!(!held.contains(&slices[0].as_ptr()));
        Err(io::ErrorKind::WouldBlock.into())
    });
    assert_eq!((seen.unwrap(), queue.queue.snapshot().bytes), (Written::Blocked, 200));
}

#[test]
fn a_change_and_its_answer_are_one_step() {
    let queue = queue(limits(10, usize::MAX), Overflow::DropOldest);
    let before = queue.queue.epoch();
    queue.push(&run(0..1, 20));
    queue.queue.change(|epoch| {
        assert_eq!(epoch, before + 1);
        ((), Some(answer("OK {}")))
    });
    assert_eq!(
        queue.queue.push(&run(1..2, 20), &ids(&[1]), before, OnFull::Overflow),
        Pushed::Stale
    );
    assert!(!queue.queue.push_gap(1, &ids(&[1]), before, DropReason::TooLarge));
    assert_eq!(queue.push(&run(2..3, 20)), Pushed::Done);
    assert_eq!(
        queue.all(),
        [Item::Message(0), Item::Answer("OK {}".into()), Item::Message(2)]
    );
}

#[test]
fn a_waiting_producer_is_woken_by_the_first_room() {
    let queue = queue(limits(4, usize::MAX), Overflow::DropOldest);
    let wakes = Arc::new(WakeCounter::default());
    let waker: Arc<dyn Wake> = Arc::clone(&wakes) as _;
    let push = |run: &Run| queue.queue.push(run, &ids(&[1]), 0, OnFull::Wait(&waker));
    let Pushed::Full { taken: 4, .. } = push(&run(0..6, 21)) else {
        panic!("not full")
    };
    assert!(queue.queue.is_lossless() && !queue.queue.accepts(1, 25));
    let mut out = Vec::new();
    queue.write(10, &mut out);
    assert_eq!(wakes.take_count(), 0);
    queue.write(15, &mut out);
    assert_eq!(wakes.take_count(), 1);
    queue.write(25, &mut out);
    assert_eq!(push(&run(4..6, 21)), Pushed::Done);
    queue.write(usize::MAX, &mut out);
    assert_eq!(numbers(&parse(&out)), [0, 1, 2, 3, 4, 5]);
    assert!(!queue.queue.is_lossless());
}

#[test]
fn nobody_is_woken_for_room_too_small_to_use() {
    let queue = queue(limits(100, 100), Overflow::DropOldest);
    let wakes = Arc::new(WakeCounter::default());
    let waker: Arc<dyn Wake> = Arc::clone(&wakes) as _;
    let push = |run: &Run| queue.queue.push(run, &ids(&[1]), 0, OnFull::Wait(&waker));
    assert_eq!(push(&run(0..3, 21)), Pushed::Done);
    // 75 of 100 bytes are held: there is room, but not for this one.
    assert!(matches!(push(&run(3..4, 60)), Pushed::Full { taken: 0, .. }));
    let mut out = Vec::new();
    queue.write(0, &mut out);
    queue.write(25, &mut out);
    assert_eq!(wakes.take_count(), 0);
    queue.write(25, &mut out);
    assert_eq!(wakes.take_count(), 1);
    assert_eq!(push(&run(3..4, 60)), Pushed::Done);
}

#[test]
fn a_used_up_budget_holds_back_those_who_wait_but_starves_nobody() {
    let queue = within(limits(100, 1000), Overflow::DropOldest, Duration::from_secs(60), 100);
    let other = Queue::new(
        limits(9, 9999),
        Overflow::DropOldest,
        Some(Duration::ZERO),
        Arc::clone(&queue.budget),
        Arc::new(WakeCounter::default()),
    );
    other.push(&run(0..1, 200), &ids(&[1]), 0, OnFull::Overflow);
    assert!(queue.budget.room() == 0 && queue.budget.excess() == charged(1, 104));
    for on_full in [
        OnFull::Wait(&(Arc::new(WakeCounter::default()) as Arc<dyn Wake>)),
        OnFull::Try { block: true },
    ] {
        assert!(matches!(
            queue.queue.push(&run(0..3, 20), &ids(&[1]), 0, on_full),
            Pushed::Full { taken: 1, .. }
        ));
        assert_eq!(queue.all(), [Item::Message(0)]);
    }
    assert_eq!(queue.push(&run(0..3, 20)), Pushed::Done);
    assert_eq!(other.trim(1, DropReason::Budget), charged(1, 204));
    assert_eq!(other.snapshot().dropped[DropReason::Budget as usize], 1);
    drop(other);
    assert_eq!(queue.budget.used(), charged(3, 72));
    drop(queue.queue);
    assert_eq!(queue.budget.used(), 0);
}

#[test]
fn a_lossless_queue_stays_within_the_budget_whoever_feeds_it() {
    let queue = within(
        limits(100, 1000),
        Overflow::DropOldest,
        Duration::from_secs(60),
        charged(5, 100),
    );
    let waker: Arc<dyn Wake> = Arc::new(WakeCounter::default());
    // 24 bytes each, with the prefix.
    let pushed = queue.queue.push(&run(0..6, 20), &ids(&[1]), 0, OnFull::Wait(&waker));
    assert!(matches!(pushed, Pushed::Full { taken: 4, .. }), "{pushed:?}");
    assert_eq!((queue.budget.used(), queue.budget.excess()), (charged(4, 96), 0));
    assert!(!queue.queue.accepts(1, 24) && queue.queue.accepts(1, 4));
    // A publisher that does not wait loses its own message, and nobody else's.
    assert_eq!(queue.push(&run(6..7, 20)), Pushed::Done);
    assert_eq!(queue.budget.excess(), 0);
    assert_eq!(queue.queue.snapshot().dropped[DropReason::Budget as usize], 1);
    let all = queue.all();
    assert_eq!(all[..4], (0..4).map(Item::Message).collect::<Vec<_>>());
    assert_eq!(all.len(), 5, "and the gap stands where it would have stood");
}

#[test]
#[cfg_attr(miri, ignore = "thousands of subscriptions take minutes there")]
fn a_gap_of_very_many_subscriptions_takes_several_frames() {
    let queue = queue(limits(9, usize::MAX), Overflow::DropOldest);
    let many: Vec<u64> = (0..3000).map(|id| u64::MAX - id).collect();
    queue
        .queue
        .push_gap(u64::MAX / 8192, &ids(&many), 0, DropReason::TooLarge);
    let counts: usize = queue
        .all()
        .iter()
        .map(|item| {
            if let Item::Dropped(counts, _) = item {
                counts.len()
            } else {
                0
            }
        })
        .sum();
    assert_eq!(counts, 3000);
}

#[test]
fn disconnect_tells_its_reader_even_while_that_waits_for_the_kernel() {
    let queue = queue(limits(2, usize::MAX), Overflow::Disconnect);
    queue.push(&run(0..2, 20));
    queue.write(10, &mut Vec::new());
    queue.reader.take_count();
    assert_eq!(queue.push(&run(2..5, 20)), Pushed::Closed);
    assert!(queue.queue.wants_disconnect() && queue.reader.take_count() == 1);
    assert_eq!(queue.push(&run(5..6, 20)), Pushed::Closed);
    assert_eq!(queue.reader.take_count(), 0);
    assert_eq!(
        queue.queue.snapshot().dropped[0],
        4,
        "what comes until it is cut is lost to it as well"
    );
    // Whoever writes on passes it on, until it is cut.
    assert_eq!(queue.write(usize::MAX, &mut Vec::new()), Written::Disconnect);
    assert_eq!(queue.queue.end_with(None, |_| DropReason::Disconnected), 1);
    let snapshot = queue.queue.snapshot();
    assert_eq!((snapshot.dropped[0], snapshot.dropped[4], snapshot.pending), (4, 1, 1));
    assert_eq!(queue.push(&run(6..7, 20)), Pushed::Closed);
    assert_eq!(
        queue.queue.snapshot().dropped[0],
        5,
        "nor is it told from that until the router knows"
    );
    assert_eq!(queue.write(usize::MAX, &mut Vec::new()), Written::All);
}

#[test]
fn pop_gives_what_is_queued_and_then_the_end() {
    let queue = queue(limits(2, usize::MAX), Overflow::Disconnect);
    queue.push(&run(0..2, 20));
    assert!(matches!(queue.push(&run(2..5, 20)), Pushed::Closed));
    assert!(queue.queue.pop().is_ok() && queue.queue.pop().is_ok());
    assert_eq!(queue.queue.pop().unwrap_err(), PopError::Ended);
    assert!(queue.queue.arm_reader(), "and need not be woken to be told");
}

#[test]
fn the_last_frame_comes_behind_the_frame_in_flight_and_the_answers() {
    let queue = queue(limits(100, usize::MAX), Overflow::DropOldest);
    queue.push(&run(0..5, 20));
    queue.queue.answer(answer("OK {}"));
    let mut out = Vec::new();
    queue.write(10, &mut out);
    assert_eq!(
        queue
            .queue
            .end_with(Some(answer("ERR {}")), |_| DropReason::Disconnected),
        4
    );
    assert!(queue.queue.is_closed() && !queue.queue.is_empty());
    assert_eq!(queue.push(&run(5..6, 20)), Pushed::Closed);
    queue.write(usize::MAX, &mut out);
    let text = |text: &str| Item::Answer(text.into());
    assert_eq!(parse(&out), [Item::Message(0), text("OK {}"), text("ERR {}")]);
    let snapshot = queue.queue.snapshot();
    // With what came after the end.
    assert_eq!((snapshot.delivered, snapshot.pending, snapshot.dropped[4]), (1, 0, 5));
    assert_eq!(
        (queue.budget.used(), queue.queue.discard(|_| DropReason::Closed)),
        (0, 0)
    );
}

#[test]
fn refusals_merge_only_while_they_are_last_and_unsent() {
    let queue = queue(limits(100, usize::MAX), Overflow::DropOldest);
    let err = |count| {
        let mut err = ErrText::new(crate::wire::text::Code::Topic, "no");
        err.count = Some(count);
        Bytes::from(FromBroker::Err(err).frame())
    };
    assert!(!queue.queue.merge_answer(|_| Some(err(9))));
    queue.queue.answer(err(1));
    assert!(queue.queue.merge_answer(|last| (last == err(1)).then(|| err(2))));
    assert!(!queue.queue.merge_answer(|_| None));
    queue.push(&run(0..1, 20));
    assert!(!queue.queue.merge_answer(|_| Some(err(9))));
    let mut out = Vec::new();
    queue.write(usize::MAX, &mut out);
    queue.queue.answer(err(3));
    queue.write(5, &mut out);
    assert!(!queue.queue.merge_answer(|_| Some(err(9))));
    queue.write(usize::MAX, &mut out);
    assert_eq!(parse(&out).len(), 3);
}

#[test]
fn too_many_answers_are_full_until_half_are_gone() {
    let queue = queue(limits(100, usize::MAX), Overflow::DropOldest);
    let wakes = Arc::new(WakeCounter::default());
    let waker: Arc<dyn Wake> = Arc::clone(&wakes) as _;
    for _ in 1..MAX_ANSWERS {
        assert!(!queue.queue.answer(answer("PONG")));
    }
    assert!(queue.queue.answer(answer("PONG")) && queue.queue.answers_full(&waker));
    let mut out = Vec::new();
    queue.write(8 * (MAX_ANSWERS / 2 - 1), &mut out);
    // Whoever asks before that, for whatever reason, is told the same.
    assert_eq!((wakes.take_count(), queue.queue.answers_full(&waker)), (0, true));
    queue.write(8, &mut out);
    assert_eq!((wakes.take_count(), queue.queue.answers_full(&waker)), (1, false));
}

#[test]
fn objects_are_popped_one_by_one_with_what_was_lost_before() {
    let queue = queue(limits(3, usize::MAX), Overflow::DropOldest);
    for number in 0..5_u64 {
        queue
            .queue
            .push(&Run::object(Arc::new(number), 10), &ids(&[0]), 0, OnFull::Overflow);
    }
    let pop = || {
        let popped = queue.queue.pop()?;
        let Content::Object(object, 10) = popped.content else {
            panic!("not an object")
        };
        Ok((*object.downcast_ref::<u64>().unwrap(), popped.dropped_before))
    };
    assert_eq!(
        [pop(), pop(), pop(), pop()],
        [Ok((2, 2)), Ok((3, 0)), Ok((4, 0)), Err(PopError::Empty)]
    );
    queue
        .queue
        .push(&Run::object(Arc::new(5_u64), 10), &ids(&[0]), 0, OnFull::Overflow);
    queue.queue.finish();
    assert_eq!([pop(), pop()], [Ok((5, 0)), Err(PopError::Ended)]);
}
