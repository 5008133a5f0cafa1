//! The sequence numbers of one bus's messages: each is given out once, and given out again if nobody has got its message.
//!
//! Only a message that waits for full queues may be given up. Its number goes back together with those behind it, whoever gave up first;
//! below one that was published nothing can go back any more.

use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct SequenceNumbers {
    pub(super) next: u64,
    /// Of messages that nobody has got yet, and whether they were given up.
    open: BTreeMap<u64, bool>,
}

impl SequenceNumbers {
    /// Nobody has got `number` yet.
    pub(super) fn wait(&mut self, number: u64) {
        self.open.insert(number, false);
    }

    /// Somebody has.
    pub(super) fn publish(&mut self, number: u64) {
        self.open.remove(&number);
        self.open.retain(|known, given_up| !*given_up || *known > number);
    }

    /// Nobody will.
    pub(super) fn give_up(&mut self, number: u64) {
        self.open.insert(number, true);
        while let Some(last) = self.open.last_entry()
            && *last.get()
            && last.key() + 1 == self.next
        {
            self.next = last.remove_entry().0;
        }
        let is_last_open = self
            .open
            .last_key_value()
            .is_some_and(|(last, _)| last + 1 == self.next);
        if !is_last_open {
            self.open.retain(|_, given_up| !*given_up);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(numbers: &mut SequenceNumbers) -> u64 {
        let number = numbers.next;
        numbers.next += 1;
        numbers.wait(number);
        number
    }

    #[test]
    fn what_is_given_up_goes_back_in_any_order() {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut numbers = SequenceNumbers::default();
            let given: Vec<_> = (0..3).map(|_| waiting(&mut numbers)).collect();
            for at in order {
                numbers.give_up(given[at]);
            }
            assert_eq!((numbers.next, numbers.open.len()), (0, 0));
        }
    }

    #[test]
    fn nothing_goes_back_below_what_was_published() {
        let mut numbers = SequenceNumbers::default();
        let (first, second) = (waiting(&mut numbers), waiting(&mut numbers));
        // One that did not have to wait.
        numbers.next += 1;
        let last = waiting(&mut numbers);
        numbers.give_up(first);
        numbers.publish(second);
        numbers.give_up(last);
        assert_eq!((numbers.next, numbers.open.len()), (3, 0));
    }

    #[test]
    fn what_cannot_go_back_is_not_kept() {
        let mut numbers = SequenceNumbers::default();
        let mut last = waiting(&mut numbers);
        for _ in 0..100 {
            let next = waiting(&mut numbers);
            numbers.give_up(last);
            last = waiting(&mut numbers);
            numbers.publish(next);
        }
        assert_eq!((numbers.next, numbers.open.len()), (201, 1));
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Fate {
        Open,
        GivenUp,
        Published,
    }

    /// Every order of so many steps, beside a list of what became of each number.
    fn every_order(numbers: &SequenceNumbers, fates: &[Fate], steps: u32) {
        assert_eq!(numbers.next, fates.len() as u64);
        if !fates.contains(&Fate::Open) {
            assert!(numbers.open.is_empty(), "nothing is left that can go back");
        }
        if steps == 0 {
            return;
        }
        let copy = || SequenceNumbers {
            next: numbers.next,
            open: numbers.open.clone(),
        };
        let mut new = copy();
        waiting(&mut new);
        every_order(&new, &[fates, &[Fate::Open]].concat(), steps - 1);
        let mut new = copy();
        new.next += 1;
        every_order(&new, &[fates, &[Fate::Published]].concat(), steps - 1);
        for at in (0..fates.len()).filter(|&at| fates[at] == Fate::Open) {
            let (mut new, mut then) = (copy(), fates.to_vec());
            new.publish(at as u64);
            then[at] = Fate::Published;
            every_order(&new, &then, steps - 1);
            let (mut new, mut then) = (copy(), fates.to_vec());
            new.give_up(at as u64);
            then[at] = Fate::GivenUp;
            while then.last() == Some(&Fate::GivenUp) {
                then.pop();
            }
            every_order(&new, &then, steps - 1);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "every order of seven steps takes minutes there")]
    fn each_number_goes_back_exactly_if_all_behind_it_do() {
        every_order(&SequenceNumbers::default(), &[], 7);
    }
}
