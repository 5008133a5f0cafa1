//! Debug builds only: messages converted in both directions, for tests that need no socket.
use std::time::Duration;

use daemoneye_eventbus_core::Error;
use daemoneye_eventbus_core::error::{DecodeError, PatternError, TopicError};
use daemoneye_eventbus_core::event::Timestamp;
use daemoneye_eventbus_core::wire::{Dialect, Draft, Payload, check, write};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use uuid::Uuid;

use crate::args::Field;
use crate::errors;
use crate::events::{self, Correlation, DeliveryInfo, Local};
use crate::publish_request::PublishCall;
use crate::text::Frame;

const ID: Uuid = Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
const TIME: Timestamp = Timestamp {
    secs: 1_700_000_000,
    nanos: 123_456_789,
};

/// The body of a frame, as a subscriber would get it.
#[pyfunction]
pub(crate) fn _received(py: Python<'_>, body: &[u8], dropped_before: u64) -> PyResult<Py<PyAny>> {
    let text = |text: &str| PyString::new(py, text).unbind();
    let pattern = text("events.#");
    check(Dialect::Bincode, body, usize::MAX)
        .map_err(|refusal| pyo3::exceptions::PyValueError::new_err(format!("{refusal:?}")))?;
    events::received(
        py,
        Frame {
            body: PyBytes::new(py, body).unbind(),
            dialect: Dialect::Bincode,
        },
        |_| Ok(&pattern),
        &text("s-1"),
        DeliveryInfo {
            dropped_before,
            sender: None,
        },
    )
}

const fn correlation_field() -> Field {
    PublishCall::Publish.field("correlation")
}

/// The body of the frame that a publish would write, with a fixed id and time.
#[pyfunction]
pub(crate) fn _published<'py>(
    what: &Bound<'py, PyAny>,
    correlation: &Bound<'py, PyAny>,
    topic: &str,
    sequence: u64,
) -> PyResult<Bound<'py, PyBytes>> {
    let py = what.py();
    let event = if what.is_instance_of::<PyBytes>() {
        None
    } else {
        Some(events::view_given(what, || PublishCall::Publish.event_field())?)
    };
    let payload = match &event {
        Some(event) => Payload::Event(event),
        None => Payload::Control(what.extract()?),
    };
    let correlation_metadata = events::correlation_view(correlation, TIME, correlation_field)?;
    let draft = Draft {
        id: ID,
        topic,
        correlation_metadata,
        payload,
        sequence,
        timestamp: TIME,
    };
    let mut out = Vec::new();
    let len = errors::raise(py, write(Dialect::Bincode, &draft, 1 << 20, 8, &mut out))?;
    debug_assert_eq!(len, out.len(), "the frame is all that was written");
    Ok(PyBytes::new(py, out.get(4..).unwrap_or_default()))
}

/// The same without the codec, as between a bus and a subscription of one process.
#[pyfunction]
pub(crate) fn _local(
    what: &Bound<'_, PyAny>,
    correlation: &Bound<'_, PyAny>,
    topic: &str,
    sequence: u64,
) -> PyResult<Py<PyAny>> {
    let py = what.py();
    let text = |text: &str| PyString::new(py, text).unbind();
    let topic = text(topic);
    let local = Local {
        id: ID,
        topic: &topic,
        correlation: &Correlation::given(correlation, correlation_field)?,
        timestamp: TIME,
        sequence,
    };
    if let Ok(payload) = what.cast::<PyBytes>() {
        return events::control_message_local(py, &local, payload.clone().unbind(), DeliveryInfo::default());
    }
    events::bus_event_local(
        py,
        &local,
        what.clone().unbind(),
        &text("events.#"),
        &text("s-1"),
        DeliveryInfo::default(),
    )
}

/// Every kind of the core's errors, converted to its exception (debug builds only).
#[pyfunction]
pub(crate) fn _error_samples(py: Python<'_>) -> Vec<Py<PyAny>> {
    let text = || "why".to_owned();
    let path = || std::path::PathBuf::from("/run/bus.sock");
    let errors = vec![
        Error::ConnectionClosed(text()),
        Error::ConnectionLost(text()),
        Error::SubscriptionClosed("s-1".to_owned()),
        Error::ConnectTimeout {
            path: path(),
            timeout: Duration::from_secs(5),
            cause: text(),
            busy: false,
        },
        Error::BrokerBusy(text()),
        Error::BrokerAlreadyRunning {
            path: path(),
            pid: Some(7),
            silent: false,
        },
        Error::PathRefused {
            path: path(),
            reason: text(),
        },
        Error::PermissionRefused {
            uid: 1000,
            reason: text(),
            topic: Some("events.a".to_owned()),
        },
        Error::AuthenticationFailed("it was another token"),
        Error::Protocol(text()),
        Error::Decode(DecodeError {
            dialect: "bincode",
            offset: 3,
            reason: text(),
        }),
        Error::FrameTooLarge { size: 2, limit: 1 },
        Error::Topic(TopicError {
            topic: "a..b".to_owned(),
            kind: text(),
        }),
        Error::Pattern(PatternError {
            pattern: "#.a".to_owned(),
            kind: text(),
        }),
        Error::SubscriptionRefused {
            reason: text(),
            limit: 4,
        },
        Error::PublishTimeout(Duration::from_secs(10)),
        Error::PublishNotSupported(text()),
        Error::WouldBlock("get_nowait"),
        Error::ForkedProcess { owner: 1, current: 2 },
        Error::WrongLoop(text()),
        Error::Invalid {
            field: "path",
            reason: text(),
        },
        Error::Io {
            action: text(),
            cause: text(),
            errno: Some(13),
        },
    ];
    errors
        .into_iter()
        .map(|error| errors::to_py(py, error).into_value(py).into_any())
        .collect()
}
