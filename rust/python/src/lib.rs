//! `daemoneye_eventbus._native`: conversion and the asyncio border, nothing else. One file per Python class.
use pyo3::prelude::*;

mod args;
mod errors;
mod events;
mod mapping;
mod text;
mod timestamp;

#[pymodule]
mod _native {
    use super::*;

    // Events and types.
    #[cfg(debug_assertions)]
    #[pymodule_export]
    use super::errors::samples::_error_samples;
    #[pymodule_export]
    use super::events::{
        _restore, BusEvent, ControlMessage, CorrelationMetadata, FilesystemEvent, NetworkEvent, PerformanceEvent,
        ProcessEvent, Record, TriggerRequest,
    };
    #[pymodule_export]
    use super::mapping::FrozenMap;

    /// Whether this is a debug build, which says nothing about speed.
    #[pymodule_export]
    const DEBUG_BUILD: bool = cfg!(debug_assertions);

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        mapping::register(module.py())
    }
}
