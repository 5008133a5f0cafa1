//! The types off the hot path: dataclasses written in Python (`daemoneye_eventbus._types`) as the core's owned types, and back.
//!
//! Their constructors have checked types and ranges, so what is found here is taken at its word.
use daemoneye_eventbus_core::event::{
    CorrelationFilter, EventBusStatistics, EventFilter, EventSubscription, SourceCaps, Text, TextMap,
};
use daemoneye_eventbus_core::queue::Sender;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyDict, PyMapping, PyModule, PyTuple};

use crate::calls;

fn class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || py.import("daemoneye_eventbus._types").map(Bound::unbind))?;
    module.bind(py).getattr(name)
}

fn make<'py>(py: Python<'py>, name: &str, fields: &Bound<'py, PyDict>) -> PyResult<Py<PyAny>> {
    Ok(calls::call(&class(py, name)?, [], Some(fields))?.unbind())
}

/// Refuses an object that is not of the named dataclass.
fn expect(ob: &Bound<'_, PyAny>, name: &'static str) -> PyResult<()> {
    if ob.is_instance(&class(ob.py(), name)?)? {
        return Ok(());
    }
    Err(crate::args::Field("daemoneye_eventbus", name).type_error(name, ob))
}

fn texts(ob: &Bound<'_, PyAny>, name: &str) -> PyResult<Vec<Text>> {
    let texts: Vec<String> = ob.getattr(name)?.extract()?;
    Ok(texts.into_iter().map(Text).collect())
}

fn text_map(ob: &Bound<'_, PyAny>, name: &str) -> PyResult<TextMap> {
    let copy = PyDict::new(ob.py());
    calls::update(&copy, ob.getattr(name)?.cast::<PyMapping>()?)?;
    let mut entries = Vec::with_capacity(copy.len());
    for (key, value) in &copy {
        entries.push((Text(key.extract()?), Text(value.extract()?)));
    }
    Ok(TextMap(entries))
}

fn optional<T>(
    ob: &Bound<'_, PyAny>,
    name: &str,
    convert: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>,
) -> PyResult<Option<T>> {
    let value = ob.getattr(name)?;
    if value.is_none() {
        Ok(None)
    } else {
        convert(&value).map(Some)
    }
}

fn tuple<'py>(py: Python<'py>, texts: &[Text]) -> PyResult<Bound<'py, PyTuple>> {
    PyTuple::new(py, texts.iter().map(|text| &**text))
}

fn dict<'py>(py: Python<'py>, map: &TextMap) -> PyResult<Bound<'py, PyDict>> {
    map.0.iter().map(|(key, value)| (&**key, &**value)).into_py_dict(py)
}

pub(crate) fn source_caps(ob: &Bound<'_, PyAny>) -> PyResult<SourceCaps> {
    expect(ob, "SourceCaps")?;
    Ok(SourceCaps {
        event_types: texts(ob, "event_types")?,
        collectors: texts(ob, "collectors")?,
        max_priority: ob.getattr("max_priority")?.extract()?,
    })
}

pub(crate) fn source_caps_to_py(py: Python<'_>, caps: &SourceCaps) -> PyResult<Py<PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("event_types", tuple(py, &caps.event_types)?)?;
    fields.set_item("collectors", tuple(py, &caps.collectors)?)?;
    fields.set_item("max_priority", caps.max_priority)?;
    make(py, "SourceCaps", &fields)
}

pub(crate) fn event_filter(ob: &Bound<'_, PyAny>) -> PyResult<EventFilter> {
    expect(ob, "EventFilter")?;
    Ok(EventFilter {
        event_types: texts(ob, "event_types")?,
        pids: ob.getattr("pids")?.extract()?,
        min_priority: ob.getattr("min_priority")?.extract()?,
        metadata_filters: text_map(ob, "metadata_filters")?,
        topic_filters: texts(ob, "topic_filters")?,
        source_collectors: texts(ob, "source_collectors")?,
    })
}

pub(crate) fn event_filter_to_py(py: Python<'_>, filter: &EventFilter) -> PyResult<Py<PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("event_types", tuple(py, &filter.event_types)?)?;
    fields.set_item("pids", PyTuple::new(py, &filter.pids)?)?;
    fields.set_item("min_priority", filter.min_priority)?;
    fields.set_item("metadata_filters", dict(py, &filter.metadata_filters)?)?;
    fields.set_item("topic_filters", tuple(py, &filter.topic_filters)?)?;
    fields.set_item("source_collectors", tuple(py, &filter.source_collectors)?)?;
    make(py, "EventFilter", &fields)
}

pub(crate) fn correlation_filter(ob: &Bound<'_, PyAny>) -> PyResult<CorrelationFilter> {
    expect(ob, "CorrelationFilter")?;
    Ok(CorrelationFilter {
        correlation_ids: texts(ob, "correlation_ids")?,
        correlation_patterns: texts(ob, "correlation_patterns")?,
        parent_correlation_ids: texts(ob, "parent_correlation_ids")?,
        root_correlation_ids: texts(ob, "root_correlation_ids")?,
        workflow_stages: texts(ob, "workflow_stages")?,
        required_tags: text_map(ob, "required_tags")?,
        any_tags: text_map(ob, "any_tags")?,
        min_sequence: ob.getattr("min_sequence")?.extract()?,
        max_sequence: ob.getattr("max_sequence")?.extract()?,
    })
}

pub(crate) fn correlation_filter_to_py(py: Python<'_>, filter: &CorrelationFilter) -> PyResult<Py<PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("correlation_ids", tuple(py, &filter.correlation_ids)?)?;
    fields.set_item("correlation_patterns", tuple(py, &filter.correlation_patterns)?)?;
    fields.set_item("parent_correlation_ids", tuple(py, &filter.parent_correlation_ids)?)?;
    fields.set_item("root_correlation_ids", tuple(py, &filter.root_correlation_ids)?)?;
    fields.set_item("workflow_stages", tuple(py, &filter.workflow_stages)?)?;
    fields.set_item("required_tags", dict(py, &filter.required_tags)?)?;
    fields.set_item("any_tags", dict(py, &filter.any_tags)?)?;
    fields.set_item("min_sequence", filter.min_sequence)?;
    fields.set_item("max_sequence", filter.max_sequence)?;
    make(py, "CorrelationFilter", &fields)
}

pub(crate) fn subscription(ob: &Bound<'_, PyAny>) -> PyResult<EventSubscription> {
    expect(ob, "EventSubscription")?;
    Ok(EventSubscription {
        subscriber_id: Text(ob.getattr("subscriber_id")?.extract()?),
        capabilities: source_caps(&ob.getattr("capabilities")?)?,
        event_filter: optional(ob, "event_filter", event_filter)?,
        correlation_filter: optional(ob, "correlation_filter", correlation_filter)?,
        topic_patterns: optional(ob, "topic_patterns", |_| texts(ob, "topic_patterns"))?,
        enable_wildcards: ob.getattr("enable_wildcards")?.extract()?,
        include_control: ob.getattr("include_control")?.extract()?,
    })
}

pub(crate) fn subscription_to_py(py: Python<'_>, subscription: &EventSubscription) -> PyResult<Py<PyAny>> {
    let filter = subscription.event_filter.as_ref();
    let correlation = subscription.correlation_filter.as_ref();
    let patterns = subscription.topic_patterns.as_ref();
    let fields = PyDict::new(py);
    fields.set_item("subscriber_id", &*subscription.subscriber_id)?;
    fields.set_item("capabilities", source_caps_to_py(py, &subscription.capabilities)?)?;
    fields.set_item(
        "event_filter",
        filter.map(|filter| event_filter_to_py(py, filter)).transpose()?,
    )?;
    fields.set_item(
        "correlation_filter",
        correlation
            .map(|filter| correlation_filter_to_py(py, filter))
            .transpose()?,
    )?;
    fields.set_item(
        "topic_patterns",
        patterns.map(|patterns| tuple(py, patterns)).transpose()?,
    )?;
    fields.set_item("enable_wildcards", subscription.enable_wildcards)?;
    fields.set_item("include_control", subscription.include_control)?;
    make(py, "EventSubscription", &fields)
}

pub(crate) fn sender_to_py(py: Python<'_>, sender: Option<&Sender>) -> PyResult<Option<Py<PyAny>>> {
    let Some(sender) = sender else { return Ok(None) };
    let fields = PyDict::new(py);
    fields.set_item("uid", sender.uid)?;
    fields.set_item("pid", sender.pid)?;
    fields.set_item("client_id", sender.client_id.to_string())?;
    make(py, "Sender", &fields).map(Some)
}

pub(crate) fn statistics(ob: &Bound<'_, PyAny>) -> PyResult<EventBusStatistics> {
    expect(ob, "EventBusStatistics")?;
    Ok(EventBusStatistics {
        messages_published: ob.getattr("messages_published")?.extract()?,
        messages_delivered: ob.getattr("messages_delivered")?.extract()?,
        active_subscribers: ob.getattr("active_subscribers")?.extract()?,
        active_topics: ob.getattr("active_topics")?.extract()?,
        uptime_seconds: ob.getattr("uptime_seconds")?.extract()?,
    })
}

pub(crate) fn statistics_to_py(py: Python<'_>, statistics: &EventBusStatistics) -> PyResult<Py<PyAny>> {
    let fields = [
        ("messages_published", statistics.messages_published),
        ("messages_delivered", statistics.messages_delivered),
        ("active_subscribers", statistics.active_subscribers),
        ("active_topics", statistics.active_topics),
        ("uptime_seconds", statistics.uptime_seconds),
    ];
    make(py, "EventBusStatistics", &fields.into_py_dict(py)?)
}
