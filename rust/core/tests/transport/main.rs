//! The transport on real sockets in temporary directories. The numbers in the test names are those of the fault catalogue.
//! What needs another uid runs where the tests run as root, and says so elsewhere.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml frees test functions only, not what they call"
)]

mod fork;
mod given;
mod helper;
mod lock;
mod paths;
mod start;
mod stream;
mod support;
