//! `daemoneye_eventbus._native`: converts between Python's objects and the core's types, and connects the core to asyncio. What a bus does
//! is decided in the core, or in Python where a call has to wait.
//!
//! Model: a native step runs on the caller's thread, takes what it can without waiting, and says when it could not. Threads of the core
//! never attach to Python: they wake a loop, which then takes what there is.
//!
//! Where to look:
//!
//! * what users hold: [`bus`], [`subscription`] and [`timestamp_core`] (native bases of `EventBus`, `Subscription` and `Timestamp`),
//!   [`events`], [`mapping`], [`timestamp`], [`topic_pattern`]
//! * from Python to the core: [`args`] (checks of arguments), [`config`], [`types`] (what is off the hot path), [`text`], [`address`],
//!   [`wire`]; and back: [`errors`], [`broker_info`], [`statistics`], [`key_cache`]
//! * a publish: [`publish_request`], then [`publish_progress`] where one step is not enough, [`flush_scheduled`]
//! * awaitables: [`operation`] (one step, then a coroutine), [`second_await`], [`stop_iteration`], [`slots`] (how the interpreter calls us)
//! * waiting and waking: [`waiter`] (a future), [`pending_reply`], [`loop_waker`] (from any thread), [`all_loops`], [`loop_thread`],
//!   [`callback`] (for the loop's next turn)
//! * whose turn it is: [`budget`] (of tasks), [`loop_turns`] (whether the loop has had one), [`publish_line`] (who publishes in the next)
//! * brokers and connections: [`broker`], [`link`] (by a socket), [`local_link`] (in the broker's process), [`source`] (a queue on its
//!   way to its subscription)
//! * ends: [`lifecycle`] (forks, the interpreter's end), [`fork_safe`], [`deferred_drops`], [`saved_exception`], [`calls`] (Python code
//!   that may not come back)
//! * the rest: [`logs`], [`objects`] (the C API), `samples` (for tests of debug builds)
use pyo3::prelude::*;

mod address;
mod all_loops;
mod args;
mod broker;
mod broker_info;
mod budget;
mod bus;
mod callback;
mod calls;
mod config;
mod deferred_drops;
mod errors;
mod events;
mod flush_scheduled;
mod fork_safe;
mod key_cache;
mod lifecycle;
mod link;
mod local_link;
mod logs;
mod loop_thread;
mod loop_turns;
mod loop_waker;
mod mapping;
mod objects;
mod operation;
mod pending_reply;
mod publish_line;
mod publish_progress;
mod publish_request;
#[cfg(debug_assertions)]
mod samples;
mod saved_exception;
mod second_await;
mod slots;
mod source;
mod statistics;
mod stop_iteration;
mod subscription;
mod text;
mod timestamp;
mod timestamp_core;
mod topic_pattern;
mod types;
mod waiter;
mod wire;

// Proven with a GIL only; unsaid, PyO3 tells a free-threaded interpreter that none is needed.
#[pymodule(gil_used = true)]
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
    use super::topic_pattern::{_original_pattern_refusal, _pattern_refusal, _topic_names, TopicPattern};
    #[pymodule_export]
    use super::wire::{_dialects, _token_proof, _token_proved, _wire_decode, _wire_encode, _wire_sniff};

    #[cfg(debug_assertions)]
    #[pymodule_export]
    use super::samples::{_error_samples, _local, _published, _received};

    // For the package's own use (`daemoneye_eventbus._bindings`).
    #[cfg(unix)]
    #[pymodule_export]
    use super::address::_peer_of;
    #[pymodule_export]
    use super::address::Address;
    #[pymodule_export]
    use super::broker::BrokerCore;
    #[pymodule_export]
    use super::bus::BusCore;
    #[pymodule_export]
    use super::lifecycle::{after_fork_in_child, begin_exit, shut_down_clients};
    #[pymodule_export]
    use super::link::Link;
    #[pymodule_export]
    use super::local_link::LocalLink;
    #[pymodule_export]
    use super::logs::{_set_log_level, _take_logs, _wake_for_logs};
    #[pymodule_export]
    use super::loop_waker::LoopWaker;
    #[pymodule_export]
    use super::operation::Operation;
    #[pymodule_export]
    use super::pending_reply::PendingReply;
    #[pymodule_export]
    use super::publish_progress::PublishProgress;
    #[pymodule_export]
    use super::source::Source;
    #[pymodule_export]
    use super::subscription::SubscriptionCore;
    #[pymodule_export]
    use super::timestamp_core::TimestampCore;
    #[pymodule_export]
    use super::waiter::Waiter;

    /// Whether this is a debug build, which says nothing about speed.
    #[pymodule_export]
    const DEBUG_BUILD: bool = cfg!(debug_assertions);

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        lifecycle::refuse_other_interpreters(module.py())?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        // The list that PyO3 keeps names the private functions too; the facade states what is public.
        module.delattr("__all__")?;
        slots::install(module.py())?;
        mapping::register(module.py())
    }
}
