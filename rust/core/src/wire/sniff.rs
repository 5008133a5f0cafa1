//! Which dialect a peer speaks that never said so: trial decode, and a look at the clock.
//!
//! The codecs are close relatives, and one now and then takes the other's bytes whole. A message of the other codec whose
//! two times also fall into this century's plausible years was never seen, so that is asked too. A body that reads well and
//! differently in both gets no answer rather than a guess.
use smallvec::SmallVec;

use super::{Dialect, Message};

/// 2020-01-01 to 2096-01-01, in seconds since 1970.
const PLAUSIBLE: std::ops::Range<u64> = 1_577_836_800..3_976_214_400;

/// The dialect of a whole message body: the one in which it decodes whole, with `timestamp` and `created_at` in 2020..2096.
///
/// A body that is the same message in every dialect, which it can only be with times in 1970, is answered with `default`:
/// it was understood, but says nothing about its sender. `None`: in no dialect a plausible message, or in several.
pub fn sniff(body: &[u8], default: Dialect) -> Option<Dialect> {
    let readings: SmallVec<[(Dialect, Message<'_>); 2]> = Dialect::CONNECTIONS
        .iter()
        .filter_map(|dialect| Some((*dialect, dialect.decode(body).ok()?)))
        .collect();
    let mut plausible = readings.iter().filter(|(_, message)| {
        PLAUSIBLE.contains(&message.timestamp.secs) && PLAUSIBLE.contains(&message.correlation_metadata.created_at.secs)
    });
    match (plausible.next(), plausible.next()) {
        (Some((dialect, _)), None) => Some(*dialect),
        (None, _) => {
            let (first, others) = readings.split_first()?;
            let alike = !others.is_empty() && others.iter().all(|(_, message)| *message == first.1);
            alike.then_some(default)
        }
        _ => None,
    }
}
