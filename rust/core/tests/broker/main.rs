//! The broker over real sockets, spoken to in raw bytes: what a client written against the protocol alone would see.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml frees test functions only, not what they call"
)]

mod delivery;
mod flow;
mod gathered;
mod handshake;
mod held_back;
mod in_turn;
mod life;
mod limits;
mod local;
mod memory_bounds;
mod original;
mod rights;
mod support;
mod waiting;
mod watching;
