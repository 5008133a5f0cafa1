//! What is done to native objects at a fork, and at the end of the interpreter.
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyo3::prelude::*;

use crate::owned;

/// Set when the interpreter ends: nobody is left to hear or to be told.
static EXITING: AtomicBool = AtomicBool::new(false);

pub(crate) fn is_exiting() -> bool {
    EXITING.load(Ordering::Relaxed)
}

/// The first thing done at exit: threads that go on publishing are no longer told that their bus is gone.
#[pyfunction]
pub(crate) fn begin_exit() {
    EXITING.store(true, Ordering::Relaxed);
}

/// Registered with `os.register_at_fork`: closes what a child must not keep alive, and disowns everything made before.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    owned::disown_all();
    daemoneye_eventbus_core::transport::close_in_forked_child();
    daemoneye_eventbus_core::client::abandon_after_fork();
    crate::logs::begin_anew();
    // Parent and child must not go on to make the same ids.
    fastrand::seed(u64::from(std::process::id()) ^ fastrand::u64(..).rotate_left(32));
}

/// Registered with `atexit`: stops the thread behind all links, `timeout` seconds at most.
#[pyfunction]
pub(crate) fn shut_down_clients(py: Python<'_>, timeout: f64) {
    let timeout = Duration::try_from_secs_f64(timeout).unwrap_or_default();
    py.detach(|| daemoneye_eventbus_core::client::shut_down_runtime(timeout));
}
