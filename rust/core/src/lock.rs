//! The mutex of this crate: the standard library's, without poisoning.
//!
//! Guarantees: neither locking nor unlocking panics, so a holder that panics does not leave it locked, and whoever comes next is not made
//! to panic in turn. What a mutex guards must therefore be consistent wherever its holder can panic, or belong to something that the panic
//! ends.

use std::fmt;
use std::sync::{PoisonError, TryLockError};

/// As the standard library's; the lock ends with it.
pub type MutexGuard<'a, T> = std::sync::MutexGuard<'a, T>;

/// A mutex without poisoning.
#[derive(Default)]
pub struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    /// Waits until nobody else holds it.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` while somebody holds it.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(holder)) => Some(holder.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_holder_that_panics_keeps_nobody_out() {
        let mut mutex = Mutex::new(1);
        let broke = catch_unwind(AssertUnwindSafe(|| {
            let mut held = mutex.lock();
            *held = 2;
            assert!(mutex.try_lock().is_none());
            panic!("on purpose");
        }));
        assert!(broke.is_err());
        assert_eq!(*mutex.lock(), 2);
        assert_eq!(mutex.try_lock().map(|held| *held), Some(2));
        assert_eq!(*mutex.get_mut(), 2);
    }
}
