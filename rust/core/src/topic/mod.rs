//! Topics, patterns, and which patterns match a topic.
//!
//! A topic is checked once, where it enters; a pattern is checked when it is made. [`Matcher`] finds the patterns that
//! match a topic, [`Cache`] remembers them until the patterns change.

mod cache;
pub(crate) mod cover;
mod last_topic;
mod matcher;
mod name;
pub mod names;
pub mod original;
mod pattern;
mod subscription;
#[cfg(test)]
mod tests;

pub use cache::Cache;
pub use last_topic::{LastTopic, TopicCheck};
pub use matcher::Matcher;
pub(crate) use name::excerpt;
pub use name::{Domain, MAX_TOPIC_BYTES, check};
pub use pattern::Pattern;
pub use subscription::subscription_patterns;

/// Segments that a topic or pattern may have unless a broker is set to another number.
pub const DEFAULT_MAX_DEPTH: usize = 8;
