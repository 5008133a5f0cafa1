//! The queue against a naive model: every matched message is either read or told missing, at its very place, and every number adds up.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Push {
        messages: u64,
        size: usize,
        subscriptions: usize,
        waits: bool,
    },
    Gap {
        subscriptions: usize,
    },
    Write(usize),
    Answer,
    Change,
    Trim(usize),
}

/// The last are lists that are charged for.
const SETS: [&[u64]; 6] = [
    &[1],
    &[2],
    &[1, 2],
    &[1, 2, 7],
    &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    &[2, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21],
];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1_u64..12, 9_usize..120, 0..SETS.len(), any::<bool>())
            .prop_map(|(messages, size, subscriptions, waits)| Step::Push { messages, size, subscriptions, waits }),
        1 => (0..SETS.len()).prop_map(|subscriptions| Step::Gap { subscriptions }),
        4 => (1_usize..900).prop_map(Step::Write),
        1 => Just(Step::Answer),
        1 => Just(Step::Change),
        1 => (1_usize..400).prop_map(Step::Trim),
    ]
}

/// What one subscription must see, in order: its messages and the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Message(u64),
    Answer(usize),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 400 }))]

    #[test]
    fn every_match_is_delivered_or_missing_at_its_place(
        steps in prop::collection::vec(step(), 1..80),
        (messages, bytes) in (1_usize..40, 100_usize..3000),
        newest in any::<bool>(),
    ) {
        let overflow = if newest { Overflow::DropNewest } else { Overflow::DropOldest };
        let queue = queue(limits(messages, bytes), overflow);
        let waker: Arc<dyn Wake> = Arc::new(WakeCounter::default());
        let (mut next, mut answers, mut matched) = (0_u64, 0, 0_u64);
        let mut expected: Vec<Expected> = Vec::new();
        let mut sets: Vec<&[u64]> = Vec::new();
        let mut out = Vec::new();
        for step in &steps {
            match *step {
                Step::Push { messages, size, subscriptions, waits } => {
                    let run = run(next..next + messages, size);
                    let on_full = if waits { OnFull::Wait(&waker) } else { OnFull::Overflow };
                    let epoch = queue.queue.epoch();
                    // Whatever goes in the short way goes in whole.
                    let offered = queue.queue.try_push(run, ids(SETS[subscriptions]), epoch, on_full);
                    let pushed = offered.map_or(Pushed::Done, |(run, ids)| queue.queue.push(&run, &ids, epoch, on_full));
                    let taken = match pushed {
                        Pushed::Done => messages,
                        Pushed::Full { taken, .. } => {
                            prop_assert!(waits && u64::from(taken) < messages);
                            u64::from(taken)
                        }
                        other => panic!("{other:?}"),
                    };
                    for number in next..next + taken {
                        expected.push(Expected::Message(number));
                        sets.push(SETS[subscriptions]);
                        matched += SETS[subscriptions].len() as u64;
                    }
                    next += taken;
                }
                Step::Gap { subscriptions } => {
                    prop_assert!(queue.queue.push_gap(1, &ids(SETS[subscriptions]), queue.queue.epoch(), DropReason::TooLarge));
                    expected.push(Expected::Message(next));
                    sets.push(SETS[subscriptions]);
                    matched += SETS[subscriptions].len() as u64;
                    next += 1;
                }
                Step::Write(room) => { queue.write(room, &mut out); }
                Step::Answer => {
                    queue.queue.answer(answer(&format!("OK {answers}")));
                    expected.push(Expected::Answer(answers));
                    answers += 1;
                }
                Step::Change => {
                    queue.queue.change(|_| ((), Some(answer(&format!("OK {answers}")))));
                    expected.push(Expected::Answer(answers));
                    answers += 1;
                }
                Step::Trim(bytes) => { queue.queue.trim(bytes, DropReason::Budget); }
            }
            let now = queue.queue.snapshot();
            prop_assert_eq!(now.delivered + now.pending + now.lost(), matched);
            prop_assert_eq!(now.charged(), queue.budget.used());
            prop_assert!(now.messages <= messages.max(1));
            prop_assert!(now.bytes <= bytes || now.messages == 1);
        }
        queue.write(usize::MAX, &mut out);
        let items = parse(&out);
        let now = queue.queue.snapshot();
        prop_assert_eq!((now.messages, now.bytes, now.pending), (0, 0, 0));
        // Subscription by subscription: a message must be the next one expected, a gap takes the next ones out, and an answer stands
        // between the same two messages as when it was given.
        for id in [1, 2, 7] {
            let mut left: VecDeque<Expected> = expected.iter().copied().filter(|expected| match expected {
                Expected::Message(number) => sets[usize::try_from(*number).unwrap()].contains(&id),
                Expected::Answer(_) => true,
            }).collect();
            for item in &items {
                match item {
                    Item::Message(number) if sets[usize::try_from(*number).unwrap()].contains(&id) => {
                        prop_assert_eq!(left.pop_front(), Some(Expected::Message(*number)));
                    }
                    Item::Message(_) => {}
                    Item::Dropped(counts, _) => {
                        for _ in 0..counts.iter().find(|(of, _)| *of == id).map_or(0, |(_, count)| *count) {
                            prop_assert!(matches!(left.pop_front(), Some(Expected::Message(_))));
                        }
                    }
                    Item::Answer(text) => {
                        let number = text.strip_prefix("OK ").unwrap().parse().unwrap();
                        prop_assert_eq!(left.pop_front(), Some(Expected::Answer(number)));
                    }
                }
            }
            prop_assert!(left.is_empty(), "not told: {left:?}");
        }
    }
}
