//! `PerformanceEvent`.
use daemoneye_eventbus_core::event::{CollectionEvent, Map, PerformanceEvent as View, Walk};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::backing::{Backing, Payload, mismatch};
use super::record::Record;
use crate::args::{Arg, Field, Origin};
use crate::mapping::FrozenMap;
use crate::text::Text;

/// One measured value.
#[pyclass(frozen, extends = Record, module = "daemoneye_eventbus")]
pub(crate) struct PerformanceEvent {
    metric_name: Text,
    value: f64,
    unit: Text,
    backing: Backing,
}

impl PerformanceEvent {
    /// From the constructor's arguments in the order of the fields.
    pub(crate) fn build(arguments: &[Arg<'_, '_>; 4], origin: Origin) -> PyResult<Self> {
        let field = |name| Field("PerformanceEvent", name);
        let &[metric_name, value, unit, metadata] = arguments;
        Ok(Self {
            metric_name: Text::required(field("metric_name"), metric_name)?,
            value: field("value").float(value.required(field("value"))?)?,
            unit: Text::required(field("unit"), unit)?,
            backing: Backing::take("PerformanceEvent", metadata, origin)?,
        })
    }

    /// A copy of a decoded event.
    pub(crate) fn of_view(py: Python<'_>, view: &View<&str, Map<'_>>) -> PyResult<Self> {
        Ok(Self {
            metric_name: Text::new(py, view.metric_name),
            value: view.value,
            unit: Text::new(py, view.unit),
            backing: Backing::of_map(py, &view.metadata)?,
        })
    }

    /// An event that stays in its frame; `view` borrows from it.
    pub(crate) fn of_wire<T: AsRef<[u8]>>(py: Python<'_>, view: &View<T, Walk>, payload: Payload) -> PyResult<Self> {
        let body = payload.body(py);
        Ok(Self {
            metric_name: Text::wire(body, view.metric_name.as_ref())?,
            value: view.value,
            unit: Text::wire(body, view.unit.as_ref())?,
            backing: Backing::Received(payload),
        })
    }

    /// What the encoder takes: borrowed from the objects and the frame.
    pub(crate) fn view<'a>(&'a self, py: Python<'a>) -> PyResult<CollectionEvent<'a>> {
        if let Some(payload) = self.backing.payload() {
            return match payload.decode(py)? {
                event @ CollectionEvent::Performance(_) => Ok(event),
                _ => mismatch(),
            };
        }
        Ok(CollectionEvent::Performance(View {
            metric_name: self.metric_name.as_str(py)?,
            value: self.value,
            unit: self.unit.as_str(py)?,
            metadata: self.backing.entries(py)?,
        }))
    }
}

#[pymethods]
impl PerformanceEvent {
    #[new]
    #[pyo3(
        signature = (metric_name, value, unit, metadata = Arg::MISSING),
        text_signature = "(metric_name, value, unit, metadata={})"
    )]
    fn new(
        metric_name: Arg<'_, '_>,
        value: Arg<'_, '_>,
        unit: Arg<'_, '_>,
        metadata: Arg<'_, '_>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let made = Self::build(&[metric_name, value, unit, metadata], Origin::Caller)?;
        Ok(PyClassInitializer::from(Record).add_subclass(made))
    }

    #[classattr]
    #[pyo3(name = "__match_args__")]
    const FIELDS: (&str, &str, &str, &str) = ("metric_name", "value", "unit", "metadata");

    /// What was measured, such as ``cpu``.
    #[getter]
    fn metric_name<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.backing.text(py, &self.metric_name)
    }

    /// The measured value, NaN and infinities included.
    #[getter]
    fn value(&self) -> f64 {
        self.value
    }

    /// Unit of `value`, such as ``ratio``.
    #[getter]
    fn unit<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.backing.text(py, &self.unit)
    }

    /// Anything else that the collector reports, as text keys and values.
    #[getter]
    fn metadata(&self, py: Python<'_>) -> PyResult<Py<FrozenMap>> {
        self.backing.metadata(py)
    }
}
