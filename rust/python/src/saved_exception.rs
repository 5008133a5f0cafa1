//! Python code in a destructor, which may run while an exception is set.
//!
//! When an expression raises, the interpreter drops its operands with the exception set: the operation in
//! `gather(bus.publish(event), 1 / 0)`. Python code that runs then fails for a reason that is not its own, and what it leaves behind ends
//! the process by SIGSEGV. So a destructor that runs any saves the exception and restores it, as CPython's own finalizers do.
#![expect(unsafe_code, reason = "PyErr::take unwinds where the exception is that of a panic")]
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;

/// Runs `call` with no exception set, and restores the one that was.
// Deprecated from Python 3.12 on; Python 3.11 does not have the replacement.
#[allow(deprecated, reason = "not in every version that is built for")]
pub(crate) fn with_exception_saved<R>(_py: Python<'_>, call: impl FnOnce() -> R) -> R {
    let (mut class, mut value, mut traceback) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    // SAFETY: this thread is attached, and these are places for pointers; what is written there are references of ours, or null.
    unsafe { ffi::PyErr_Fetch(&raw mut class, &raw mut value, &raw mut traceback) };
    let result = call();
    // SAFETY: as above; the references go back to where they came from.
    unsafe { ffi::PyErr_Restore(class, value, traceback) };
    result
}
