//! Calls of Python code from native code, which may not come back.
//!
//! Before Python 3.14 a thread that wants the GIL while the interpreter ends is unwound by `pthread_exit`: a daemon thread, at any
//! step of Python code. Frames of Rust cannot be unwound so. Their destructors would let go of objects without the GIL, and PyO3's
//! trampoline, which catches panics, ends the process by SIGABRT when it meets what is none. So whoever is unwound to here sleeps for
//! ever, as from Python 3.14 on all such threads do; the process ends without it.
//!
//! PyO3 declares the C API's functions as never unwinding, so that a compiler may leave out what is done when they do. They are
//! called through pointers of the other kind, which are read anew each time to keep the compiler from seeing through them.
#![expect(unsafe_code, reason = "the C API as functions that unwind")]
use std::ffi::c_int;
use std::mem::transmute;
use std::ptr;

use pyo3::ffi::{self, PyObject};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyMapping, PyString, PyTuple, PyType};

/// `next` and `repr`.
type OfOne = unsafe extern "C-unwind" fn(*mut PyObject) -> *mut PyObject;
type Update = unsafe extern "C-unwind" fn(*mut PyObject, *mut PyObject) -> c_int;
type Send = unsafe extern "C-unwind" fn(*mut PyObject, *mut PyObject, *mut *mut PyObject) -> ffi::PySendResult;
type Vectorcall =
    unsafe extern "C-unwind" fn(*mut PyObject, *const *mut PyObject, usize, *mut PyObject) -> *mut PyObject;

// SAFETY: the same functions with the same arguments; only what the compiler expects of them differs.
static NEXT: OfOne = unsafe { transmute(ffi::PyIter_Next as unsafe extern "C" fn(_) -> _) };
// SAFETY: as above.
static REPR: OfOne = unsafe { transmute(ffi::PyObject_Repr as unsafe extern "C" fn(_) -> _) };
// SAFETY: as above.
static UPDATE: Update = unsafe { transmute(ffi::PyDict_Update as unsafe extern "C" fn(_, _) -> _) };
// SAFETY: as above.
static SEND: Send = unsafe { transmute(ffi::PyIter_Send as unsafe extern "C" fn(_, _, _) -> _) };
// SAFETY: as above.
static CALL: Vectorcall = unsafe { transmute(ffi::PyObject_VectorcallDict as unsafe extern "C" fn(_, _, _, _) -> _) };
// SAFETY: as above.
static CALL_METHOD: Vectorcall =
    unsafe { transmute(ffi::PyObject_VectorcallMethod as unsafe extern "C" fn(_, _, _, _) -> _) };

/// Parks the thread for ever if it is unwound.
struct ParkOnUnwind;

impl Drop for ParkOnUnwind {
    #[cold]
    fn drop(&mut self) {
        loop {
            std::thread::park();
        }
    }
}

/// Runs `call` with `function`; a thread that is unwound by it stays here.
#[inline(always)]
fn guarded<F: Copy, R>(function: &'static F, call: impl FnOnce(F) -> R) -> R {
    let guard = ParkOnUnwind;
    // SAFETY: a static is always there to be read.
    let result = call(unsafe { ptr::from_ref(function).read_volatile() });
    std::mem::forget(guard);
    result
}

/// `next(iterator)`, `None` at its end.
pub(crate) fn next<'py>(iterator: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = iterator.py();
    // SAFETY: the thread is attached and the object lives through the call; its caller got it from `iter`.
    let item = guarded(&NEXT, |next| unsafe { next(iterator.as_ptr()) });
    // SAFETY: a new reference, or null with an exception set, or null at the end.
    match unsafe { Bound::from_owned_ptr_or_opt(py, item) } {
        None => PyErr::take(py).map_or(Ok(None), Err),
        item => Ok(item),
    }
}

/// What one `send` gave.
pub(crate) enum Sent {
    /// For the loop.
    Yielded(Py<PyAny>),
    Returned(Py<PyAny>),
}

/// One `send` to a coroutine, without an exception object for its result.
pub(crate) fn send(coroutine: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<Sent> {
    let py = coroutine.py();
    let mut result = ptr::null_mut();
    // SAFETY: the thread is attached, both objects live through the call, and `result` is a place for a pointer.
    let kind = guarded(&SEND, |send| unsafe {
        send(coroutine.as_ptr(), value.as_ptr(), &raw mut result)
    });
    // SAFETY: whatever was written there is a new reference, or null with an exception set.
    let object = unsafe { Bound::from_owned_ptr_or_err(py, result) }?.unbind();
    Ok(match kind {
        ffi::PySendResult::PYGEN_NEXT => Sent::Yielded(object),
        _ => Sent::Returned(object),
    })
}

/// `callable(*arguments, **named)`.
pub(crate) fn call<'py, const N: usize>(
    callable: &Bound<'py, PyAny>,
    arguments: [&Bound<'py, PyAny>; N],
    named: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = callable.py();
    let arguments = arguments.map(Bound::as_ptr);
    let named = named.map_or(ptr::null_mut(), Bound::as_ptr);
    // SAFETY: the thread is attached, and all objects live through the call.
    let result = guarded(&CALL, |call| unsafe {
        call(callable.as_ptr(), arguments.as_ptr(), N, named)
    });
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, result) }
}

/// `object.name(*rest)`, where `object` is the first of `arguments`; the last have the `names`, if there are any.
pub(crate) fn method<'py, const N: usize>(
    name: &Bound<'py, PyString>,
    arguments: [&Bound<'py, PyAny>; N],
    names: Option<&Bound<'py, PyTuple>>,
) -> PyResult<Bound<'py, PyAny>> {
    const { assert!(N > 0, "the object itself") };
    let py = name.py();
    let positional = N - names.map_or(0, |names| names.len());
    let arguments = arguments.map(Bound::as_ptr);
    let names = names.map_or(ptr::null_mut(), Bound::as_ptr);
    // SAFETY: the thread is attached, and all objects, of which there is one at least, live through the call.
    let result = guarded(&CALL_METHOD, |call| unsafe {
        call(name.as_ptr(), arguments.as_ptr(), positional, names)
    });
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, result) }
}

/// `repr(object)`.
pub(crate) fn repr<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    let py = object.py();
    // SAFETY: the thread is attached, and the object lives through the call.
    let text = guarded(&REPR, |repr| unsafe { repr(object.as_ptr()) });
    // SAFETY: a new reference to a text, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, text).map(|text| text.cast_into_unchecked()) }
}

/// Whether it is a mapping, as its class or a register of classes says; what is raised there comes out.
pub(crate) fn is_mapping(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let class = CLASS.import(object.py(), "collections.abc", "Mapping")?;
    method(
        intern!(object.py(), "__instancecheck__"),
        [class.as_any(), object],
        None,
    )?
    .is_truthy()
}

/// A dict of what is in `mapping`, of whatever class; `None` if its keys are more than `most`, of which no more are asked for.
pub(crate) fn copied<'py>(mapping: &Bound<'py, PyAny>, most: usize) -> PyResult<Option<Bound<'py, PyDict>>> {
    let py = mapping.py();
    let copy = PyDict::new(py);
    let keys = method(intern!(py, "keys"), [mapping], None)?;
    let keys = method(intern!(py, "__iter__"), [&keys], None)?;
    for _ in 0..most {
        let Some(key) = next(&keys)? else {
            return Ok(Some(copy));
        };
        let value = method(intern!(py, "__getitem__"), [mapping, &key], None)?;
        method(intern!(py, "__setitem__"), [copy.as_any(), &key, &value], None)?;
    }
    Ok(next(&keys)?.is_none().then_some(copy))
}

/// `dict.update(mapping)`.
pub(crate) fn update(dict: &Bound<'_, PyDict>, mapping: &Bound<'_, PyMapping>) -> PyResult<()> {
    // SAFETY: the thread is attached, and both objects live through the call.
    match guarded(&UPDATE, |update| unsafe { update(dict.as_ptr(), mapping.as_ptr()) }) {
        -1 => Err(PyErr::fetch(dict.py())),
        _ => Ok(()),
    }
}
