//! What travels on the bus: one Rust definition per wire type, from which every dialect follows by serde.
//!
//! The types of the hot path are *views*: they borrow their text and bytes from the frame they were decoded from (or
//! from the caller's objects they are encoded from), so neither direction copies or allocates, and a forged length can
//! only fail. Their parameters decide what decoding costs: of the map, `M`, [`Map`] collects the entries, [`Walk`] checks
//! and forgets them; a text, `T`, is a `str`, or [`Utf8`] of which only the place is wanted. Types off the hot path own their text
//! ([`Text`]). Field order is wire order (`docs/wire.md`).

mod correlation;
mod events;
mod filter;
pub mod map;
mod subscription;
mod text;
mod timestamp;

pub use correlation::CorrelationMetadata;
pub use events::{
    CollectionEvent, EventKind, FilesystemEvent, NetworkEvent, PerformanceEvent, ProcessEvent, TriggerRequest,
};
pub use filter::{CorrelationFilter, EventFilter};
pub use map::{Map, Walk};
pub use subscription::{EventBusStatistics, EventSubscription, SourceCaps};
pub use text::{Text, TextMap, Utf8};
pub use timestamp::Timestamp;
