//! From what a subscriber asks for to what the router keeps: the same checks for remote and local subscribers, and for those whom
//! the broker itself subscribes.

use std::sync::Arc;

use super::config::BrokerConfig;
use super::router::Interest;
use crate::error::{Error, Result};
use crate::event::EventSubscription;
use crate::filter::Filters;
use crate::topic::{self, Pattern};

/// Checks a subscription of a client that has `held` patterns already.
pub(super) fn compile(config: &BrokerConfig, asked: &EventSubscription, held: usize) -> Result<Interest> {
    let patterns = topic::of_subscription(asked, config.max_topic_depth)?;
    limit(config, held + patterns.len())?;
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

/// The patterns of a peer of the original, who cannot ask for any.
pub(super) fn of_original(config: &BrokerConfig, texts: &[String]) -> Result<Vec<Pattern>> {
    limit(config, texts.len())?;
    let mut patterns = Vec::with_capacity(texts.len());
    for text in texts {
        let pattern = topic::original::pattern(text)?;
        if !patterns.contains(&pattern) {
            patterns.push(pattern);
        }
    }
    Ok(patterns)
}

fn limit(config: &BrokerConfig, patterns: usize) -> Result<()> {
    let most = config.max_patterns_per_client;
    if patterns > most {
        return Err(Error::SubscriptionRefused {
            reason: format!(
                "a client may subscribe {most} patterns and this would make {patterns}; close subscriptions, or raise max_patterns_per_client"
            ),
            limit: most as u64,
        });
    }
    Ok(())
}
