//! Slots of Python's type objects that PyO3 does not fill: how the interpreter calls us, without detours. How we call it is in `calls`.
//!
//! `am_send` hands an [`Operation`]'s result over without an exception object; `tp_iternext`, which is what `await` uses from
//! Python 3.12 on, does so where the result is `None`; `am_await` gives the operation itself, to the first who asks. These only do
//! faster what a method of the class does too. `tp_finalize` runs before the garbage collector clears an operation's cycle, in whatever
//! order. `tp_vectorcall` takes a constructor's arguments as the interpreter holds them, without a tuple and a dict.
//!
//! Every entry runs inside PyO3's own trampoline, the one its macros use: it notes that this thread is attached, turns an `Err` into the
//! raised exception, and a panic into `PanicException`, so that nothing unwinds into C. The slots are written once, when the module is
//! made and nobody else can have met the classes. Not for abi3: the layout of type objects is that of the interpreter built for.
#![expect(unsafe_code, reason = "slots of type objects that PyO3 has no word for")]
use std::ffi::c_int;
use std::marker::PhantomData;
use std::ptr;

use pyo3::ffi;
use pyo3::impl_::trampoline::{
    MethodDef, fastcall_cfunction_with_keywords as fastcall, iternextfunc, releasebufferproc, setattrofunc, unaryfunc,
};
use pyo3::prelude::*;
use pyo3::type_object::PyTypeInfo;
use pyo3::types::PyTuple;

use crate::calls::Sent;
use crate::events::construct::{self, Construct};
use crate::events::{
    CorrelationMetadata, FilesystemEvent, NetworkEvent, PerformanceEvent, ProcessEvent, TriggerRequest,
};
use crate::operation::{Kind, Operation};
use crate::stop_iteration::StopIteration;

/// Fills the slots; called once, by the module's initialisation, when its classes exist.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    install_call::<ProcessEvent, 7>(py)?;
    install_call::<NetworkEvent, 5>(py)?;
    install_call::<FilesystemEvent, 4>(py)?;
    install_call::<PerformanceEvent, 4>(py)?;
    install_call::<TriggerRequest, 5>(py)?;
    install_call::<CorrelationMetadata, 7>(py)?;
    let class = Operation::type_object_raw(py);
    // SAFETY: the class is a heap type that PyO3 made and keeps for ever, so its method tables, which stand inside it, are writable;
    // this thread is attached and no instance exists yet, so nobody reads them meanwhile. The functions have the slots' signatures.
    unsafe {
        if let Some(methods) = (*class).tp_as_async.as_mut() {
            methods.am_send = Some(am_send);
            methods.am_await = Some(unaryfunc::<Await>);
            (*class).tp_iternext = Some(iternextfunc::<Next>);
        }
        (*class).tp_finalize = Some(finalize);
    }
    Ok(())
}

fn install_call<T: Construct<N>, const N: usize>(py: Python<'_>) -> PyResult<()> {
    construct::prepare::<T, N>(py)?;
    let class = T::type_object_raw(py);
    // SAFETY: as in `install`. A class's own `tp_vectorcall` is what `type` calls for `class(...)`; it is not inherited, and these
    // classes have no subclasses.
    unsafe { (*class).tp_vectorcall = Some(vectorcall::<T, N>) };
    Ok(())
}

struct Call<T, const N: usize>(PhantomData<T>);

impl<T: Construct<N>, const N: usize> MethodDef<fastcall::Func> for Call<T, N> {
    const METH: fastcall::Func = call_class::<T, N>;
}

/// A method's calling convention but for a flag in the number of arguments.
unsafe extern "C" fn vectorcall<T: Construct<N>, const N: usize>(
    class: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    flagged: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls with a thread attached and its own arguments, which are handed on; the rest is arithmetic.
    unsafe { fastcall::<Call<T, N>>(class, arguments, ffi::PyVectorcall_NARGS(flagged), names) }
}

/// # Safety
/// `arguments` must hold `positional` objects and then one for each name in `names`, which is null or a tuple.
unsafe fn call_class<T: Construct<N>, const N: usize>(
    py: Python<'_>,
    _class: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    positional: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> PyResult<*mut ffi::PyObject> {
    // SAFETY: null or a tuple, by the protocol, which the caller holds for the call.
    let names = unsafe { Borrowed::from_ptr_or_opt(py, names).map(|names| names.cast_unchecked::<PyTuple>()) };
    let positional = usize::try_from(positional)?;
    let count = positional + names.as_ref().map_or(0, |names| names.len());
    let given: &[Borrowed<'_, '_, PyAny>] = if count == 0 {
        &[]
    } else {
        // SAFETY: there are `count` objects, none of them null, which the caller holds for the call; `Borrowed` is a transparent wrapper
        // of such a pointer, and PyO3's own argument parser reads it so.
        unsafe { std::slice::from_raw_parts(arguments.cast(), count) }
    };
    construct::call::<T, N>(py, given, positional, names.as_deref()).map(Py::into_ptr)
}

struct Send;

impl MethodDef<setattrofunc::Func> for Send {
    const METH: setattrofunc::Func = send_operation;
}

struct Next;

impl MethodDef<iternextfunc::Func> for Next {
    const METH: iternextfunc::Func = next_operation;
}

/// The trampoline of the same shape (three pointers in, `c_int` out, -1 for an exception) serves: the place of the result goes
/// through it as the third pointer.
unsafe extern "C" fn am_send(
    slf: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: the interpreter calls with a thread attached, an instance of the class, an object and a place to write to.
    match unsafe { setattrofunc::<Send>(slf, value, result.cast()) } {
        0 => ffi::PySendResult::PYGEN_RETURN,
        1 => ffi::PySendResult::PYGEN_NEXT,
        _ => ffi::PySendResult::PYGEN_ERROR,
    }
}

/// # Safety
/// `slf` must be an [`Operation`], `value` an object, `result` a place for a pointer.
unsafe fn send_operation(
    py: Python<'_>,
    slf: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    result: *mut ffi::PyObject,
) -> PyResult<c_int> {
    // SAFETY: the interpreter looked the slot up by the type of `slf`, which has no subclasses, and it holds both objects for the call.
    let (operation, value) = unsafe {
        (
            Borrowed::from_ptr(py, slf).cast_unchecked::<Operation>(),
            Borrowed::from_ptr(py, value),
        )
    };
    let result = result.cast::<*mut ffi::PyObject>();
    // SAFETY: `result` is the caller's place for the result, to be null where there is none.
    unsafe { result.write(ptr::null_mut()) };
    let (object, kind) = match operation.get().advance(py, &value, |_| Ok(()))? {
        Sent::Returned(object) => {
            Operation::recycle(operation.to_owned().unbind());
            (object, 0)
        }
        Sent::Yielded(object) => (object, 1),
    };
    // SAFETY: as above; the reference goes over to the caller.
    unsafe { result.write(object.into_ptr()) };
    Ok(kind)
}

/// # Safety
/// `slf` must be an [`Operation`].
unsafe fn next_operation(py: Python<'_>, slf: *mut ffi::PyObject) -> PyResult<*mut ffi::PyObject> {
    // SAFETY: as for `send_operation`.
    let operation = unsafe { Borrowed::from_ptr(py, slf).cast_unchecked::<Operation>() };
    let mut stop = StopIteration::default();
    let ready = |kind: Option<&Kind>| match kind {
        Some(Kind::Publish { .. }) => Ok(()),
        _ => stop.prepare(py),
    };
    match operation.get().advance(py, py.None().bind(py), ready)? {
        Sent::Yielded(object) => Ok(object.into_ptr()),
        // Null without an exception is the end, with `None` for a result.
        Sent::Returned(object) if object.is_none(py) => Ok(ptr::null_mut()),
        Sent::Returned(object) => Err(stop.with_value(py, object)),
    }
}

struct Await;

impl MethodDef<unaryfunc::Func> for Await {
    const METH: unaryfunc::Func = await_operation;
}

/// # Safety
/// `slf` must be an [`Operation`].
unsafe fn await_operation(py: Python<'_>, slf: *mut ffi::PyObject) -> PyResult<*mut ffi::PyObject> {
    // SAFETY: as for `send_operation`.
    let operation = unsafe { Borrowed::from_ptr(py, slf).cast_unchecked::<Operation>() };
    Operation::check_await(&operation).map(Bound::into_ptr)
}

struct Finalize;

impl MethodDef<releasebufferproc::Func> for Finalize {
    const METH: releasebufferproc::Func = finalize_operation;
}

/// The trampoline of something that gives nothing and may not fail serves: what is raised goes to `sys.unraisablehook`.
unsafe extern "C" fn finalize(slf: *mut ffi::PyObject) {
    // SAFETY: the collector calls with a thread attached and an instance of the class; the second pointer is not looked at.
    unsafe { releasebufferproc::<Finalize>(slf, ptr::null_mut()) }
}

/// # Safety
/// `slf` must be an [`Operation`].
unsafe fn finalize_operation(py: Python<'_>, slf: *mut ffi::PyObject, _: *mut ffi::Py_buffer) -> PyResult<()> {
    // SAFETY: as for `send_operation`.
    let operation = unsafe { Borrowed::from_ptr(py, slf).cast_unchecked::<Operation>() };
    operation.get().finalize(py)
}
