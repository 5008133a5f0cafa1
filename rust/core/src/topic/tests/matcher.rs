use proptest::prelude::*;

use super::{model_matches, pattern, patterns, topics};
use crate::topic::{Matcher, Pattern};

fn found<'m>(matcher: &'m Matcher<u32>, topic: &str) -> Vec<(&'m str, u32)> {
    let mut found = Vec::new();
    matcher.find(topic, |pattern, key| found.push((pattern.as_str(), key)));
    found.sort_unstable();
    found
}

fn model_find<'p>(pairs: &'p [(Pattern, u32)], topic: &str) -> Vec<(&'p str, u32)> {
    let mut found: Vec<_> = pairs
        .iter()
        .filter(|(pattern, _)| model_matches(pattern.as_str(), topic))
        .map(|(pattern, key)| (pattern.as_str(), *key))
        .collect();
    found.sort_unstable();
    found
}

#[test]
fn a_pair_stands_once_and_each_pattern_keeps_its_own_text() {
    let mut matcher = Matcher::default();
    for text in [
        "events.*.new",
        "events.+.new",
        "events.#",
        "events.*",
        "events.process.new",
    ] {
        assert!(matcher.insert(&pattern(text), 7));
        assert!(!matcher.insert(&pattern(text), 7));
    }
    assert!(matcher.insert(&pattern("events.#"), 8));
    assert_eq!(matcher.patterns(), 5);
    assert_eq!(
        found(&matcher, "events.process.new"),
        [
            ("events.#", 7),
            ("events.#", 8),
            ("events.*", 7),
            ("events.*.new", 7),
            ("events.+.new", 7),
            ("events.process.new", 7)
        ]
    );
    assert_eq!(found(&matcher, "events"), [("events.#", 7), ("events.#", 8)]);
    assert!(matcher.remove(&pattern("events.+.new"), 7));
    assert!(!matcher.remove(&pattern("events.+.new"), 7));
    assert!(!matcher.remove(&pattern("events.#"), 9));
    assert!(!matcher.remove(&pattern("health.a.+"), 7));
    assert_eq!(matcher.patterns(), 4);
    assert_eq!(found(&matcher, "events.process.new").len(), 5);
}

#[test]
fn many_keys_under_one_pattern() {
    let mut matcher = Matcher::default();
    let all = pattern("events.#");
    let kept = if cfg!(miri) { 2 } else { 100 };
    for key in 0..100 * kept {
        assert!(matcher.insert(&all, key));
    }
    assert_eq!(matcher.patterns(), 1);
    assert_eq!(found(&matcher, "events.process.new").len(), 100 * kept as usize);
    for key in (0..100 * kept).filter(|key| key % 100 != 0) {
        assert!(matcher.remove(&all, key));
    }
    assert_eq!(found(&matcher, "events").len(), kept as usize);
}

/// A topic that [`check`](crate::topic::check) would refuse finds what it finds, without deep recursion.
#[test]
fn an_unchecked_topic_does_no_harm() {
    let mut matcher = Matcher::default();
    matcher.insert(&pattern("events.+.+.#"), 1);
    let deep = format!("events{}", ".x".repeat(1_000_000));
    assert_eq!(found(&matcher, &deep).len(), 1);
    assert!(found(&matcher, "").is_empty());
    assert!(found(&matcher, "...").is_empty());
}

const MOST_TEXTS: usize = if cfg!(miri) { 5 } else { 12 };
const LONGEST_HISTORY: usize = if cfg!(miri) { 20 } else { 80 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 400 }))]

    #[test]
    fn a_history_agrees_with_a_list_of_pairs(
        pool in prop::collection::vec(patterns(), 1..MOST_TEXTS),
        history in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), 0_u32..4), 0..LONGEST_HISTORY),
        topics in prop::collection::vec(topics(), 1..MOST_TEXTS),
    ) {
        let pool: Vec<_> = pool.iter().map(|text| pattern(text)).collect();
        let mut matcher = Matcher::default();
        let mut pairs: Vec<(Pattern, u32)> = Vec::new();
        for (insert, index, key) in history {
            let pair = (index.get(&pool).clone(), key);
            let at = pairs.iter().position(|known| *known == pair);
            if insert {
                prop_assert_eq!(matcher.insert(&pair.0, key), at.is_none());
                if at.is_none() {
                    pairs.push(pair);
                }
            } else {
                prop_assert_eq!(matcher.remove(&pair.0, key), at.is_some());
                if let Some(at) = at {
                    pairs.swap_remove(at);
                }
            }
        }
        for topic in &topics {
            prop_assert_eq!(found(&matcher, topic), model_find(&pairs, topic), "{}", topic);
        }
        let mut distinct: Vec<_> = pairs.iter().map(|(pattern, _)| pattern.as_str()).collect();
        distinct.sort_unstable();
        distinct.dedup();
        prop_assert_eq!(matcher.patterns(), distinct.len());
        for (pattern, key) in &pairs {
            prop_assert!(matcher.remove(pattern, *key));
        }
        prop_assert!(matcher.is_empty());
        prop_assert!(topics.iter().all(|topic| found(&matcher, topic).is_empty()));
    }
}
