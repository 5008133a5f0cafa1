//! Wall-clock time on the wire: seconds and nanoseconds since 1970, as the original's `SystemTime`.

use serde::{Deserialize, Serialize};

/// Times before 1970 cannot be written, as in the original. Decoding carries whole seconds out of `nanos`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Timestamp {
    pub secs: u64,
    pub nanos: u32,
}

#[derive(Deserialize)]
struct Raw {
    secs: u64,
    nanos: u32,
}

impl TryFrom<Raw> for Timestamp {
    type Error = &'static str;

    fn try_from(raw: Raw) -> Result<Self, Self::Error> {
        let secs = raw
            .secs
            .checked_add(u64::from(raw.nanos / 1_000_000_000))
            .filter(|secs| i64::try_from(*secs).is_ok())
            .ok_or("seconds beyond the clock's range")?;
        Ok(Self {
            secs,
            nanos: raw.nanos % 1_000_000_000,
        })
    }
}

impl Timestamp {
    pub fn now() -> Self {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            secs: since.as_secs(),
            nanos: since.subsec_nanos(),
        }
    }
}
