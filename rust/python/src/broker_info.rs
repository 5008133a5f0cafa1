//! A broker's totals and clients as the fields of `BrokerStatistics` and `ClientInfo`, the same for its own process and for others.
use std::collections::BTreeMap;

use daemoneye_eventbus_core::event::EventBusStatistics;
use daemoneye_eventbus_core::wire::text::{Client, Detail, Page};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};

fn counts<'py>(py: Python<'py>, counts: BTreeMap<String, u64>) -> PyResult<Bound<'py, PyDict>> {
    counts.into_py_dict(py)
}

pub(crate) fn totals_to_py(py: Python<'_>, five: &EventBusStatistics, detail: &Detail) -> PyResult<Py<PyAny>> {
    let all = PyDict::new(py);
    all.set_item("messages_published", five.messages_published)?;
    all.set_item("messages_delivered", five.messages_delivered)?;
    all.set_item("active_subscribers", five.active_subscribers)?;
    all.set_item("active_topics", five.active_topics)?;
    all.set_item("uptime_seconds", five.uptime_seconds)?;
    all.set_item("dropped", counts(py, detail.dropped.clone())?)?;
    all.set_item("refused", counts(py, detail.refused.clone())?)?;
    all.set_item("refused_uids", counts(py, detail.refused_uids.clone())?)?;
    all.set_item("connections", detail.connections)?;
    all.set_item("queued_messages", detail.queued_messages)?;
    all.set_item("queued_bytes", detail.queued_bytes)?;
    all.set_item("unfinished_bytes", detail.unfinished_bytes)?;
    Ok(all.into_any().unbind())
}

pub(crate) fn client_to_py(py: Python<'_>, client: Client) -> PyResult<Bound<'_, PyDict>> {
    let one = PyDict::new(py);
    one.set_item("id", client.id.to_string())?;
    one.set_item("name", client.name)?;
    one.set_item("uid", client.uid)?;
    one.set_item("pid", client.pid)?;
    one.set_item("dialect", client.dialect)?;
    one.set_item("peer", client.peer)?;
    one.set_item("subscriptions", client.subscriptions)?;
    one.set_item("queued_messages", client.queued_messages)?;
    one.set_item("queued_bytes", client.queued_bytes)?;
    one.set_item("delivered", client.delivered)?;
    one.set_item("dropped", counts(py, client.dropped)?)?;
    one.set_item("published", client.published)?;
    Ok(one)
}

/// The clients, and whether there are more.
pub(crate) fn page_to_py(py: Python<'_>, page: Page) -> PyResult<Py<PyAny>> {
    let clients: Vec<_> = page
        .clients
        .into_iter()
        .map(|client| client_to_py(py, client))
        .collect::<PyResult<_>>()?;
    Ok((clients, page.more).into_pyobject(py)?.into_any().unbind())
}
