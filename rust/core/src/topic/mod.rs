//! Topics, patterns, and which patterns a topic meets.
//!
//! A topic is checked once, where it enters; a pattern is checked when it is made. [`Matcher`] answers which patterns
//! a topic meets, [`Cache`] remembers the answer until the patterns change.

mod cache;
pub(crate) mod cover;
mod matcher;
mod name;
pub mod names;
mod neighbours;
pub mod original;
mod pattern;
mod subscribed;
#[cfg(test)]
mod tests;

pub use cache::Cache;
pub use matcher::Matcher;
pub(crate) use name::excerpt;
pub use name::{Domain, MAX_TOPIC_BYTES, check};
pub use neighbours::{Checks, Neighbours};
pub use pattern::Pattern;
pub use subscribed::of_subscription;

/// Segments that a topic or pattern may have unless a broker is set to another number.
pub const DEFAULT_MAX_DEPTH: usize = 8;
