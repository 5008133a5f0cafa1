//! The DaemonEye event bus without Python: broker, client, routing and wire.
//!
//! Read the modules in this order; each imports only from those before it:
//!
//! * `shown`: what others wrote, fit for a terminal
//! * [`error`]: one enum, every kind with its facts
//! * [`lock`]: the one lock, which a panic of its holder leaves usable
//! * [`forked`]: what a forked child begins anew with
//! * `log`: lines that a flood must not multiply
//! * `growth`: growing what others choose the size of
//! * `limits`: what a setting may be
//! * [`event`]: what travels: the five events, correlation, what subscribers ask for
//! * [`topic`]: topics, patterns, and the trie that matches them
//! * [`wire`]: frames, control texts and dialects: bytes to values and back
//! * [`filter`]: which of the matching messages a subscription takes
//! * [`transport`]: local sockets: bytes in, bytes out, and who is there
//! * [`queue`]: the bounded, accounted queue in front of every reader
//! * `headroom`: memory that is left alone
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
pub mod queue;
mod shown;
pub mod topic;
pub mod transport;
pub mod wire;

pub use error::{Error, Result};
