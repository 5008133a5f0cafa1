//! Bytes to values and back: frames, control texts, messages, dialects.

pub mod auth;
pub mod dialect;
mod envelope;
pub mod frame;
mod message;
pub mod original;
mod sniff;
pub mod text;
mod translate;

pub use dialect::{Dialect, Entries, Outline};
pub use message::{Draft, Message, MessageType, Payload, Refusal, Summary, check, encoded_len, read, write};
pub use sniff::{Verdict, learn, sniff, verdict};
pub use translate::translate;
