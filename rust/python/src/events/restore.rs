//! Pickles: `_restore(class, values)` rebuilds what `__reduce__` took apart, without the limits that callers are held to.
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use super::bus_event::BusEvent;
use super::control::ControlMessage;
use super::correlation::CorrelationMetadata;
use super::message::Message;
use super::{FilesystemEvent, NetworkEvent, PerformanceEvent, ProcessEvent, TriggerRequest, object};
use crate::args::{Arg, Field, Origin};

/// What a pickle keeps besides the fields.
pub(crate) fn beyond_fields<'py>(ob: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let dropped = if let Ok(event) = ob.cast::<BusEvent>() {
        event.get().dropped()
    } else if let Ok(message) = ob.cast::<ControlMessage>() {
        message.get().dropped()
    } else {
        return Ok(None);
    };
    Ok(Some(dropped.into_pyobject(ob.py())?.into_any()))
}

fn arguments<'a, 'py, const N: usize>(values: &'a [Bound<'py, PyAny>]) -> [Arg<'a, 'py>; N] {
    let mut arguments = [Arg::MISSING; N];
    for (argument, value) in arguments.iter_mut().zip(values) {
        *argument = Arg::given(value);
    }
    arguments
}

/// With that; there is none in a pickle that was made of arguments alone.
fn arguments_and_dropped<'a, 'py, const N: usize>(
    class: &'static str,
    values: &'a [Bound<'py, PyAny>],
) -> PyResult<([Arg<'a, 'py>; N], u64)> {
    let dropped = match values.get(N) {
        Some(value) => Field(class, "dropped_before").u64(value.as_borrowed())?,
        None => 0,
    };
    Ok((arguments(values), dropped))
}

/// Rebuilds a pickled value; private to `__reduce__`.
#[pyfunction]
#[pyo3(signature = (class, values, /))]
pub(crate) fn _restore(class: &Bound<'_, PyType>, values: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    let py = class.py();
    let values: Vec<_> = values.iter().collect();
    let origin = Origin::Pickle;
    if class.is(py.get_type::<ProcessEvent>()) {
        object(py, ProcessEvent::build(&arguments(&values), origin)?)
    } else if class.is(py.get_type::<NetworkEvent>()) {
        object(py, NetworkEvent::build(&arguments(&values), origin)?)
    } else if class.is(py.get_type::<FilesystemEvent>()) {
        object(py, FilesystemEvent::build(&arguments(&values), origin)?)
    } else if class.is(py.get_type::<PerformanceEvent>()) {
        object(py, PerformanceEvent::build(&arguments(&values), origin)?)
    } else if class.is(py.get_type::<TriggerRequest>()) {
        object(py, TriggerRequest::build(py, &arguments(&values), origin)?)
    } else if class.is(py.get_type::<CorrelationMetadata>()) {
        object(py, CorrelationMetadata::build(py, &arguments(&values), origin)?)
    } else if class.is(py.get_type::<ControlMessage>()) {
        let (arguments, dropped) = arguments_and_dropped("ControlMessage", &values)?;
        object(py, ControlMessage::build(&arguments, dropped, origin)?)
    } else if class.is(py.get_type::<Message>()) {
        object(py, Message::build(py, &arguments(&values), origin)?)
    } else if class.is(py.get_type::<BusEvent>()) {
        let (arguments, dropped) = arguments_and_dropped("BusEvent", &values)?;
        object(py, BusEvent::build(py, &arguments, dropped, origin)?)
    } else {
        Err(unknown_class(class))
    }
}

/// For a class that is none of them.
#[cold]
fn unknown_class(class: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!(
        "{class} is not a class of daemoneye_eventbus that can be restored"
    ))
}
