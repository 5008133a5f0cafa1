//! The threads that this crate starts, and how anybody tells that it runs on one of them.

use std::cell::Cell;
use std::io;
use std::thread::{Builder, JoinHandle};

/// Bytes of a stack. Said for each thread, or the environment (`RUST_MIN_STACK`) would, and one page is no stack.
const STACK_SIZE: usize = 2 * 1024 * 1024;

thread_local!(static IS_OWN: Cell<bool> = const { Cell::new(false) });

/// Starts one.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new()
        .name(name.to_owned())
        .stack_size(STACK_SIZE)
        .spawn(move || {
            IS_OWN.set(true);
            work();
        })
}

/// Whether the caller runs on one.
#[inline]
pub fn is_current() -> bool {
    IS_OWN.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_of_ours_is_told_from_others() {
        let (told, asked) = std::sync::mpsc::channel();
        let thread = spawn("ours", move || told.send(is_current()).unwrap()).unwrap();
        assert_eq!(asked.recv(), Ok(true));
        thread.join().unwrap();
        assert!(!is_current());
    }
}
