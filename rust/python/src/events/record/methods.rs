//! The methods of all native dataclasses. They know each class, and each class knows its base: so they are apart from it.
use pyo3::exceptions::PyOverflowError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};

use super::Record;
use crate::calls;
use crate::events::{compare, restore};

/// What `copyreg` expects: a callable and its arguments, here a class and the values of its fields.
type Reduced<'py> = (Bound<'py, PyAny>, (Bound<'py, PyType>, Bound<'py, PyTuple>));

fn names<'py>(slf: &Bound<'py, Record>) -> PyResult<Bound<'py, PyTuple>> {
    Ok(slf
        .get_type()
        .getattr(intern!(slf.py(), "__match_args__"))?
        .cast_into()?)
}

/// A field's value; a time that no `datetime` can hold is given as its nanoseconds, and `true`.
fn value<'py>(slf: &Bound<'py, Record>, name: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, bool)> {
    let py = slf.py();
    let name = name.cast::<PyString>()?;
    match slf.getattr(name) {
        Err(error) if error.is_instance_of::<PyOverflowError>(py) => {
            Ok((slf.getattr(format!("{}_ns", name.to_str()?))?, true))
        }
        other => Ok((other?, false)),
    }
}

#[cold]
fn frozen(py: Python<'_>, action: &str, name: &Bound<'_, PyAny>) -> PyErr {
    static ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let made = name.repr().and_then(|name| {
        ERROR
            .import(py, "dataclasses", "FrozenInstanceError")?
            .call1((format!("cannot {action} field {name}"),))
    });
    made.map_or_else(|failure| failure, PyErr::from_value)
}

#[pymethods]
impl Record {
    fn __setattr__(&self, name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let _ = value;
        Err(frozen(name.py(), "assign to", name))
    }

    fn __delattr__(&self, name: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(frozen(name.py(), "delete", name))
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let mut text = format!("{}(", slf.get_type().qualname()?);
        for (index, name) in names(slf)?.iter().enumerate() {
            let (value, beyond) = value(slf, &name)?;
            let value = calls::repr(&value)?;
            let value = value.to_string_lossy();
            let separator = if index == 0 { "" } else { ", " };
            text += &if beyond {
                format!("{separator}{name}=Timestamp.from_ns({value})")
            } else {
                format!("{separator}{name}={value}")
            };
        }
        text.push(')');
        Ok(text)
    }

    fn __eq__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        if slf.is(other) {
            return Ok(true.into_pyobject(py)?.to_owned().into_any().unbind());
        }
        if !slf.get_type().is(other.get_type()) {
            return Ok(py.NotImplemented());
        }
        Ok(compare::equal(slf.as_any(), other)?
            .into_pyobject(py)?
            .to_owned()
            .into_any()
            .unbind())
    }

    fn __hash__(slf: &Bound<'_, Self>) -> PyResult<u64> {
        compare::hash(slf.as_any())
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Immutable throughout, so a deep copy is the object itself.
    fn __deepcopy__(slf: Py<Self>, memo: &Bound<'_, PyAny>) -> Py<Self> {
        let _ = memo;
        slf
    }

    #[pyo3(signature = (/, **changes))]
    fn __replace__<'py>(slf: &Bound<'py, Self>, changes: Option<&Bound<'py, PyDict>>) -> PyResult<Bound<'py, PyAny>> {
        let arguments = PyDict::new(slf.py());
        for name in names(slf)? {
            if !changes.map_or(Ok(false), |changes| changes.contains(&name))? {
                arguments.set_item(&name, slf.getattr(name.cast::<PyString>()?)?)?;
            }
        }
        if let Some(changes) = changes {
            arguments.update(changes.as_mapping())?;
        }
        slf.get_type().call((), Some(&arguments))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Reduced<'py>> {
        static RESTORE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let py = slf.py();
        let mut values = Vec::new();
        for name in names(slf)? {
            values.push(value(slf, &name)?.0);
        }
        values.extend(restore::beyond_fields(slf.as_any())?);
        let restore = RESTORE.import(py, "daemoneye_eventbus._native", "_restore")?.clone();
        Ok((restore, (slf.get_type(), PyTuple::new(py, values)?)))
    }
}
