//! Wall-clock time on the wire: seconds and nanoseconds since 1970, as the original's `SystemTime`.
//!
//! What is written decodes to the same value: a time that a reader would refuse or change is refused here first.

use serde::de::{Deserializer, Error as _};
use serde::ser::{Error as _, SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};

const NANOS_PER_SEC: u32 = 1_000_000_000;
const MAX_SECS: u64 = i64::MAX.unsigned_abs();

/// Times before 1970 cannot be written, as in the original. Decoding carries whole seconds out of `nanos`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Timestamp {
    /// Whole seconds since 1970, below 2^63.
    pub secs: u64,
    /// Nanoseconds of the second, below 1,000,000,000.
    pub nanos: u32,
}

impl Serialize for Timestamp {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.is_writable() {
            return Err(S::Error::custom(
                "timestamp out of range: nanos must be below 1,000,000,000 and secs below 2^63",
            ));
        }
        let mut fields = serializer.serialize_struct("Timestamp", 2)?;
        fields.serialize_field("secs", &self.secs)?;
        fields.serialize_field("nanos", &self.nanos)?;
        fields.end()
    }
}

#[derive(Deserialize)]
struct Raw {
    /// Checked at once, so that the error stands where the seconds are.
    #[serde(deserialize_with = "seconds")]
    secs: u64,
    nanos: u32,
}

const OUT_OF_RANGE: &str = "seconds beyond the clock's range";

#[inline]
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match u64::deserialize(deserializer)? {
        secs if secs <= MAX_SECS => Ok(secs),
        _ => Err(D::Error::custom(OUT_OF_RANGE)),
    }
}

impl TryFrom<Raw> for Timestamp {
    type Error = &'static str;

    #[inline]
    fn try_from(raw: Raw) -> Result<Self, Self::Error> {
        let secs = raw
            .secs
            .checked_add(u64::from(raw.nanos / NANOS_PER_SEC))
            .filter(|secs| *secs <= MAX_SECS)
            .ok_or(OUT_OF_RANGE)?;
        Ok(Self {
            secs,
            nanos: raw.nanos % NANOS_PER_SEC,
        })
    }
}

impl Timestamp {
    /// Whether a reader would take it as it is.
    #[inline]
    pub(crate) const fn is_writable(self) -> bool {
        self.nanos < NANOS_PER_SEC && self.secs <= MAX_SECS
    }

    pub fn now() -> Self {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            secs: since.as_secs(),
            nanos: since.subsec_nanos(),
        }
    }

    /// The time from `earlier` to this; `None` if that is the later one.
    #[inline]
    pub fn since(self, earlier: Self) -> Option<std::time::Duration> {
        let duration = |time: Self| {
            std::time::Duration::from_secs(time.secs).checked_add(std::time::Duration::from_nanos(time.nanos.into()))
        };
        duration(self)?.checked_sub(duration(earlier)?)
    }
}
