//! Filters: which of the matching messages a subscription takes.
//!
//! Empty means no restriction; several restrictions must all hold; within one list any element must; a restriction on
//! something that an event does not have excludes it. Matching is linear in the terms and the message.

mod glob;
mod terms;

pub use glob::{Glob, MAX_GLOB_BYTES};

use self::terms::{Pairs, Words};
use crate::error::{Error, Result};
use crate::event::{CollectionEvent, CorrelationFilter, EventFilter, EventKind, Utf8};
use crate::topic::Pattern;
use crate::wire::{Message, Summary};

/// The metadata key by which an event names its collector.
const COLLECTOR_KEY: &str = "collector";
/// The correlation tag that names the publisher where the event does not.
const SOURCE_TAG: &str = "source_process";

/// A set of event kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KindSet(u8);

impl KindSet {
    const ALL: Self = Self(0b1_1111);
    const NONE: Self = Self(0);

    const fn bit(kind: EventKind) -> u8 {
        match kind {
            EventKind::Process => 1,
            EventKind::Network => 1 << 1,
            EventKind::Filesystem => 1 << 2,
            EventKind::Performance => 1 << 3,
            EventKind::Trigger => 1 << 4,
        }
    }

    #[must_use]
    const fn with(self, kind: EventKind) -> Self {
        Self(self.0 | Self::bit(kind))
    }

    #[must_use]
    const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    #[inline]
    const fn contains(self, kind: EventKind) -> bool {
        self.0 & Self::bit(kind) != 0
    }
}

/// Both filters of one subscription, compiled.
#[derive(Debug, Clone)]
pub struct Filters {
    /// The kinds that can pass at all, by `event_types` and by what `pids`, `min_priority` and `metadata_filters` need;
    /// `None` if a message without event may pass too.
    kinds: Option<KindSet>,
    topics: Vec<Pattern>,
    pids: Vec<u32>,
    min_priority: Option<u8>,
    metadata: Pairs,
    collectors: Words,
    ids: Words,
    patterns: Vec<Glob>,
    parents: Words,
    roots: Words,
    stages: Words,
    required: Pairs,
    any: Pairs,
    min_sequence: u64,
    max_sequence: u64,
    /// Nothing but `kinds` and `topics` is restricted.
    summary_decides: bool,
    terms: usize,
    bytes: usize,
}

impl Filters {
    /// `None` if nothing is restricted. Refuses more than `max_terms` terms over both filters.
    pub fn compile(
        event: Option<&EventFilter>,
        correlation: Option<&CorrelationFilter>,
        max_terms: usize,
        max_topic_depth: usize,
    ) -> Result<Option<Self>> {
        let (no_event, no_correlation) = (EventFilter::default(), CorrelationFilter::default());
        let event = event.unwrap_or(&no_event);
        let correlation = correlation.unwrap_or(&no_correlation);
        if *event == no_event && *correlation == no_correlation {
            return Ok(None);
        }
        if let (Some(min), Some(max)) = (correlation.min_sequence, correlation.max_sequence)
            && min > max
        {
            return Err(Error::SubscriptionRefused {
                reason: format!(
                    "min_sequence {min} is above max_sequence {max}, so that nothing could match; turn them over"
                ),
                limit: 0,
            });
        }
        let terms = event.terms() + correlation.terms();
        if terms > max_terms {
            return Err(Error::SubscriptionRefused {
                reason: format!(
                    "{terms} filter terms are above the limit of {max_terms}; filter by fewer, or raise max_filter_terms"
                ),
                limit: u64::try_from(max_terms).unwrap_or(u64::MAX),
            });
        }
        let mut pids = event.pids.clone();
        pids.sort_unstable();
        pids.dedup();
        let by_event = !event.pids.is_empty()
            || event.min_priority.is_some()
            || !event.metadata_filters.0.is_empty()
            || !event.source_collectors.is_empty();
        Ok(Some(Self {
            kinds: kinds(event)?,
            topics: event
                .topic_filters
                .iter()
                .map(|text| Pattern::parse(text, max_topic_depth))
                .collect::<Result<_, _>>()?,
            pids,
            min_priority: event.min_priority,
            metadata: Pairs::new(&event.metadata_filters),
            collectors: Words::new(&event.source_collectors),
            ids: Words::new(&correlation.correlation_ids),
            patterns: correlation
                .correlation_patterns
                .iter()
                .map(|text| Glob::parse(text))
                .collect::<Result<_>>()?,
            parents: Words::new(&correlation.parent_correlation_ids),
            roots: Words::new(&correlation.root_correlation_ids),
            stages: Words::new(&correlation.workflow_stages),
            required: Pairs::new(&correlation.required_tags),
            any: Pairs::new(&correlation.any_tags),
            min_sequence: correlation.min_sequence.unwrap_or(0),
            max_sequence: correlation.max_sequence.unwrap_or(u64::MAX),
            summary_decides: !by_event && *correlation == no_correlation,
            terms,
            bytes: event.bytes() + correlation.bytes(),
        }))
    }

    /// What it was compiled from: list elements and map entries.
    pub const fn terms(&self) -> usize {
        self.terms
    }

    /// Bytes of text in them.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The verdict where the summary alone decides it, `None` where [`accept`](Self::accept) must be asked.
    pub fn accept_summary(&self, summary: &Summary<'_>) -> Option<bool> {
        if self.excludes(summary.event, summary.topic) {
            Some(false)
        } else if self.summary_decides {
            Some(true)
        } else {
            None
        }
    }

    /// `event` is `None` for a Control message that is no TriggerRequest.
    pub fn accept(&self, message: &Message<'_>, event: Option<&CollectionEvent<'_>>) -> bool {
        if self.excludes(event.map(CollectionEvent::kind), message.topic.into()) {
            return false;
        }
        self.summary_decides || (self.accept_correlation(message) && self.accept_event(message, event))
    }

    fn excludes(&self, event: Option<EventKind>, topic: Utf8<'_>) -> bool {
        let matches = || {
            let topic = topic.text();
            self.topics.iter().any(|pattern| pattern.matches(topic))
        };
        self.kinds
            .is_some_and(|kinds| !event.is_some_and(|kind| kinds.contains(kind)))
            || !(self.topics.is_empty() || matches())
    }

    fn accept_event(&self, message: &Message<'_>, event: Option<&CollectionEvent<'_>>) -> bool {
        let pid_fits = || match event {
            Some(CollectionEvent::Process(process)) => self.pids.binary_search(&process.pid).is_ok(),
            _ => false,
        };
        let priority_fits = |least: u8| match event {
            Some(CollectionEvent::TriggerRequest(trigger)) => trigger.priority >= least,
            _ => false,
        };
        let metadata = event.map(CollectionEvent::metadata);
        let collector = || {
            metadata
                .and_then(|metadata| metadata.get(COLLECTOR_KEY))
                .or_else(|| message.correlation_metadata.correlation_tags.get(SOURCE_TAG))
        };
        (self.pids.is_empty() || pid_fits())
            && self.min_priority.is_none_or(priority_fits)
            && (self.collectors.is_empty() || self.collectors.has(collector()))
            && (self.metadata.is_empty() || metadata.is_some_and(|metadata| self.metadata.all_in(metadata)))
    }

    fn accept_correlation(&self, message: &Message<'_>) -> bool {
        let of = &message.correlation_metadata;
        (self.min_sequence..=self.max_sequence).contains(&of.sequence_number)
            && (self.ids.is_empty() || self.ids.has(Some(of.correlation_id)))
            && (self.parents.is_empty() || self.parents.has(of.parent_correlation_id))
            && (self.roots.is_empty() || self.roots.has(Some(of.root_correlation_id)))
            && (self.stages.is_empty() || self.stages.has(of.workflow_stage))
            && (self.required.is_empty() || self.required.all_in(&of.correlation_tags))
            && (self.any.is_empty() || self.any.any_in(&of.correlation_tags))
            && (self.patterns.is_empty() || self.patterns.iter().any(|pattern| pattern.matches_correlation(of)))
    }
}

fn kinds(filter: &EventFilter) -> Result<Option<KindSet>> {
    let mut needs_event = false;
    let mut kinds = KindSet::ALL;
    let mut restrict = |to: KindSet| {
        needs_event = true;
        kinds = kinds.and(to);
    };
    if !filter.event_types.is_empty() {
        let mut named = KindSet::NONE;
        for word in &filter.event_types {
            named = named.with(EventKind::from_name(word).ok_or_else(|| unknown_kind(word))?);
        }
        restrict(named);
    }
    if !filter.pids.is_empty() {
        restrict(KindSet::NONE.with(EventKind::Process));
    }
    if filter.min_priority.is_some() {
        restrict(KindSet::NONE.with(EventKind::Trigger));
    }
    if !filter.metadata_filters.0.is_empty() {
        restrict(KindSet::ALL);
    }
    Ok(needs_event.then_some(kinds))
}

fn unknown_kind(word: &str) -> Error {
    let shown: String = word.chars().take(64).collect();
    let known = EventKind::ALL.map(EventKind::name).join(", ");
    Error::SubscriptionRefused {
        reason: format!("event_types: {shown:?} is none of {known}"),
        limit: 0,
    }
}
