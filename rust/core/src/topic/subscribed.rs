//! What a subscription subscribes to.
use super::{Pattern, names};
use crate::error::{Error, PatternError, Result};
use crate::event::EventSubscription;

/// The patterns of `asked`: its own, or without any those of its capabilities; each once. The same at client and broker.
pub fn of_subscription(asked: &EventSubscription, max_depth: usize) -> Result<Vec<Pattern>> {
    let texts: Vec<String> = match &asked.topic_patterns {
        Some(patterns) => patterns.iter().map(|text| text.to_string()).collect(),
        None => asked
            .capabilities
            .event_types
            .iter()
            .map(|kind| names::capability_pattern(kind))
            .collect(),
    };
    if texts.is_empty() {
        return Err(Error::SubscriptionRefused {
            reason: "neither topic_patterns nor capabilities.event_types say what to subscribe to".to_owned(),
            limit: 0,
        });
    }
    let mut patterns: Vec<Pattern> = Vec::with_capacity(texts.len());
    for text in texts {
        let pattern = Pattern::parse(&text, max_depth)?;
        if !asked.enable_wildcards && !pattern.is_exact() {
            return Err(Error::Pattern(PatternError {
                pattern: text,
                kind: "Invalid topic format: a wildcard, and enable_wildcards is off".to_owned(),
            }));
        }
        if !patterns.contains(&pattern) {
            patterns.push(pattern);
        }
    }
    Ok(patterns)
}
