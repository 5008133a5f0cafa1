//! The arguments of a publish, and the message that they become where it never leaves this process.
use daemoneye_eventbus_core::Error;
use daemoneye_eventbus_core::broker::PendingPublish;
use daemoneye_eventbus_core::error::TopicError;
use daemoneye_eventbus_core::event::{CollectionEvent, EventKind, Timestamp};
use daemoneye_eventbus_core::own_thread;
use daemoneye_eventbus_core::topic::names::default_topic;
use daemoneye_eventbus_core::wire::Dialect;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyString};
use uuid::Uuid;

use crate::args::Field;
use crate::calls;
use crate::deferred_drops;
use crate::events::{self, Correlation, DeliveryInfo, Local};
use crate::publish_progress::PublishProgress;

const PAYLOAD: Field = PublishCall::Control.field("payload");

/// What was called, for errors to name. As wide as its neighbours: a narrower one has the compiler move it, and what an enum around it
/// notes in it, byte by byte, and the processor wait for those.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum PublishCall {
    Publish,
    Nowait,
    Many,
    Control,
}

impl PublishCall {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Nowait => "publish_nowait",
            Self::Many => "publish_many",
            Self::Control => "publish_control",
        }
    }

    /// That of this name, which Python's half has from here.
    pub(crate) fn named(name: &str) -> PyResult<Self> {
        let all = [Self::Publish, Self::Nowait, Self::Many, Self::Control];
        let found = all.into_iter().find(|call| call.name() == name);
        found.ok_or_else(|| PyValueError::new_err(format!("{name} publishes nothing")))
    }

    /// One of its arguments.
    pub(crate) const fn field(self, name: &'static str) -> Field {
        Field(self.name(), name)
    }

    /// The argument that has the event.
    pub(crate) const fn event_field(self) -> Field {
        self.field(if matches!(self, Self::Many) { "events" } else { "event" })
    }

    pub(crate) const fn is_control(self) -> bool {
        matches!(self, Self::Control)
    }
}

/// The arguments of a publish, which are checked when it is awaited.
pub(crate) struct PublishRequest {
    pub(crate) call: PublishCall,
    /// An event, or a payload for `Control`.
    pub(crate) object: Py<PyAny>,
    pub(crate) correlation: Option<Py<PyAny>>,
    /// Required for `Control`.
    pub(crate) topic: Option<Py<PyAny>>,
}

impl PublishRequest {
    pub(crate) const fn correlation_field(&self) -> Field {
        self.call.field("correlation")
    }

    pub(crate) fn release(self, py: Python<'_>) {
        self.object.drop_ref(py);
        if let Some(correlation) = self.correlation {
            correlation.drop_ref(py);
        }
        if let Some(topic) = self.topic {
            topic.drop_ref(py);
        }
    }

    /// The coroutine that waits for room and goes on with what is left.
    pub(crate) fn slow_path(&self, bus: &Bound<'_, PyAny>, pending: Option<PendingPublish>) -> PyResult<Py<PyAny>> {
        let py = bus.py();
        let none = py.None();
        let progress = Bound::new(py, PublishProgress::waiting_with(pending))?;
        let or_none = |given: &Option<Py<PyAny>>| given.as_ref().unwrap_or(&none).bind(py).clone();
        let slow = calls::method(
            intern!(py, "_publish_slow"),
            [
                bus,
                self.object.bind(py),
                &or_none(&self.correlation),
                &or_none(&self.topic),
                &PyString::intern(py, self.call.name()),
                &progress,
            ],
            None,
        )?;
        Ok(slow.unbind())
    }
}

/// What readers in this process get.
pub(crate) enum Publishable {
    Event(Py<PyAny>),
    Control(Py<PyAny>),
}

/// A message in an in-process queue, which any thread may drop.
pub(crate) struct LocalMessage(Option<LocalContents>);

/// The queue may drop it under its lock, so all that it holds is of types whose destructors run no Python code: no subclass of `str` or
/// `bytes`.
pub(crate) struct LocalContents {
    pub(crate) item: Publishable,
    pub(crate) correlation: Correlation,
    pub(crate) id: Uuid,
    pub(crate) topic: Py<PyString>,
    pub(crate) timestamp: Timestamp,
    pub(crate) sequence: u64,
}

impl LocalMessage {
    #[inline]
    pub(crate) const fn new(contents: LocalContents) -> Self {
        Self(Some(contents))
    }

    /// There until it is dropped.
    pub(crate) const fn contents(&self) -> Option<&LocalContents> {
        self.0.as_ref()
    }
}

impl Drop for LocalMessage {
    #[inline]
    fn drop(&mut self) {
        // Only our own threads come here without the interpreter.
        if own_thread::is_current()
            && let Some(contents) = self.0.take()
        {
            deferred_drops::defer(contents.into_objects());
        }
    }
}

impl LocalContents {
    /// All of Python's objects in it.
    fn into_objects(self) -> [Option<Py<PyAny>>; 3] {
        let Self {
            item: Publishable::Event(item) | Publishable::Control(item),
            correlation,
            id: _,
            topic,
            timestamp: _,
            sequence: _,
        } = self;
        [Some(item), Some(topic.into_any()), correlation.into_object()]
    }

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
                let payload = PAYLOAD.bytes(payload.bind_borrowed(py))?;
                events::control_message_local(py, &local, payload, info)
            }
        }
    }
}

/// What one attempt came to.
pub(crate) enum PublishOutcome {
    Accepted,
    /// Accepted, but a signal handler raised before the loop was asked to do its part.
    Interrupted(PyErr),
    /// There is no room, at least for some readers: those of what is left.
    Full(Option<PendingPublish>),
}

pub(crate) fn control_payload<'a>(object: &'a Bound<'_, PyAny>) -> PyResult<&'a [u8]> {
    let bytes = object.cast::<PyBytes>();
    Ok(bytes.map_err(|_| PAYLOAD.type_error("bytes", object))?.as_bytes())
}

/// The payload as `bytes` whose destructor runs no Python code.
pub(crate) fn exact_payload(payload: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    Ok(PAYLOAD.bytes(payload.as_borrowed())?.into_any())
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

pub(crate) fn topic_text<'a>(topic: &'a Bound<'_, PyAny>, call: PublishCall) -> PyResult<&'a str> {
    let text = topic
        .cast::<PyString>()
        .map_err(|_| call.field("topic").type_error("str", topic))?;
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
