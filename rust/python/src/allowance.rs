//! How much all tasks of a bus publish in one turn of its loop, so that a reader there has its turn before its queue is full.
//!
//! A step that has to give the loop a turn keeps a [`Pass`]. The first pass that comes back shows that the next turn has begun, since no
//! loop says so by itself. A turn has room for so many messages and bytes; what comes back when they are spent is passed over and stands
//! for one more turn.
//!
//! Guarantees: in no turn more is published than the limits and one step; whoever was passed over goes before those who were not, so all
//! have their turn in the end; one that never comes back holds up nobody for more than a turn.
use std::sync::atomic::{AtomicU64, Ordering};

/// Of a step that stands back until the loop has had a turn: twice the number of the turn in which it last did, and one more if there was
/// no room for it in that turn. A number, so that Python's half can keep it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Pass(pub(crate) u64);

impl Pass {
    const fn of(turn: u64, passed_over: bool) -> Self {
        Self(2 * turn + passed_over as u64)
    }

    const fn turn(self) -> u64 {
        self.0 / 2
    }

    const fn passed_over(self) -> bool {
        self.0 % 2 == 1
    }
}

/// Used on the loop's thread only, so that no step needs to be atomic.
pub(crate) struct Allowance {
    turn: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
    max_messages: AtomicU64,
    max_bytes: AtomicU64,
    /// Passes that were passed over in this turn, and those of the last turn that have not come back in this.
    passed_over: AtomicU64,
    passed_over_before: AtomicU64,
}

fn get(of: &AtomicU64) -> u64 {
    of.load(Ordering::Relaxed)
}

fn set(of: &AtomicU64, value: u64) {
    of.store(value, Ordering::Relaxed);
}

impl Allowance {
    /// Without limits.
    pub(crate) fn new() -> Self {
        Self {
            turn: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            max_messages: AtomicU64::new(u64::MAX),
            max_bytes: AtomicU64::new(u64::MAX),
            passed_over: AtomicU64::new(0),
            passed_over_before: AtomicU64::new(0),
        }
    }

    pub(crate) fn limit(&self, messages: u64, bytes: u64) {
        set(&self.max_messages, messages.max(1));
        set(&self.max_bytes, bytes.max(1));
    }

    /// Adds a message that was published. True if no more of them are to be published in this turn.
    #[inline]
    pub(crate) fn spend(&self, bytes: usize) -> bool {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        set(&self.bytes, get(&self.bytes).saturating_add(bytes));
        set(&self.messages, get(&self.messages) + 1);
        self.is_spent()
    }

    fn is_spent(&self) -> bool {
        get(&self.messages) >= get(&self.max_messages) || get(&self.bytes) >= get(&self.max_bytes)
    }

    /// For a step that stands back.
    pub(crate) fn pass(&self) -> Pass {
        Pass::of(get(&self.turn), false)
    }

    /// The loop has had a turn: `None` if the step may be taken, else what it stands back with once more.
    pub(crate) fn come_back(&self, pass: Pass) -> Option<Pass> {
        if pass.turn() == get(&self.turn) {
            set(&self.turn, pass.turn() + 1);
            set(&self.messages, 0);
            set(&self.bytes, 0);
            set(&self.passed_over_before, get(&self.passed_over));
            set(&self.passed_over, 0);
        }
        self.forget(pass);
        let passed_over = self.is_spent();
        if passed_over {
            set(&self.passed_over, get(&self.passed_over) + 1);
        } else if pass.passed_over() || get(&self.passed_over_before) == 0 {
            return None;
        }
        Some(Pass::of(get(&self.turn), passed_over))
    }

    /// The step is not taken after all.
    pub(crate) fn forget(&self, pass: Pass) {
        if !pass.passed_over() {
            return;
        }
        let turn = get(&self.turn);
        let counted_in = if pass.turn() == turn {
            &self.passed_over
        } else if pass.turn() + 1 == turn {
            &self.passed_over_before
        } else {
            return;
        };
        set(counted_in, get(counted_in).saturating_sub(1));
    }
}
