//! The arguments of a publish, and the message that they become where it never leaves this process.
use daemoneye_eventbus_core::Error;
use daemoneye_eventbus_core::broker::Unfinished;
use daemoneye_eventbus_core::error::TopicError;
use daemoneye_eventbus_core::event::{CollectionEvent, EventKind, Timestamp};
use daemoneye_eventbus_core::lock::Mutex;
use daemoneye_eventbus_core::topic::names::default_topic;
use daemoneye_eventbus_core::wire::Dialect;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyString};
use uuid::Uuid;

use crate::args::{Field, type_name};
use crate::calls;
use crate::events::{self, Correlation, DeliveryInfo, Local};
use crate::fork_safe::ForkSafe;

/// The arguments of a publish, which are checked when it is awaited.
pub(crate) struct PublishRequest {
    pub(crate) item: Publishable,
    pub(crate) correlation: Option<Py<PyAny>>,
    /// Required for `Control`.
    pub(crate) topic: Option<Py<PyAny>>,
}

pub(crate) enum Publishable {
    Event(Py<PyAny>),
    Control(Py<PyAny>),
}

impl Publishable {
    pub(crate) const fn object(&self) -> &Py<PyAny> {
        match self {
            Self::Event(object) | Self::Control(object) => object,
        }
    }
}

impl PublishRequest {
    pub(crate) fn release(self, py: Python<'_>) {
        let (Publishable::Event(object) | Publishable::Control(object)) = self.item;
        object.drop_ref(py);
        if let Some(correlation) = self.correlation {
            correlation.drop_ref(py);
        }
        if let Some(topic) = self.topic {
            topic.drop_ref(py);
        }
    }

    /// The coroutine that waits for room and goes on with `partial`.
    pub(crate) fn slow_path(&self, bus: &Bound<'_, PyAny>, partial: Option<PartialPublish>) -> PyResult<Py<PyAny>> {
        let py = bus.py();
        let (object, control) = match &self.item {
            Publishable::Event(event) => (event, false),
            Publishable::Control(payload) => (payload, true),
        };
        let none = py.None();
        let partial = partial
            .map(|partial| Py::new(py, partial).map(Py::into_any))
            .transpose()?;
        let or_none = |given: &Option<Py<PyAny>>| given.as_ref().unwrap_or(&none).bind(py).clone();
        let slow = calls::method(
            intern!(py, "_publish_slow"),
            [
                bus,
                object.bind(py),
                &or_none(&self.correlation),
                &or_none(&self.topic),
                &PyBool::new(py, control),
                &or_none(&partial),
            ],
            None,
        )?;
        Ok(slow.unbind())
    }
}

/// A message in an in-process queue. The queue may drop it under its lock, so all that it holds is of types whose destructors run no Python
/// code: no subclass of `str` or `bytes`.
pub(crate) struct LocalMessage {
    pub(crate) item: Publishable,
    pub(crate) correlation: Correlation,
    pub(crate) id: Uuid,
    pub(crate) topic: Py<PyString>,
    pub(crate) timestamp: Timestamp,
    pub(crate) sequence: u64,
}

impl LocalMessage {
    pub(crate) fn deliver(
        &self,
        py: Python<'_>,
        pattern: &Py<PyString>,
        subscriber_id: &Py<PyString>,
        info: DeliveryInfo,
    ) -> PyResult<Py<PyAny>> {
        let local = Local {
            id: self.id,
            topic: &self.topic,
            correlation: &self.correlation,
            timestamp: self.timestamp,
            sequence: self.sequence,
        };
        match &self.item {
            Publishable::Event(event) => {
                events::bus_event_local(py, &local, event.clone_ref(py), pattern, subscriber_id, info)
            }
            Publishable::Control(payload) => {
                let payload = Field("publish_control", "payload").bytes(payload.bind_borrowed(py))?;
                events::control_message_local(py, &local, payload, info)
            }
        }
    }
}

/// An in-process publish that some readers had no room for yet.
#[pyclass(frozen, module = "daemoneye_eventbus._native")]
pub(crate) struct PartialPublish {
    pub(crate) unfinished: Mutex<Option<ForkSafe<Unfinished>>>,
}

impl PartialPublish {
    pub(crate) fn new(unfinished: Unfinished) -> Self {
        Self {
            unfinished: Mutex::new(Some(ForkSafe::new(unfinished))),
        }
    }
}

#[pymethods]
impl PartialPublish {
    /// Seconds until readers that take nothing are no longer waited for; resume then at the latest.
    #[getter]
    fn stalls_in(&self) -> f64 {
        let unfinished = self.unfinished.lock();
        let at = unfinished
            .as_ref()
            .and_then(ForkSafe::try_get)
            .map(Unfinished::stalls_at);
        at.map_or(0.0, |at| {
            at.saturating_duration_since(std::time::Instant::now()).as_secs_f64()
        })
    }

    /// Ends the wait for those readers; a call, since a traceback may keep this object alive for long. True if other readers have the
    /// message, which then counts as published.
    fn give_up(&self) -> bool {
        let unfinished = self.unfinished.lock().take();
        unfinished
            .and_then(ForkSafe::into_inner)
            .is_some_and(Unfinished::give_up)
    }
}

/// What one attempt came to.
pub(crate) enum PublishOutcome {
    Accepted,
    Full(Option<PartialPublish>),
}

pub(crate) fn control_payload<'a>(object: &'a Bound<'_, PyAny>) -> PyResult<&'a [u8]> {
    let bytes = object.cast::<PyBytes>().map_err(|_| {
        PyTypeError::new_err(format!(
            "publish_control.payload: expected bytes, got {}",
            type_name(object)
        ))
    })?;
    Ok(bytes.as_bytes())
}

/// The payload as `bytes` whose destructor runs no Python code.
pub(crate) fn exact_payload(payload: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let bytes = Field("publish_control", "payload").bytes(payload.as_borrowed())?;
    Ok(bytes.into_any())
}

/// The trigger request that a control payload decodes as; otherwise the payload.
pub(crate) fn trigger_in(payload: &Bound<'_, PyAny>, dialect: Dialect) -> PyResult<Publishable> {
    let bytes = control_payload(payload)?;
    let decoded: Result<CollectionEvent<'_>, _> = dialect.decode(bytes);
    Ok(match decoded {
        Ok(event) if event.kind() == EventKind::Trigger => {
            Publishable::Event(events::decode_event(payload.py(), bytes, dialect)?)
        }
        _ => Publishable::Control(exact_payload(payload)?),
    })
}

pub(crate) fn topic_text<'a>(topic: &'a Bound<'_, PyAny>) -> PyResult<&'a str> {
    let text = topic
        .cast::<PyString>()
        .map_err(|_| PyTypeError::new_err(format!("publish.topic: expected str, got {}", type_name(topic))))?;
    text.to_str().map_err(|_| {
        let error = TopicError {
            topic: text.to_string_lossy().into_owned(),
            kind: "Invalid topic format: not Unicode".to_owned(),
        };
        crate::errors::to_py(topic.py(), Error::Topic(error))
    })
}

/// An event's own topic, made once.
pub(crate) fn default_topic_text(py: Python<'_>, kind: EventKind) -> Py<PyString> {
    static TEXTS: PyOnceLock<[Py<PyString>; 5]> = PyOnceLock::new();
    let texts = TEXTS.get_or_init(py, || {
        EventKind::ALL.map(|kind| PyString::new(py, default_topic(kind)).unbind())
    });
    texts.get(kind as usize).map_or_else(
        || PyString::new(py, default_topic(kind)).unbind(),
        |text| text.clone_ref(py),
    )
}
