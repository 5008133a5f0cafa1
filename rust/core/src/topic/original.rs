//! What the original's programs take for topics and patterns: fewer domains, fewer segments, one wildcard fewer.
//!
//! A topic beyond that is an error to its client, so such a peer is never sent one.
use super::Pattern;
use super::name::excerpt;
use crate::error::PatternError;

/// Segments of the longest topic that the original reads.
const MAX_DEPTH: usize = 5;

/// Whether the original accepts `topic`, which [`check`](super::check) accepts.
pub fn accepts(topic: &str) -> bool {
    !topic.starts_with("health") && topic.split('.').count() <= MAX_DEPTH
}

/// A pattern of the original's own grammar: `+` one segment, a last `#` zero or more. `max_depth` is the broker's, if that is lower.
pub fn pattern(text: &str, max_depth: usize) -> Result<Pattern, PatternError> {
    let refused = |kind: &str| PatternError {
        pattern: excerpt(text),
        kind: kind.to_owned(),
    };
    if text.split('.').any(|segment| segment == "*") {
        return Err(refused(
            "Invalid topic format: * is no wildcard of the original; use + for one segment, or # at the end for any number",
        ));
    }
    let pattern = Pattern::parse(text, max_depth.min(MAX_DEPTH))?;
    if text.split('.').next() == Some("health") {
        return Err(refused(
            "Unknown topic domain: health; the original knows events and control",
        ));
    }
    Ok(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_the_original() {
        for good in [
            "events.#",
            "events.process.+",
            "control.#",
            "#",
            "+.process.new",
            "events.+.#",
        ] {
            assert!(pattern(good, 8).is_ok(), "{good}");
        }
        for (bad, kind) in [
            ("events.*", "no wildcard"),
            ("events.*.new", "no wildcard"),
            ("health.#", "health"),
            ("events.#.x", "at the end"),
            ("a.b", "Unknown topic domain"),
            ("events.a.b.c.d.e", "too deep: 6 levels (max 5)"),
            ("", "empty"),
        ] {
            let refused = pattern(bad, 8).unwrap_err();
            assert!(refused.kind.contains(kind), "{bad}: {refused}");
        }
        let refused = pattern("events.a.b.c", 3).unwrap_err();
        assert!(refused.kind.contains("4 levels (max 3)"), "{refused}");
    }

    #[test]
    fn topics_are_those_of_the_original() {
        for topic in ["events", "events.process.new", "control.a.b.c.d", "events.health"] {
            assert!(accepts(topic), "{topic}");
        }
        for topic in ["health", "health.x", "events.a.b.c.d.e"] {
            assert!(!accepts(topic), "{topic}");
        }
    }
}
