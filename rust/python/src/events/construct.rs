//! Constructor calls as the interpreter makes them, without the tuple and the dict that `__new__` would be given.
//!
//! Names are told by identity, since both sides intern them, and by equality where that fails. A call with anything
//! wrong about its names or number goes through `__new__` all the same, so there is one set of error messages.
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pyclass::PyClass;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};

use super::{CorrelationMetadata, FilesystemEvent, NetworkEvent, PerformanceEvent, ProcessEvent, TriggerRequest};
use super::{Record, object};
use crate::args::{Arg, Origin};

/// The names of a class's arguments, interned; also those of its fields.
type Names<const N: usize> = [Py<PyString>; N];

/// A class of `N` arguments.
pub(crate) trait Construct<const N: usize>: PyClass<BaseType = Record> {
    /// So many of them, the first ones, must be given.
    const REQUIRED: usize;

    fn names() -> &'static PyOnceLock<Names<N>>;

    fn construct(py: Python<'_>, arguments: &[Arg<'_, '_>; N]) -> PyResult<Self>;
}

macro_rules! construct {
    ($($class:ident($count:literal, $required:literal) = |$py:ident, $arguments:ident| $build:expr;)*) => {
        $(impl Construct<$count> for $class {
            const REQUIRED: usize = $required;

            fn names() -> &'static PyOnceLock<Names<$count>> {
                static NAMES: PyOnceLock<Names<$count>> = PyOnceLock::new();
                &NAMES
            }

            #[inline]
            fn construct($py: Python<'_>, $arguments: &[Arg<'_, '_>; $count]) -> PyResult<Self> {
                $build
            }
        })*
    };
}

construct! {
    ProcessEvent(7, 2) = |_py, arguments| Self::build(arguments, Origin::Caller);
    NetworkEvent(5, 4) = |_py, arguments| Self::build(arguments, Origin::Caller);
    FilesystemEvent(4, 2) = |_py, arguments| Self::build(arguments, Origin::Caller);
    PerformanceEvent(4, 3) = |_py, arguments| Self::build(arguments, Origin::Caller);
    TriggerRequest(5, 2) = |py, arguments| Self::build(py, arguments, Origin::Caller);
    CorrelationMetadata(7, 1) = |py, arguments| Self::build(py, arguments, Origin::Caller);
}

/// Interns the names; before the first [`call`].
pub(crate) fn prepare<T: Construct<N>, const N: usize>(py: Python<'_>) -> PyResult<()> {
    let fields = py.get_type::<T>().getattr(intern!(py, "__match_args__"))?;
    let fields: [Bound<'_, PyString>; N] = fields.extract()?;
    let mut names = Vec::with_capacity(N);
    for field in &fields {
        names.push(PyString::intern(py, field.to_str()?).unbind());
    }
    if let Ok(names) = names.try_into() {
        T::names().get_or_init(py, || names);
    }
    Ok(())
}

/// `class(*given[..positional], **dict(zip(keywords, given[positional..])))`.
#[inline]
pub(crate) fn call<T: Construct<N>, const N: usize>(
    py: Python<'_>,
    given: &[Borrowed<'_, '_, PyAny>],
    positional: usize,
    keywords: Option<&Bound<'_, PyTuple>>,
) -> PyResult<Py<PyAny>> {
    match place::<T, N>(py, given, positional, keywords) {
        Some(arguments) => object(py, T::construct(py, &arguments)?),
        None => call_new(py, &py.get_type::<T>(), given, positional, keywords),
    }
}

/// The arguments in the order of the fields; `None` if there are too many, too few, unknown or repeated ones.
#[inline]
fn place<'a, 'py, T: Construct<N>, const N: usize>(
    py: Python<'py>,
    given: &[Borrowed<'a, 'py, PyAny>],
    positional: usize,
    keywords: Option<&Bound<'py, PyTuple>>,
) -> Option<[Arg<'a, 'py>; N]> {
    let mut arguments = [Arg::MISSING; N];
    let (in_order, named) = given.split_at_checked(positional)?;
    let places = arguments.get_mut(..positional)?;
    for (place, value) in places.iter_mut().zip(in_order) {
        *place = Arg::borrowed(*value);
    }
    if let Some(keywords) = keywords {
        let names = T::names().get(py)?;
        // Most callers name them in order.
        let mut expected = positional;
        for (name, value) in keywords.iter_borrowed().zip(named) {
            let at = match names.get(expected) {
                Some(field) if name.is(field) => expected,
                _ => find(py, names, name)?,
            };
            let place = arguments.get_mut(at)?;
            if place.present().is_some() {
                return None;
            }
            *place = Arg::borrowed(*value);
            expected = at + 1;
        }
    }
    let required = arguments.get(..T::REQUIRED)?;
    required
        .iter()
        .all(|argument| argument.present().is_some())
        .then_some(arguments)
}

fn find<const N: usize>(py: Python<'_>, names: &Names<N>, name: Borrowed<'_, '_, PyAny>) -> Option<usize> {
    names.iter().position(|field| name.is(field)).or_else(|| {
        let name = name.cast::<PyString>().ok()?;
        let name = name.to_str().ok()?;
        names
            .iter()
            .position(|field| field.bind(py).to_str().is_ok_and(|field| field == name))
    })
}

#[cold]
fn call_new(
    py: Python<'_>,
    class: &Bound<'_, PyType>,
    given: &[Borrowed<'_, '_, PyAny>],
    positional: usize,
    keywords: Option<&Bound<'_, PyTuple>>,
) -> PyResult<Py<PyAny>> {
    let (in_order, named) = given.split_at_checked(positional).unwrap_or((given, &[]));
    let dict = PyDict::new(py);
    for (name, value) in keywords.iter().flat_map(|names| names.iter()).zip(named) {
        dict.set_item(name, value)?;
    }
    let first = std::iter::once(class.as_any().as_borrowed());
    let tuple = PyTuple::new(py, first.chain(in_order.iter().copied()).collect::<Vec<_>>())?;
    Ok(class.call_method(intern!(py, "__new__"), tuple, Some(&dict))?.unbind())
}
