//! Topics, patterns, and which patterns a topic meets.

mod cache;
mod matcher;
mod name;
pub mod names;
mod pattern;

pub use cache::Cache;
pub use matcher::Matcher;
pub use name::{Domain, MAX_TOPIC_BYTES, check};
pub use pattern::Pattern;

pub const DEFAULT_MAX_DEPTH: usize = 8;
