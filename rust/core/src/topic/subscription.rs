//! The patterns of a subscription.
use hashbrown::HashSet;

use super::{Pattern, excerpt, names};
use crate::error::{Error, PatternError, Result};
use crate::event::EventSubscription;

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
        for kind in &asked.capabilities.event_types {
            let pattern = Pattern::parse(&names::capability_pattern(kind), max_depth);
            patterns.push(pattern.map_err(|error| PatternError {
                kind: format!("capabilities.event_types: {:?}: {}", excerpt(kind), error.kind),
                pattern: error.pattern,
            })?);
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
