//! `daemoneye_eventbus._native`: conversion and the asyncio border, nothing else. One file per Python class.
use pyo3::prelude::*;

mod args;
mod errors;
mod events;
mod mapping;
mod requests;
#[cfg(debug_assertions)]
mod samples;
mod text;
mod timestamp;
mod topic_pattern;
mod wire;

#[pymodule]
mod _native {
    use super::*;

    // Events and types.
    #[pymodule_export]
    use super::events::{
        _restore, BusEvent, ControlMessage, CorrelationMetadata, FilesystemEvent, Message, NetworkEvent,
        PerformanceEvent, ProcessEvent, Record, TriggerRequest,
    };
    #[pymodule_export]
    use super::mapping::FrozenMap;
    #[pymodule_export]
    use super::topic_pattern::{_topic_build, _topic_names, TopicPattern};
    #[pymodule_export]
    use super::wire::{_dialects, _wire_decode, _wire_encode};

    #[cfg(debug_assertions)]
    #[pymodule_export]
    use super::samples::{_error_samples, _local, _published, _received};

    /// Whether this is a debug build, which says nothing about speed.
    #[pymodule_export]
    const DEBUG_BUILD: bool = cfg!(debug_assertions);

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        // The list that PyO3 keeps names the private functions too; the facade states what is public.
        module.delattr("__all__")?;
        mapping::register(module.py())
    }
}
