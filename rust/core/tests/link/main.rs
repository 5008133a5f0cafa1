//! Links, through whatever connects processes here: a socket, or a pipe.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml frees test functions only, not what they call"
)]

mod awaiting;
mod blocked_host;
mod final_frames;
mod impossible_numbers;
mod keep_alive;
mod large_messages;
mod native;
mod original;
mod proof;
mod reconnecting;
mod send_buffer;
mod support;
mod unanswered;
