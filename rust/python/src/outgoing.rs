//! What is on its way out of Python: a publish with its arguments, and its form where it never leaves this process.
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
use crate::events::{self, Correlation, Local, Stamp};
use crate::owned::Owned;

/// A publish with its arguments, not looked at before it is awaited.
pub(crate) struct Outgoing {
    pub(crate) what: What,
    pub(crate) correlation: Option<Py<PyAny>>,
    /// Required for `Control`.
    pub(crate) topic: Option<Py<PyAny>>,
}

pub(crate) enum What {
    Event(Py<PyAny>),
    Control(Py<PyAny>),
}

impl What {
    pub(crate) const fn object(&self) -> &Py<PyAny> {
        match self {
            Self::Event(object) | Self::Control(object) => object,
        }
    }
}

impl Outgoing {
    pub(crate) fn release(self, py: Python<'_>) {
        let (What::Event(object) | What::Control(object)) = self.what;
        object.drop_ref(py);
        if let Some(correlation) = self.correlation {
            correlation.drop_ref(py);
        }
        if let Some(topic) = self.topic {
            topic.drop_ref(py);
        }
    }

    /// The coroutine that waits for room and goes on with `rest`.
    pub(crate) fn become_slow(&self, bus: &Bound<'_, PyAny>, rest: Option<Pending>) -> PyResult<Py<PyAny>> {
        let py = bus.py();
        let (object, control) = match &self.what {
            What::Event(event) => (event, false),
            What::Control(payload) => (payload, true),
        };
        let none = py.None();
        let rest = rest.map(|rest| Py::new(py, rest).map(Py::into_any)).transpose()?;
        let or_none = |given: &Option<Py<PyAny>>| given.as_ref().unwrap_or(&none).bind(py).clone();
        let slow = calls::method(
            intern!(py, "_publish_slow"),
            [
                bus,
                object.bind(py),
                &or_none(&self.correlation),
                &or_none(&self.topic),
                &PyBool::new(py, control),
                &or_none(&rest),
            ],
            None,
        )?;
        Ok(slow.unbind())
    }
}

/// A message of this process in an in-process queue, which drops it under its lock: all that it holds is of types that run nobody's
/// code then, so no subclass of a text or of bytes.
pub(crate) struct LocalMessage {
    pub(crate) what: What,
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
        stamp: Stamp,
    ) -> PyResult<Py<PyAny>> {
        let local = Local {
            id: self.id,
            topic: &self.topic,
            correlation: &self.correlation,
            timestamp: self.timestamp,
            sequence: self.sequence,
        };
        match &self.what {
            What::Event(event) => {
                events::bus_event_local(py, &local, event.clone_ref(py), pattern, subscriber_id, stamp)
            }
            What::Control(payload) => {
                let payload = Field("publish_control", "payload").bytes(payload.bind_borrowed(py))?;
                events::control_message_local(py, &local, payload, stamp)
            }
        }
    }
}

/// The readers of an in-process publish that had no room yet.
#[pyclass(frozen, module = "daemoneye_eventbus._native")]
pub(crate) struct Pending {
    pub(crate) waiting: Mutex<Option<Owned<Unfinished>>>,
}

impl Pending {
    pub(crate) fn new(waiting: Unfinished) -> Self {
        Self {
            waiting: Mutex::new(Some(Owned::new(waiting))),
        }
    }
}

#[pymethods]
impl Pending {
    /// Seconds until a reader that takes nothing stops nobody any more; offer again then at the latest.
    #[getter]
    fn stalls_in(&self) -> f64 {
        let waiting = self.waiting.lock();
        let at = waiting.as_ref().and_then(Owned::here).map(Unfinished::stalls_at);
        at.map_or(0.0, |at| {
            at.saturating_duration_since(std::time::Instant::now()).as_secs_f64()
        })
    }

    /// Nobody waits for them any more. A traceback may hold this object for long, so dropping it does not say that in time.
    /// True if other readers have the message, which counts as published then.
    fn give_up(&self) -> bool {
        let waiting = self.waiting.lock().take();
        waiting.and_then(Owned::into_inner).is_some_and(Unfinished::give_up)
    }
}

/// What became of an offer.
pub(crate) enum Offer {
    Taken,
    Full(Option<Pending>),
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

/// The payload as bytes that run nobody's code.
pub(crate) fn plain_payload(payload: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let bytes = Field("publish_control", "payload").bytes(payload.as_borrowed())?;
    Ok(bytes.into_any())
}

/// The trigger request that a control payload is, or the payload.
pub(crate) fn trigger_in(payload: &Bound<'_, PyAny>, dialect: Dialect) -> PyResult<What> {
    let bytes = control_payload(payload)?;
    let decoded: Result<CollectionEvent<'_>, _> = dialect.decode(bytes);
    Ok(match decoded {
        Ok(event) if event.kind() == EventKind::Trigger => {
            What::Event(events::decode_event(payload.py(), bytes, dialect)?)
        }
        _ => What::Control(plain_payload(payload)?),
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
