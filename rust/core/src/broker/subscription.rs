//! From what a subscriber asks for to what the router keeps: the same checks for remote and local subscribers.

use std::sync::Arc;

use super::config::BrokerConfig;
use super::router::Interest;
use crate::error::{Error, PatternError, Result};
use crate::event::{EventSubscription, Filters};
use crate::topic::{Pattern, names};

/// Checks a subscription of a client that has `held` patterns already.
pub(super) fn compile(config: &BrokerConfig, asked: &EventSubscription, held: usize) -> Result<Interest> {
    let mut patterns = Vec::new();
    let mut add = |text: &str| {
        if held + patterns.len() >= config.max_patterns_per_client {
            return Err(Error::SubscriptionRefused {
                reason: format!(
                    "a client may subscribe {} patterns and this would be one more; close subscriptions, or raise max_patterns_per_client",
                    config.max_patterns_per_client
                ),
                limit: config.max_patterns_per_client as u64,
            });
        }
        patterns.push(parse(config, asked, text)?);
        Ok(())
    };
    let named = asked.topic_patterns.as_deref().unwrap_or_default();
    for text in named {
        add(text)?;
    }
    if named.is_empty() {
        for event_type in &asked.capabilities.event_types {
            add(&names::capability_pattern(event_type))?;
        }
    }
    if patterns.is_empty() {
        return Err(Error::SubscriptionRefused {
            reason: "neither topic_patterns nor event types in capabilities; name at least one".to_owned(),
            limit: 0,
        });
    }
    let filters = Filters::compile(
        asked.event_filter.as_ref(),
        asked.correlation_filter.as_ref(),
        config.max_filter_terms,
        config.max_topic_depth,
    )?;
    Ok(Interest {
        patterns,
        filters: filters.map(Arc::new),
        include_control: asked.include_control,
    })
}

fn parse(config: &BrokerConfig, asked: &EventSubscription, text: &str) -> Result<Pattern> {
    let pattern = Pattern::parse(text, config.max_topic_depth)?;
    // Patterns made from capabilities have wildcards by their nature.
    if !asked.enable_wildcards && asked.topic_patterns.is_some() && !pattern.is_exact() {
        return Err(PatternError {
            pattern: text.chars().take(64).collect(),
            kind: "wildcards are turned off by enable_wildcards=false; name the topic, or turn them on".to_owned(),
        }
        .into());
    }
    Ok(pattern)
}
