//! What each process has for itself. A forked child has the memory of its parent and none of its threads, which may have left a lock held
//! for ever; so it begins with another, and the parent's is forgotten there, never dropped.

use std::sync::OnceLock;

/// A value that a forked child replaces with one of its own.
pub struct PerProcess<T: 'static> {
    value: T,
    /// Of the child that was forked off.
    next: OnceLock<&'static Self>,
}

impl<T: 'static> PerProcess<T> {
    pub const fn new(value: T) -> Self {
        Self {
            value,
            next: OnceLock::new(),
        }
    }

    /// That of this process.
    pub fn here(&self) -> &T {
        &self.last().value
    }

    /// Called in a forked child, which has one thread: from now on this is the one.
    pub fn begin_anew(&self, value: T) {
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
    fn a_child_and_its_own_child_begin_anew() {
        static NUMBER: PerProcess<u32> = PerProcess::new(1);

        assert_eq!(*NUMBER.here(), 1);
        NUMBER.begin_anew(2);
        assert_eq!(*NUMBER.here(), 2);
        NUMBER.begin_anew(3);
        assert_eq!(*NUMBER.here(), 3);
    }
}
