//! The transport on real named pipes, and a broker and its client on top of it. Run under Wine by `make windows`.
//!
//! Wine enforces neither access lists nor the first-instance flag: what is asked of the system is read back and compared here, what
//! the system makes of it is not seen.
#![cfg(windows)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml frees test functions only, not what they call"
)]

mod many;
mod processes;
mod start;
mod stream;
mod support;
