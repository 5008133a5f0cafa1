//! State that a forked child must not share. It has the memory of its parent and none of its threads, one of which may have held a lock; so
//! it starts with a new value, and the parent's is leaked there, never dropped.

use std::sync::OnceLock;

/// A value that a forked child replaces with one of its own.
pub struct PerProcess<T: 'static> {
    value: T,
    /// The value of a forked child.
    next: OnceLock<&'static Self>,
}

impl<T: 'static> PerProcess<T> {
    pub const fn new(value: T) -> Self {
        Self {
            value,
            next: OnceLock::new(),
        }
    }

    /// The value of this process.
    pub fn get(&self) -> &T {
        &self.last().value
    }

    /// Called in a forked child while it has one thread: from now on `value` is its own.
    pub fn reset(&self, value: T) {
        // Whoever else could set it does not exist here.
        let _set = self.last().next.set(Box::leak(Box::new(Self::new(value))));
    }

    fn last(&self) -> &Self {
        let mut last = self;
        while let Some(next) = last.next.get() {
            last = next;
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_and_its_own_child_have_values_of_their_own() {
        static NUMBER: PerProcess<u32> = PerProcess::new(1);

        assert_eq!(*NUMBER.get(), 1);
        NUMBER.reset(2);
        assert_eq!(*NUMBER.get(), 2);
        NUMBER.reset(3);
        assert_eq!(*NUMBER.get(), 3);
    }
}
