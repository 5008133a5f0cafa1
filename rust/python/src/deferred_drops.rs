//! Python's objects whose last holder was a thread without the interpreter: kept here until a thread that has it drops them.
//!
//! PyO3 does the same by itself, behind a lock of its own. In a child that is forked while a thread holds that lock nobody releases it, and
//! the child's first call to this module would wait for it for ever. So what our own threads may drop comes here instead, and a forked
//! child begins with an empty list; what was in its parent's is leaked there.
//!
//! Guarantees: whoever leaves something here neither waits for Python nor fails; where there is no memory to note it, it is leaked. A loop
//! is woken for what lies here, and who publishes in the broker's process drops it first: so it is no more than the queues held.
use std::sync::atomic::{AtomicBool, Ordering};

use daemoneye_eventbus_core::forked::PerProcess;
use daemoneye_eventbus_core::lock::Mutex;
use pyo3::prelude::*;

use crate::all_loops;

static OBJECTS: PerProcess<Mutex<Vec<Py<PyAny>>>> = PerProcess::new(Mutex::new(Vec::new()));
/// Whether there may be any. Written under the lock.
static ARE_WAITING: AtomicBool = AtomicBool::new(false);

/// Leaves `objects` here, from a thread without the interpreter.
#[cold]
pub(crate) fn defer<const N: usize>(objects: [Option<Py<PyAny>>; N]) {
    let was_waiting = {
        let mut waiting = OBJECTS.get().lock();
        if waiting.try_reserve(N).is_err() {
            return std::mem::forget(objects);
        }
        waiting.extend(objects.into_iter().flatten());
        ARE_WAITING.swap(true, Ordering::Relaxed)
    };
    if !was_waiting {
        all_loops::wake();
    }
}

/// Drops what waits. Their destructors run no Python code.
#[inline]
pub(crate) fn settle(py: Python<'_>) {
    if ARE_WAITING.load(Ordering::Relaxed) {
        drop_all(py);
    }
}

#[cold]
fn drop_all(py: Python<'_>) {
    let objects = {
        let mut waiting = OBJECTS.get().lock();
        ARE_WAITING.store(false, Ordering::Relaxed);
        std::mem::take(&mut *waiting)
    };
    for object in objects {
        object.drop_ref(py);
    }
}

/// Called in a forked child.
pub(crate) fn begin_anew() {
    OBJECTS.reset(Mutex::new(Vec::new()));
    ARE_WAITING.store(false, Ordering::Relaxed);
}
