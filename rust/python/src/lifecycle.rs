//! What happens to native objects at a fork and at the end of the interpreter, and the refusal of a second interpreter.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::{all_loops, deferred_drops, fork_safe, key_cache, logs, loop_thread};

/// The number of the thread that ends the interpreter; zero until then.
static EXITING: AtomicU64 = AtomicU64::new(0);

#[inline]
pub(crate) fn is_exiting() -> bool {
    EXITING.load(Ordering::Relaxed) != 0
}

/// Whether this is a daemon thread, now that the interpreter ends. Nothing is published for it any more. It is not told, as that would be
/// its last words at each end of a program.
#[cold]
pub(crate) fn is_too_late() -> bool {
    EXITING.load(Ordering::Relaxed) != loop_thread::number()
}

/// What is kept of Python's objects for the whole process belongs to the interpreter that came first: any other would use
/// that one's, and break both. PyO3 looks at this in nested modules alone.
pub(crate) fn refuse_other_interpreters(py: Python<'_>) -> PyResult<()> {
    // Held, so that no other interpreter's can ever have its address.
    static BUILTINS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

    let builtins = py.import("builtins")?;
    if BUILTINS.get_or_init(py, || builtins.clone().unbind()).is(&builtins) {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "daemoneye_eventbus is loaded in another interpreter of this process and cannot be in two; use it there, or in a \
         process of its own",
    ))
}

/// The first thing done at exit, by the thread that ends the interpreter.
#[pyfunction]
pub(crate) fn begin_exit() {
    EXITING.store(loop_thread::number(), Ordering::Relaxed);
}

/// Registered with `os.register_at_fork`: closes what a child must not keep alive, and disowns everything made before.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    fork_safe::disown_all();
    EXITING.store(0, Ordering::Relaxed);
    daemoneye_eventbus_core::transport::close_in_forked_child();
    daemoneye_eventbus_core::client::abandon_after_fork();
    all_loops::begin_anew();
    deferred_drops::begin_anew();
    key_cache::begin_anew();
    logs::begin_anew();
    // Parent and child must not go on to make the same ids.
    fastrand::seed(u64::from(std::process::id()) ^ fastrand::u64(..).rotate_left(32));
}

/// Registered with `atexit`: stops the thread behind all links, `timeout` seconds at most.
#[pyfunction]
pub(crate) fn shut_down_clients(py: Python<'_>, timeout: f64) {
    let timeout = Duration::try_from_secs_f64(timeout).unwrap_or_default();
    py.detach(|| daemoneye_eventbus_core::client::shut_down_runtime(timeout));
}
