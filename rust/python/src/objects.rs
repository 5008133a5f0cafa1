//! What PyO3 has no safe form of: `bytes` that are made without a panic, reference counts, and leaving the garbage collector's list.
#![expect(unsafe_code, reason = "the C API where PyO3 has no safe form of it")]
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// A copy of `bytes` in Python's memory; `MemoryError` where there is none.
#[inline]
pub(crate) fn copied(py: Python<'_>, bytes: &[u8]) -> PyResult<Py<PyBytes>> {
    let length = ffi::Py_ssize_t::try_from(bytes.len())?;
    // SAFETY: the bytes are there for the call, which copies them; it gives a new reference to a `bytes`, or null with an exception set.
    unsafe {
        let made = ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), length);
        Bound::from_owned_ptr_or_err(py, made).map(|made| made.cast_into_unchecked().unbind())
    }
}

/// True if the holder of this reference is the only one.
pub(crate) fn is_held_once<T>(object: &Py<T>) -> bool {
    // SAFETY: the object is alive as long as the reference, and its counter is read by a thread that is attached.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) == 1 }
}

/// Takes a new object off the garbage collector's list. PyO3 puts every object there; one that can be in no cycle need not be, and the
/// collector would visit thousands of events that are queued or kept again and again.
pub(crate) fn untrack<T>(object: Py<T>) -> Py<T> {
    // SAFETY: the object is alive, and of a type whose instances all have the collector's header, as PyO3's have.
    unsafe { ffi::PyObject_GC_UnTrack(object.as_ptr().cast()) };
    object
}
