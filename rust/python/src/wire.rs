//! `wire.encode` and `wire.decode`: values to bytes and back, for tests, tools and forensics.
//!
//! The facade names the type; the bytes are those of the same codec that the bus uses.
use daemoneye_eventbus_core::error::DecodeError;
use daemoneye_eventbus_core::event::{self as core, CollectionEvent, Map, Timestamp};
use daemoneye_eventbus_core::wire::auth::{Role, Token};
use daemoneye_eventbus_core::wire::{self, Dialect, Message as MessageView};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::args::Field;
use crate::errors::decode_error;
use crate::events::{self, BusEvent, CorrelationMetadata, Message};
use crate::{errors, types};

/// The original's `BusEvent`, which it can encode but never sends.
#[derive(Serialize, Deserialize)]
struct BusEventView<'a> {
    event_id: &'a str,
    #[serde(borrow)]
    event: CollectionEvent<'a>,
    #[serde(borrow)]
    correlation_metadata: core::CorrelationMetadata<'a>,
    bus_timestamp: Timestamp,
    matched_pattern: &'a str,
    subscriber_id: &'a str,
}

fn dialect(name: &str) -> PyResult<Dialect> {
    Dialect::from_name(name).ok_or_else(|| {
        let known = Dialect::names(Dialect::ALL);
        PyValueError::new_err(format!("dialect: must be one of {known}, got {name:?}"))
    })
}

#[cold]
fn unknown(kind: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "{kind} has no encoding; see daemoneye_eventbus.wire for the types that have one"
    ))
}

/// The names of the dialects, the default first.
#[pyfunction]
pub(crate) fn _dialects() -> Vec<&'static str> {
    Dialect::ALL.iter().map(|dialect| dialect.name()).collect()
}

#[pyfunction]
#[pyo3(signature = (kind, value, dialect, /))]
pub(crate) fn _wire_encode<'py>(kind: &str, value: &Bound<'py, PyAny>, dialect: &str) -> PyResult<Bound<'py, PyBytes>> {
    let py = value.py();
    let dialect = self::dialect(dialect)?;
    let mut out = Vec::new();
    let done = match kind {
        "CollectionEvent" => dialect.encode(&events::view(value)?, &mut out),
        "ProcessEvent" | "NetworkEvent" | "FilesystemEvent" | "PerformanceEvent" | "TriggerRequest" => {
            match events::view(value)? {
                CollectionEvent::Process(event) => dialect.encode(&event, &mut out),
                CollectionEvent::Network(event) => dialect.encode(&event, &mut out),
                CollectionEvent::Filesystem(event) => dialect.encode(&event, &mut out),
                CollectionEvent::Performance(event) => dialect.encode(&event, &mut out),
                CollectionEvent::TriggerRequest(event) => dialect.encode(&event, &mut out),
            }
        }
        "CorrelationMetadata" => dialect.encode(&value.cast::<CorrelationMetadata>()?.get().view(py)?, &mut out),
        "Message" => dialect.encode(&value.cast::<Message>()?.get().view(py)?, &mut out),
        "BusEvent" => {
            let event = value.cast::<BusEvent>()?.get();
            let (pattern, subscriber) = event.names();
            let correlation = event.envelope().correlation_metadata(py)?;
            let id = event.envelope().id(py);
            let view = BusEventView {
                event_id: id.to_str()?,
                event: events::view(event.event_object().bind(py))?,
                correlation_metadata: correlation.get().view(py)?,
                bus_timestamp: event.envelope().time,
                matched_pattern: pattern.bind(py).to_str()?,
                subscriber_id: subscriber.bind(py).to_str()?,
            };
            dialect.encode(&view, &mut out)
        }
        "EventSubscription" => dialect.encode_subscription(&types::subscription(value)?, &mut out),
        "SourceCaps" => dialect.encode(&types::source_caps(value)?, &mut out),
        "EventFilter" => dialect.encode(&types::event_filter(value)?, &mut out),
        "CorrelationFilter" => dialect.encode(&types::correlation_filter(value)?, &mut out),
        "EventBusStatistics" => dialect.encode(&types::statistics(value)?, &mut out),
        _ => return Err(unknown(kind)),
    };
    done.map_err(|error| errors::to_py(py, error))?;
    Ok(PyBytes::new(py, &out))
}

#[pyfunction]
#[pyo3(signature = (kind, data, dialect, /))]
pub(crate) fn _wire_decode(py: Python<'_>, kind: &str, data: &Bound<'_, PyAny>, dialect: &str) -> PyResult<Py<PyAny>> {
    let dialect = self::dialect(dialect)?;
    let data = Field("wire.decode", "data").bytes(data.as_borrowed())?;
    let data = data.bind(py).as_bytes();
    match kind {
        "CollectionEvent" => events::decode_event(py, data, dialect),
        "ProcessEvent" => events::object(py, events::ProcessEvent::of_view(py, &decode(py, dialect, data)?)?),
        "NetworkEvent" => events::object(py, events::NetworkEvent::of_view(py, &decode(py, dialect, data)?)?),
        "FilesystemEvent" => events::object(py, events::FilesystemEvent::of_view(py, &decode(py, dialect, data)?)?),
        "PerformanceEvent" => events::object(py, events::PerformanceEvent::of_view(py, &decode(py, dialect, data)?)?),
        "TriggerRequest" => events::object(py, events::TriggerRequest::of_view(py, &decode(py, dialect, data)?)?),
        "CorrelationMetadata" => events::object(py, CorrelationMetadata::of_view(py, &decode(py, dialect, data)?)?),
        "Message" => {
            let view: MessageView<'_, Map<'_>> = decode(py, dialect, data)?;
            events::object(py, Message::of_view(py, &view)?)
        }
        "BusEvent" => decode_bus_event(py, &decode(py, dialect, data)?, dialect),
        "EventSubscription" => {
            let value = dialect
                .decode_subscription(data)
                .map_err(|error| decode_error(py, error))?;
            taken(py, dialect, types::subscription_to_py(py, &value))
        }
        "SourceCaps" => taken(py, dialect, types::source_caps_to_py(py, &owned(py, dialect, data)?)),
        "EventFilter" => taken(py, dialect, types::event_filter_to_py(py, &owned(py, dialect, data)?)),
        "CorrelationFilter" => taken(
            py,
            dialect,
            types::correlation_filter_to_py(py, &owned(py, dialect, data)?),
        ),
        "EventBusStatistics" => taken(py, dialect, types::statistics_to_py(py, &owned(py, dialect, data)?)),
        _ => Err(unknown(kind)),
    }
}

/// The dialect in which a whole message body makes sense, or `None`.
#[pyfunction]
#[pyo3(signature = (body, /))]
pub(crate) fn _wire_sniff(body: &[u8]) -> Option<&'static str> {
    wire::sniff(body, Dialect::Bincode).map(Dialect::name)
}

/// A client's proof of a token, for tools that speak the protocol themselves.
#[pyfunction]
#[pyo3(signature = (token, client_nonce, broker_nonce, /))]
pub(crate) fn _token_proof(token: &[u8], client_nonce: &str, broker_nonce: &str) -> String {
    Token::new(token.to_vec()).proof(Role::Client, client_nonce, broker_nonce)
}

/// Whether a broker's proof of a token holds.
#[pyfunction]
#[pyo3(signature = (token, client_nonce, broker_nonce, proof, /))]
pub(crate) fn _token_proved(token: &[u8], client_nonce: &str, broker_nonce: &str, proof: &str) -> bool {
    Token::new(token.to_vec()).verify(Role::Broker, client_nonce, broker_nonce, proof)
}

fn decode<'a, T: Deserialize<'a>>(py: Python<'_>, dialect: Dialect, data: &'a [u8]) -> PyResult<T> {
    dialect.decode(data).map_err(|error| decode_error(py, error))
}

fn owned<T: DeserializeOwned>(py: Python<'_>, dialect: Dialect, data: &[u8]) -> PyResult<T> {
    decode(py, dialect, data)
}

/// What was decoded, as its constructor has made it: what that refuses is no value of the type.
fn taken(py: Python<'_>, dialect: Dialect, made: PyResult<Py<PyAny>>) -> PyResult<Py<PyAny>> {
    made.map_err(|error| {
        if !error.is_instance_of::<PyValueError>(py) {
            return error;
        }
        let reason = error.value(py).to_string();
        let dialect = dialect.name();
        decode_error(
            py,
            DecodeError {
                dialect,
                offset: 0,
                reason,
            },
        )
    })
}

fn decode_bus_event(py: Python<'_>, view: &BusEventView<'_>, dialect: Dialect) -> PyResult<Py<PyAny>> {
    let mut event = Vec::new();
    dialect
        .encode(&view.event, &mut event)
        .map_err(|error| errors::to_py(py, error))?;
    let text = |text: &str| PyString::new(py, text).unbind();
    let correlation = CorrelationMetadata::of_view(py, &view.correlation_metadata)?.into_object(py)?;
    let made = BusEvent::of_parts(
        py,
        text(view.event_id),
        events::decode_event(py, &event, dialect)?,
        correlation,
        view.bus_timestamp,
        (text(view.matched_pattern), text(view.subscriber_id)),
    );
    Ok(made.into_object(py)?.into_any())
}
