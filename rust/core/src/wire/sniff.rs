//! Which dialect a peer speaks that never said so: trial decode, and a look at the clock.
//!
//! The codecs are close relatives, and one now and then takes the other's bytes whole. A message of the other codec whose
//! two times also fall into this century's plausible years was never seen, so that is asked too. A body that reads well and
//! differently in both gets no answer rather than a guess.
use smallvec::SmallVec;

use super::{Dialect, Message};

/// 2020-01-01 to 2096-01-01, in seconds since 1970.
const PLAUSIBLE: std::ops::Range<u64> = 1_577_836_800..3_976_214_400;

/// What a whole message body says about its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It decodes whole in this dialect, with `timestamp` and `created_at` in 2020..2096, and so in no other.
    Speaks(Dialect),
    /// The same message in every dialect, which it can only be with times in 1970: understood, but it says nothing.
    Alike,
}

/// `None`: in no dialect a plausible message, or in several.
pub fn verdict(body: &[u8]) -> Option<Verdict> {
    let readings: SmallVec<[(Dialect, Message<'_>); 2]> = Dialect::CONNECTIONS
        .iter()
        .filter_map(|dialect| Some((*dialect, dialect.decode(body).ok()?)))
        .collect();
    let mut plausible = readings.iter().filter(|(_, message)| {
        PLAUSIBLE.contains(&message.timestamp.secs) && PLAUSIBLE.contains(&message.correlation_metadata.created_at.secs)
    });
    match (plausible.next(), plausible.next()) {
        (Some((dialect, _)), None) => Some(Verdict::Speaks(*dialect)),
        (None, _) => {
            let (first, others) = readings.split_first()?;
            let alike = !others.is_empty() && others.iter().all(|(_, message)| *message == first.1);
            alike.then_some(Verdict::Alike)
        }
        _ => None,
    }
}

/// The dialect of a whole message body; one that is alike in all is answered with `default`.
pub fn sniff(body: &[u8], default: Dialect) -> Option<Dialect> {
    learn(&mut None, body, default)
}

/// As [`sniff`], for a peer that keeps to one dialect: `known` is set once a body has shown which.
pub fn learn(known: &mut Option<Dialect>, body: &[u8], default: Dialect) -> Option<Dialect> {
    if known.is_none() {
        match verdict(body)? {
            Verdict::Speaks(dialect) => *known = Some(dialect),
            Verdict::Alike => return Some(default),
        }
    }
    *known
}
