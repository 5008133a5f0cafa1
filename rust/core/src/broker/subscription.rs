//! From what a subscriber asks for to what the router keeps: the same checks for remote and local subscribers, and for those whom
//! the broker itself subscribes.

use std::sync::Arc;

use super::config::BrokerConfig;
use super::router::Interest;
use crate::error::{Error, Result};
use crate::event::EventSubscription;
use crate::filter::Filters;
use crate::topic::{self, Pattern};

/// Of `max_filter_terms`: the terms over all filters of one client. Each may be asked about every message.
const CLIENT_TERMS: usize = 16;
/// Text in all filters of one client. Queues are charged for what they hold; this is what a client can have kept besides.
const CLIENT_FILTER_BYTES: usize = 1024 * 1024;

/// What subscriptions come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) patterns: usize,
    terms: usize,
    bytes: usize,
}

impl Load {
    pub(super) fn of(interest: &Interest) -> Self {
        let filters = interest.filters.as_deref();
        Self {
            patterns: interest.patterns.len(),
            terms: filters.map_or(0, Filters::terms),
            bytes: filters.map_or(0, Filters::bytes),
        }
    }

    fn within(self, config: &BrokerConfig) -> Result<()> {
        limit(config, self.patterns)?;
        let terms = config.max_filter_terms.saturating_mul(CLIENT_TERMS);
        let too_much = [
            (
                self.terms,
                terms,
                "terms",
                "raise max_filter_terms, of which this is 16 times as many",
            ),
            (self.bytes, CLIENT_FILTER_BYTES, "bytes of text", "connect once more"),
        ];
        match too_much.into_iter().find(|(load, most, ..)| load > most) {
            None => Ok(()),
            Some((load, most, what, instead)) => Err(Error::SubscriptionRefused {
                reason: format!(
                    "the filters of one client may have {most} {what} and these would have {load}; close subscriptions, or {instead}"
                ),
                limit: most as u64,
            }),
        }
    }
}

impl std::ops::Add for Load {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            patterns: self.patterns + more.patterns,
            terms: self.terms + more.terms,
            bytes: self.bytes + more.bytes,
        }
    }
}

impl std::iter::Sum for Load {
    fn sum<I: Iterator<Item = Self>>(loads: I) -> Self {
        loads.fold(Self::default(), std::ops::Add::add)
    }
}

/// Checks a subscription of a client that has others already, which come to `held`.
pub(super) fn compile(config: &BrokerConfig, asked: &EventSubscription, held: Load) -> Result<Interest> {
    let patterns = topic::subscription_patterns(asked, config.max_topic_depth)?;
    let filters = Filters::compile(
        asked.event_filter.as_ref(),
        asked.correlation_filter.as_ref(),
        config.max_filter_terms,
        config.max_topic_depth,
    )?;
    let interest = Interest {
        patterns,
        filters: filters.map(Arc::new),
        include_control: asked.include_control,
    };
    (held + Load::of(&interest)).within(config)?;
    Ok(interest)
}

/// The patterns of a peer of the original, who cannot ask for any.
pub(super) fn of_original(config: &BrokerConfig, texts: &[String]) -> Result<Vec<Pattern>> {
    limit(config, texts.len())?;
    let mut patterns = Vec::with_capacity(texts.len());
    for text in texts {
        let pattern = topic::original::pattern(text, config.max_topic_depth)?;
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
