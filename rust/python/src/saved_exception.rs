//! The exception that is on its way while an object ends.
//!
//! The interpreter lets go of what an expression has made so far while the exception that ended the expression is set: of the operation
//! in `gather(bus.publish(event), 1 / 0)`. Python code that then runs with it set fails for a reason that is not its own, and what it
//! leaves behind ends the process by SIGSEGV. So whoever runs any from a destructor puts the exception aside for that time, as CPython's
//! own finalizers do.
#![expect(unsafe_code, reason = "PyErr::take unwinds where the exception is that of a panic")]
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;

/// Runs `call` with no exception set, and sets what was set again.
// Deprecated from Python 3.12 on, whose replacement Python 3.11 has not.
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
