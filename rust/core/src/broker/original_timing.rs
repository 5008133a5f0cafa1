//! The timing of the original's health checks, which whoever serves its programs keeps to. Tests use shorter times.

use std::time::Duration;

/// When the original checks its connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct OriginalTiming {
    /// From one check, or the connect, to the time at which the next may come.
    pub(super) quiet_after: Duration,
    /// How long it is waited for.
    pub(super) quiet_for: Duration,
    /// Within which a token must have been proved: a check, and some.
    pub(super) proof: Duration,
}

impl Default for OriginalTiming {
    fn default() -> Self {
        Self {
            quiet_after: Duration::from_millis(29_500),
            quiet_for: Duration::from_secs(1),
            proof: Duration::from_secs(35),
        }
    }
}
