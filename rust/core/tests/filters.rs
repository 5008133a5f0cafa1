//! Filters against a model that says the rules as plainly as they stand in the API.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests stand outside of #[test]"
)]

use daemoneye_eventbus_core::error::Error;
use daemoneye_eventbus_core::event::{
    CollectionEvent, CorrelationFilter, CorrelationMetadata, EventFilter, Map, ProcessEvent, Text, TextMap, Timestamp,
    TriggerRequest,
};
use daemoneye_eventbus_core::filter::{Filters, Glob};
use daemoneye_eventbus_core::topic::Pattern;
use daemoneye_eventbus_core::wire::{Message, MessageType, Summary};
use proptest::prelude::*;
use uuid::Uuid;

const DEPTH: usize = 8;
const NOW: Timestamp = Timestamp { secs: 1, nanos: 0 };

type Pairs = Vec<(String, String)>;

#[derive(Debug, Clone)]
struct Case {
    kind: usize,
    number: u8,
    topic: &'static str,
    ids: Vec<String>,
    parent: bool,
    stage: bool,
    sequence: u64,
    metadata: Pairs,
    tags: Pairs,
}

/// Few letters, so that things meet.
fn word() -> impl Strategy<Value = String> {
    "[ab]{0,2}"
}

fn pairs(most: usize) -> impl Strategy<Value = Pairs> {
    let key = prop_oneof![3 => "[a-d]{1,2}", 1 => Just("collector".to_owned()), 1 => Just("source_process".to_owned())];
    prop::collection::vec((key, word()), 0..most)
}

fn case() -> impl Strategy<Value = Case> {
    (
        0..3_usize,
        0..4_u8,
        prop::sample::select(vec!["events.process.new", "control.trigger.request", "health.a"]),
        prop::collection::vec(word(), 4),
        any::<bool>(),
        any::<bool>(),
        0..4_u64,
        pairs(6),
        pairs(6),
    )
        .prop_map(
            |(kind, number, topic, ids, parent, stage, sequence, metadata, tags)| Case {
                kind,
                number,
                topic,
                ids,
                parent,
                stage,
                sequence,
                metadata,
                tags,
            },
        )
}

fn texts(most: usize) -> impl Strategy<Value = Vec<Text>> {
    // Usually absent, sometimes more than are compared one by one.
    prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::collection::vec(word().prop_map(Text::from), 0..most)
    ]
}

fn text_map() -> impl Strategy<Value = TextMap> {
    let owned = |pairs: Pairs| TextMap(pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect());
    prop_oneof![3 => Just(TextMap::default()), 2 => pairs(3).prop_map(owned), 1 => pairs(24).prop_map(owned)]
}

fn list(words: &'static [&'static str]) -> impl Strategy<Value = Vec<Text>> {
    prop_oneof![
        2 => Just(Vec::new()),
        1 => prop::sample::subsequence(words, 0..=words.len()).prop_map(|words| words.into_iter().map(Text::from).collect())
    ]
}

fn event_filter() -> impl Strategy<Value = EventFilter> {
    (
        list(&["process", "trigger", "network"]),
        prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(0..4_u32, 0..12)],
        prop::option::weighted(0.2, 0..4_u8),
        text_map(),
        list(&["events.#", "control.*.request", "events.process.new"]),
        texts(12),
    )
        .prop_map(
            |(event_types, pids, min_priority, metadata_filters, topic_filters, source_collectors)| EventFilter {
                event_types,
                pids,
                min_priority,
                metadata_filters,
                topic_filters,
                source_collectors,
            },
        )
}

fn correlation_filter() -> impl Strategy<Value = CorrelationFilter> {
    let globs = prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::collection::vec("[ab*]{0,3}".prop_map(Text::from), 0..3)
    ];
    (
        (texts(12), globs, texts(12), texts(12), texts(12)),
        text_map(),
        text_map(),
        prop::option::weighted(0.2, 0..4_u64),
        prop::option::weighted(0.2, 0..4_u64),
    )
        .prop_map(
            |((ids, globs, parents, roots, stages), required_tags, any_tags, min_sequence, max_sequence)| {
                CorrelationFilter {
                    correlation_ids: ids,
                    correlation_patterns: globs,
                    parent_correlation_ids: parents,
                    root_correlation_ids: roots,
                    workflow_stages: stages,
                    required_tags,
                    any_tags,
                    min_sequence,
                    max_sequence,
                }
            },
        )
}

fn borrowed(pairs: &Pairs) -> Map<'_> {
    Map(pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect())
}

fn event(case: &Case) -> Option<CollectionEvent<'_>> {
    let metadata = borrowed(&case.metadata);
    match case.kind {
        0 => Some(CollectionEvent::Process(ProcessEvent {
            pid: u32::from(case.number),
            name: "",
            command_line: None,
            executable_path: None,
            ppid: None,
            start_time: None,
            metadata,
        })),
        1 => Some(CollectionEvent::TriggerRequest(TriggerRequest {
            request_id: "",
            collector_type: "",
            priority: case.number,
            payload: &[],
            metadata,
        })),
        _ => None,
    }
}

fn message(case: &Case) -> Message<'_> {
    Message {
        id: Uuid::nil(),
        topic: case.topic,
        correlation_metadata: CorrelationMetadata {
            correlation_id: &case.ids[0],
            parent_correlation_id: case.parent.then(|| case.ids[1].as_str()),
            root_correlation_id: &case.ids[2],
            sequence_number: case.sequence,
            workflow_stage: case.stage.then(|| case.ids[3].as_str()),
            correlation_tags: borrowed(&case.tags),
            created_at: NOW,
        },
        payload: &[],
        sequence: 99,
        timestamp: NOW,
        message_type: MessageType::Control,
    }
}

type Last<'a> = std::collections::HashMap<&'a str, &'a str>;

fn last(pairs: &TextMap) -> Last<'_> {
    pairs.0.iter().map(|(k, v)| (&**k, &**v)).collect()
}

fn one_of(list: &[Text], value: Option<&str>) -> bool {
    list.is_empty() || value.is_some_and(|value| list.iter().any(|one| **one == *value))
}

/// Every star takes every run.
fn naive_glob(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => (0..=text.len()).any(|from| naive_glob(rest, &text[from..])),
        Some((first, rest)) => text.first() == Some(first) && naive_glob(rest, &text[1..]),
    }
}

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}

fn model(event_filter: &EventFilter, correlation: &CorrelationFilter, case: &Case) -> bool {
    let (event, message) = (event(case), message(case));
    let of = &message.correlation_metadata;
    let tags: Last<'_> = of.correlation_tags.0.iter().copied().collect();
    let metadata: Option<Last<'_>> = event.as_ref().map(|event| event.metadata().0.iter().copied().collect());
    let collector = metadata
        .as_ref()
        .and_then(|metadata| metadata.get("collector"))
        .or_else(|| tags.get("source_process"));
    let has = |map: &Last<'_>, (key, value): (&&str, &&str)| map.get(*key) == Some(value);
    let (wanted, required, any) = (
        last(&event_filter.metadata_filters),
        last(&correlation.required_tags),
        last(&correlation.any_tags),
    );
    one_of(
        &event_filter.event_types,
        event.as_ref().map(|event| event.kind().name()),
    ) && (event_filter.pids.is_empty() || case.kind == 0 && event_filter.pids.contains(&u32::from(case.number)))
        && event_filter
            .min_priority
            .is_none_or(|least| case.kind == 1 && case.number >= least)
        && (wanted.is_empty()
            || metadata
                .as_ref()
                .is_some_and(|metadata| wanted.iter().all(|pair| has(metadata, pair))))
        && (event_filter.topic_filters.is_empty()
            || event_filter
                .topic_filters
                .iter()
                .any(|text| Pattern::parse(text, DEPTH).unwrap().matches(case.topic)))
        && one_of(&event_filter.source_collectors, collector.copied())
        && one_of(&correlation.correlation_ids, Some(of.correlation_id))
        && one_of(&correlation.parent_correlation_ids, of.parent_correlation_id)
        && one_of(&correlation.root_correlation_ids, Some(of.root_correlation_id))
        && one_of(&correlation.workflow_stages, of.workflow_stage)
        && (correlation.correlation_patterns.is_empty()
            || correlation.correlation_patterns.iter().any(|pattern| {
                [
                    Some(of.correlation_id),
                    of.parent_correlation_id,
                    Some(of.root_correlation_id),
                ]
                .into_iter()
                .flatten()
                .any(|id| naive_glob(&chars(pattern), &chars(id)))
            }))
        && required.iter().all(|pair| has(&tags, pair))
        && (any.is_empty() || any.iter().any(|pair| has(&tags, pair)))
        && correlation.min_sequence.is_none_or(|least| of.sequence_number >= least)
        && correlation.max_sequence.is_none_or(|most| of.sequence_number <= most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn compiled_filters_say_what_the_model_says(
        event_filter in event_filter(),
        correlation in correlation_filter(),
        case in case(),
    ) {
        let wanted = model(&event_filter, &correlation, &case);
        let compiled = Filters::compile(Some(&event_filter), Some(&correlation), 256, DEPTH);
        if let (Some(min), Some(max)) = (correlation.min_sequence, correlation.max_sequence)
            && min > max
        {
            let said = compiled.map(drop).unwrap_err().to_string();
            let both = format!("min_sequence {min} is above max_sequence {max}");
            prop_assert!(said.contains(&both), "{}", said);
            return Ok(());
        }
        let compiled = compiled.unwrap();
        let (message, event) = (message(&case), event(&case));
        let Some(filters) = compiled else {
            prop_assert!(wanted);
            return Ok(());
        };
        prop_assert_eq!(filters.accept(&message, event.as_ref()), wanted);
        let summary = Summary {
            topic: message.topic.into(),
            message_type: message.message_type,
            sequence: message.sequence,
            event: event.as_ref().map(CollectionEvent::kind),
        };
        if let Some(verdict) = filters.accept_summary(&summary) {
            prop_assert_eq!(verdict, wanted);
        }
    }

    #[test]
    fn globs_match_as_the_model_does(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
        prop_assert_eq!(Glob::parse(&pattern).unwrap().matches(&text), naive_glob(&chars(&pattern), &chars(&text)));
    }
}

fn types(words: &[&str]) -> EventFilter {
    EventFilter {
        event_types: words.iter().map(|word| Text::from(*word)).collect(),
        ..EventFilter::default()
    }
}

#[test]
fn types_and_topics_alone_need_no_event() {
    let filters = Filters::compile(Some(&types(&["process"])), None, 256, DEPTH)
        .unwrap()
        .unwrap();
    let summary = |event| Summary {
        topic: "events.a".into(),
        message_type: MessageType::Event,
        sequence: 0,
        event,
    };
    use daemoneye_eventbus_core::event::EventKind;
    assert_eq!(filters.accept_summary(&summary(Some(EventKind::Process))), Some(true));
    assert_eq!(filters.accept_summary(&summary(Some(EventKind::Network))), Some(false));
    assert_eq!(filters.accept_summary(&summary(None)), Some(false));
}

#[test]
fn too_many_terms_and_bad_terms_are_refused() {
    let empty = (EventFilter::default(), CorrelationFilter::default());
    assert!(
        Filters::compile(Some(&empty.0), Some(&empty.1), 0, DEPTH)
            .unwrap()
            .is_none()
    );
    let pids = EventFilter {
        pids: vec![1; 3],
        min_priority: Some(0),
        ..EventFilter::default()
    };
    assert!(Filters::compile(Some(&pids), None, 3, DEPTH).is_ok());
    match Filters::compile(Some(&pids), None, 2, DEPTH) {
        Err(Error::SubscriptionRefused { reason, limit: 2 }) => assert!(reason.contains("3 filter terms"), "{reason}"),
        other => panic!("{other:?}"),
    }
    // Bounds are no terms.
    let bounds = CorrelationFilter {
        max_sequence: Some(1),
        ..CorrelationFilter::default()
    };
    assert!(Filters::compile(None, Some(&bounds), 0, DEPTH).unwrap().is_some());
    match Filters::compile(Some(&types(&["proces"])), None, 256, DEPTH) {
        Err(Error::SubscriptionRefused { reason, .. }) => {
            assert!(
                reason.contains("process, network, filesystem, performance, trigger"),
                "{reason}"
            );
        }
        other => panic!("{other:?}"),
    }
    let topics = EventFilter {
        topic_filters: vec![Text::from("events.#.new")],
        ..EventFilter::default()
    };
    assert!(matches!(
        Filters::compile(Some(&topics), None, 256, DEPTH),
        Err(Error::Pattern(_))
    ));
    assert!(Glob::parse(&"*".repeat(256)).is_ok());
    assert!(Glob::parse(&"*".repeat(257)).is_err());
    // What is tried on them is bounded too: neither is the broker's choice.
    let any = Glob::parse("*").unwrap();
    assert!(any.matches(&"x".repeat(1024)));
    assert!(!any.matches(&"x".repeat(1025)));
}

/// More pairs than are compared one by one, all of them there: random values hardly ever meet that.
#[test]
fn many_pairs_are_found_wherever_they_stand() {
    let pairs: Pairs = (0..20).map(|n| (format!("k{n}"), format!("v{n}"))).collect();
    let wanted = TextMap(
        pairs
            .iter()
            .rev()
            .map(|(k, v)| (Text::from(k.as_str()), Text::from(v.as_str())))
            .collect(),
    );
    let filter = EventFilter {
        metadata_filters: wanted.clone(),
        ..EventFilter::default()
    };
    let correlation = CorrelationFilter {
        required_tags: wanted.clone(),
        any_tags: wanted,
        ..CorrelationFilter::default()
    };
    let filters = Filters::compile(Some(&filter), Some(&correlation), 256, DEPTH)
        .unwrap()
        .unwrap();
    let accepts = |metadata: &Pairs, tags: &Pairs| {
        let case = Case {
            kind: 0,
            number: 0,
            topic: "events.a",
            ids: vec![String::new(); 4],
            parent: false,
            stage: false,
            sequence: 0,
            metadata: metadata.clone(),
            tags: tags.clone(),
        };
        filters.accept(&message(&case), event(&case).as_ref())
    };
    let with = |key: &str, value: &str, first: bool| {
        let mut changed = pairs.clone();
        let at = if first { 0 } else { changed.len() };
        changed.insert(at, (key.to_owned(), value.to_owned()));
        changed
    };
    assert!(accepts(&pairs, &pairs));
    assert!(accepts(&with("other", "x", true), &with("k3", "overwritten", true)));
    assert!(!accepts(&pairs, &with("k3", "the last wins", false)));
    assert!(!accepts(&pairs[1..].to_vec(), &pairs));
    assert!(!accepts(&pairs, &Pairs::new()));
}
