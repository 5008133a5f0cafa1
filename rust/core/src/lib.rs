//! The DaemonEye event bus without Python: broker, client, routing and wire.
//!
//! Read the modules in this order; each imports only from those before it:
//!
//! * `printable`: text of others, made safe for a terminal
//! * [`error`]: one enum, every kind with its facts
//! * [`lock`]: a mutex without poisoning
//! * [`forked`]: state that a forked child starts anew
//! * [`own_thread`]: the threads that this crate starts
//! * `log`: rate-limited log lines
//! * `growth`: fallible growth of buffers whose size others choose
//! * `limits`: what a setting may be
//! * [`event`]: what travels: the five events, correlation, what subscribers ask for
//! * [`topic`]: topics, patterns, and the trie that matches them
//! * [`wire`]: frames, control texts and dialects: bytes to values and back
//! * [`filter`]: which of the matching messages a subscription takes
//! * [`transport`]: local sockets: bytes in, bytes out, and who is there
//! * [`queue`]: the bounded, accounted queue in front of every reader
//! * `headroom`: a reserve of memory for what cannot be refused
//! * `cork`: when small writes share one
//! * [`client`]: one connection to a broker
//! * [`broker`]: the listener, its sessions and the router between them

pub mod broker;
pub mod client;
mod cork;
pub mod error;
pub mod event;
pub mod filter;
pub mod forked;
mod growth;
mod headroom;
mod limits;
pub mod lock;
mod log;
pub mod own_thread;
mod printable;
pub mod queue;
pub mod topic;
pub mod transport;
pub mod wire;

pub use error::{Error, Result};
