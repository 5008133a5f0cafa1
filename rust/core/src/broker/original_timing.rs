//! The timing of the original's health checks, which whoever serves its programs keeps to. Tests use shorter times.

use std::time::Duration;

/// When the original checks its connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct OriginalTiming {
    /// It checks at multiples of this, by a clock of its own.
    pub(super) interval: Duration,
    /// How long a check is waited for, half of it before it is due.
    pub(super) quiet_for: Duration,
    /// Within which a token must have been proved: a check, and some.
    pub(super) proof: Duration,
}

impl Default for OriginalTiming {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            quiet_for: Duration::from_secs(1),
            proof: Duration::from_secs(35),
        }
    }
}
