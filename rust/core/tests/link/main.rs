//! Links, through whatever connects processes here: a socket, or a pipe.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml frees test functions only, not what they call"
)]

mod last_words;
mod midway;
mod native;
mod numbers;
mod original;
mod still;
mod support;
mod unanswered;
