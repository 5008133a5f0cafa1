//! What the broker relays per second, on Unix; see `unix`.

#[cfg(unix)]
#[path = "../support/mod.rs"]
mod support;
#[cfg(unix)]
mod unix;

#[cfg(unix)]
criterion::criterion_main!(unix::relaying);

#[cfg(not(unix))]
fn main() {}
