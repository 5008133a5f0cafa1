//! Bytes to values and back: frames, control texts, messages, dialects.

pub mod auth;
pub mod dialect;
mod envelope;
pub mod frame;
mod message;
pub mod text;

pub use dialect::Dialect;
pub use message::{Draft, Message, MessageType, Payload, Refusal, Summary, check, encoded_len, read, write};
