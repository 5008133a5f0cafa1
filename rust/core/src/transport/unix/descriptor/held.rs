//! The numbers of this process's descriptors, for its children.
//!
//! A forked child inherits copies of every descriptor, and with them the listener, the lock and the life of each connection. Here
//! each descriptor of the bus is noted in a bitmap by its number, which a child can read whatever its parent's other threads held
//! at the moment of the fork (a locked map could not be). [`close_in_forked_child`] closes what is noted.
#![expect(
    unsafe_code,
    reason = "descriptors that a fork left behind are known by their number alone"
)]
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::process;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::lock::Mutex;

const WORDS: usize = 16_384;

/// Of this process.
pub(super) static HELD: Held = Held::new();
/// Held only by a child that cleans up, never by a process that merely forks.
static CLEANING: Mutex<()> = Mutex::new(());

/// In a forked child: closes every inherited socket, listener and lock descriptor, so that the child keeps none of them alive.
/// Never unlocks, never unlinks. Does nothing in the process that opened them.
pub fn close_in_forked_child() {
    let _one_at_a_time = CLEANING.lock();
    HELD.close_of_others(process::id());
}

/// Which descriptors are noted, and of which process they are.
pub(super) struct Held {
    /// One bit per descriptor number, up to 1,048,575 (the kernel's default ceiling). Zero pages until used.
    bits: [AtomicU64; WORDS],
    highest_word: AtomicUsize,
    /// The process; 0 before the first descriptor.
    owner: AtomicU32,
    /// Counts the forks seen, so that a reused pid is not taken for the owner.
    pub(super) generation: AtomicU32,
}

impl Held {
    const fn new() -> Self {
        Self {
            bits: [const { AtomicU64::new(0) }; WORDS],
            highest_word: AtomicUsize::new(0),
            owner: AtomicU32::new(0),
            generation: AtomicU32::new(0),
        }
    }

    /// Whether what is noted is of `process`, which it is from now on if nothing was.
    pub(super) fn are_of(&self, process: u32) -> bool {
        self.owner.load(Ordering::Acquire) == process
            || self
                .owner
                .compare_exchange(0, process, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
    }

    fn word_of(&self, raw: RawFd) -> Option<(usize, &AtomicU64, u64)> {
        let number = usize::try_from(raw).ok()?;
        let word = self.bits.get(number / 64)?;
        Some((number / 64, word, 1 << (number % 64)))
    }

    /// Of a descriptor whose holder neither uses nor closes it once the generation has moved on.
    pub(super) fn note(&self, raw: RawFd) {
        if let Some((index, word, bit)) = self.word_of(raw) {
            self.highest_word.fetch_max(index, Ordering::AcqRel);
            word.fetch_or(bit, Ordering::AcqRel);
        }
    }

    pub(super) fn forget(&self, raw: RawFd) {
        if let Some((_, word, bit)) = self.word_of(raw) {
            word.fetch_and(!bit, Ordering::AcqRel);
        }
    }

    /// Closes what is noted unless it is of `process`, whose own descriptors are noted from now on.
    fn close_of_others(&self, process: u32) {
        let owner = self.owner.load(Ordering::Acquire);
        if owner == process || owner == 0 {
            return;
        }
        self.generation.fetch_add(1, Ordering::AcqRel);
        let words = self.highest_word.load(Ordering::Acquire).saturating_add(1);
        for (index, word) in self.bits.iter().enumerate().take(words) {
            let mut bits = word.swap(0, Ordering::AcqRel);
            while bits != 0 {
                let Ok(raw) = RawFd::try_from(index * 64 + bits.trailing_zeros() as usize) else {
                    break;
                };
                bits &= bits - 1;
                // SAFETY: the bit says that a live `Descriptor` of the parent owned this number when it forked, so it is open here.
                // That `Descriptor` will neither use nor close it in this process: the generation has just moved on.
                drop(unsafe { OwnedFd::from_raw_fd(raw) });
            }
        }
        self.owner.store(process, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read as _, Write as _, pipe};
    use std::os::fd::{AsRawFd as _, IntoRawFd as _};

    use super::*;

    fn closed(mut other_end: PipeReader) -> bool {
        matches!(other_end.read(&mut [0]), Ok(0))
    }

    /// What a child does, of which there is none here: only the number of the process is another.
    #[test]
    fn a_child_closes_what_was_noted_and_nothing_else() {
        static NOTED: Held = Held::new();
        const PARENT: u32 = 1;
        const CHILD: u32 = 2;

        NOTED.close_of_others(CHILD);
        assert!(NOTED.are_of(PARENT) && !NOTED.are_of(CHILD));
        let (first_end, first) = pipe().unwrap();
        let (second_end, second) = pipe().unwrap();
        let (mut other_end, mut other) = pipe().unwrap();
        let (given_back_end, given_back) = pipe().unwrap();
        for number in [first.into_raw_fd(), second.into_raw_fd(), given_back.as_raw_fd()] {
            NOTED.note(number);
        }
        // Numbers without a place are nobody's.
        NOTED.note(-1);
        NOTED.note(RawFd::MAX);
        NOTED.forget(given_back.as_raw_fd());
        NOTED.close_of_others(PARENT);
        assert!(NOTED.are_of(PARENT));
        NOTED.close_of_others(CHILD);
        assert!(closed(first_end) && closed(second_end) && NOTED.are_of(CHILD));
        // Once: their numbers may be somebody else's by now.
        NOTED.close_of_others(PARENT);
        other.write_all(b"o").unwrap();
        other_end.read_exact(&mut [0]).unwrap();
        drop(given_back);
        assert!(closed(given_back_end));
    }
}
