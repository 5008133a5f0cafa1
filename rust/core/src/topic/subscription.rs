//! The patterns of a subscription.
use hashbrown::HashSet;

use super::{Pattern, excerpt, names};
use crate::error::{Error, PatternError, Result};
use crate::event::{EventKind, EventSubscription};

/// The patterns of `asked`: its own, or without any those of its capabilities; each once. The same at client and broker.
pub fn subscription_patterns(asked: &EventSubscription, max_depth: usize) -> Result<Vec<Pattern>> {
    let named = asked.topic_patterns.as_deref().unwrap_or_default();
    let mut patterns: Vec<Pattern> = Vec::with_capacity(named.len());
    for text in named {
        let pattern = Pattern::parse(text, max_depth)?;
        if !asked.enable_wildcards && !pattern.is_exact() {
            return Err(Error::Pattern(PatternError {
                pattern: pattern.as_str().to_owned(),
                kind: "Invalid topic format: a wildcard, and enable_wildcards is off; name the topic, or turn it on"
                    .to_owned(),
            }));
        }
        patterns.push(pattern);
    }
    if named.is_empty() {
        // These have wildcards by their nature.
        for event_type in &asked.capabilities.event_types {
            add_patterns_of(event_type, max_depth, &mut patterns)?;
        }
    }
    if patterns.is_empty() {
        return Err(Error::SubscriptionRefused {
            reason:
                "neither topic_patterns nor event types in capabilities say what to subscribe to; name at least one"
                    .to_owned(),
            limit: 0,
        });
    }
    let mut seen = HashSet::new();
    patterns.retain(|pattern| seen.insert(pattern.clone()));
    Ok(patterns)
}

/// Adds what an event type in capabilities stands for: the topics named after it and, if that is none of these, its default topic.
fn add_patterns_of(event_type: &str, max_depth: usize, patterns: &mut Vec<Pattern>) -> Result<(), PatternError> {
    let refused = |pattern: &str, why: &str| PatternError {
        pattern: excerpt(pattern),
        kind: format!("capabilities.event_types: {:?}: {why}", excerpt(event_type)),
    };
    let parse = |text: &str| Pattern::parse(text, max_depth).map_err(|error| error.kind);
    let family = names::family(event_type);
    let parsed = parse(&family);
    let Some(kind) = EventKind::from_name(event_type) else {
        let known = EventKind::ALL.map(EventKind::name).join(", ");
        let why = parsed.err().unwrap_or_else(|| "unknown".to_owned());
        let why = format!("{why}; the event types are {known}; name other topics in topic_patterns");
        return Err(refused(&family, &why));
    };
    let parsed = parsed.map_err(|why| refused(&family, &why))?;
    let default = names::default_topic(kind);
    let is_covered = parsed.matches(default);
    patterns.push(parsed);
    if !is_covered {
        patterns.push(parse(default).map_err(|why| refused(default, &why))?);
    }
    Ok(())
}
