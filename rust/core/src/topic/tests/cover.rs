//! Containment against a model that tries every topic there can be, over few words and few segments.
use proptest::prelude::*;

use super::{computed, model_matches, pattern};
use crate::topic::cover::{Cover, MAX_WORK, TopicRule, allows, allows_every};

const DEPTH: usize = if cfg!(miri) { 3 } else { 4 };
/// Patterns name the first two only, so that the third is one that nobody names.
const WORDS: [&str; 3] = ["a", "b", "other"];

fn every_topic() -> Vec<String> {
    let mut all = Vec::new();
    let mut last: Vec<String> = ["events", "control", "health"].map(str::to_owned).into();
    for _ in 0..DEPTH {
        all.extend(last.iter().cloned());
        last = last
            .iter()
            .flat_map(|topic| WORDS.map(|word| format!("{topic}.{word}")))
            .collect();
    }
    all
}

fn model(rules: &[(String, bool)], asked: &str) -> bool {
    let allowed = |topic: &String| {
        let first = rules.iter().find(|(pattern, _)| model_matches(pattern, topic));
        first.is_none_or(|(_, allow)| *allow)
    };
    every_topic()
        .iter()
        .filter(|topic| model_matches(asked, topic))
        .all(allowed)
}

fn small() -> impl Strategy<Value = String> {
    let first = prop::sample::select(vec!["events", "control", "+", "*"]);
    let further = prop::collection::vec(prop::sample::select(vec!["a", "b", "+"]), 0..4);
    let last = prop::sample::select(vec![None, Some("*"), Some("#")]);
    let general = (first, further, last).prop_map(|(first, further, last)| {
        let mut segments = vec![first];
        segments.extend(further);
        segments.extend(last);
        segments.truncate(DEPTH);
        segments.join(".")
    });
    prop_oneof![12 => general, 1 => Just("#".to_owned())]
}

fn compiled(rules: &[(String, bool)]) -> Vec<TopicRule> {
    rules.iter().map(|(text, allow)| (pattern(text), *allow)).collect()
}

proptest! {
    #[test]
    fn every_topic_is_tried(
        rules in prop::collection::vec((small(), any::<bool>()), 0..7),
        asked in small(),
    ) {
        let expected = if model(&rules, &asked) { Cover::Every } else { Cover::NotEvery };
        prop_assert_eq!(allows_every(&compiled(&rules), &pattern(&asked), DEPTH, &mut MAX_WORK.clone()), expected);
        for topic in every_topic() {
            let first = rules.iter().find(|(text, _)| model_matches(text, &topic));
            prop_assert_eq!(allows(&compiled(&rules), &topic), first.is_none_or(|(_, allow)| *allow));
        }
    }
}

#[test]
fn rules_as_people_write_them() {
    let rules = |list: &[(&str, bool)]| {
        list.iter()
            .map(|(text, allow)| (pattern(text), *allow))
            .collect::<Vec<_>>()
    };
    let check =
        |list: &[(&str, bool)], asked: &str| allows_every(&rules(list), &pattern(asked), 8, &mut MAX_WORK.clone());
    let no_control = [("control.#", false)];
    assert_eq!(check(&no_control, "events.#"), Cover::Every);
    assert_eq!(check(&no_control, "#"), Cover::NotEvery);
    assert_eq!(check(&no_control, "+.agent.*"), Cover::NotEvery);
    assert_eq!(check(&no_control, "control"), Cover::NotEvery);
    let one = [("control.agent.status", true), ("control.#", false)];
    assert_eq!(check(&one, "control.agent.status"), Cover::Every);
    assert_eq!(check(&one, "control.agent.+"), Cover::NotEvery);
    // Several together may cover what none does alone.
    let domains = [
        ("events.#", true),
        ("control.#", true),
        ("health.#", true),
        ("#", false),
    ];
    assert_eq!(check(&domains, "#"), Cover::Every);
    assert_eq!(check(&domains[1..], "#"), Cover::NotEvery);
    let lengths = [("events", true), ("events.*", true), ("#", false)];
    assert_eq!(check(&lengths, "events.#"), Cover::Every);
}

#[test]
#[cfg_attr(miri, ignore = "its bound is processor time, which nothing tells there")]
fn rules_made_to_take_for_ever_do_not() {
    // Each names a word at another place: any subset of them can hold.
    let mut rules = Vec::new();
    for at in 1..40 {
        let mut segments = vec!["+"; 41];
        segments[0] = "events";
        segments[at] = "a";
        let text = segments.join(".");
        rules.push((crate::topic::Pattern::parse(&text, 64).unwrap(), true));
    }
    rules.push((crate::topic::Pattern::parse("#", 64).unwrap(), false));
    let asked = crate::topic::Pattern::parse("events.#", 64).unwrap();
    let start = computed();
    assert_ne!(allows_every(&rules, &asked, 64, &mut MAX_WORK.clone()), Cover::Every);
    assert!(computed() - start < std::time::Duration::from_secs(5));
}

#[test]
#[cfg_attr(miri, ignore = "its bound is processor time, which nothing tells there")]
fn rules_that_name_many_words_at_one_place_are_not_gone_through_for_each() {
    let denied = |number: usize| (pattern(&format!("events.+.w{number}")), false);
    let rules: Vec<_> = (0..2000).map(denied).collect();
    let mut work = MAX_WORK;
    let start = computed();
    let mut decided = 0;
    for number in 0..1024 {
        let asked = pattern(&format!("events.process.+.x{number}"));
        match allows_every(&rules, &asked, 8, &mut work) {
            Cover::Every => decided += 1,
            Cover::Undecided => break,
            Cover::NotEvery => panic!("{asked:?}"),
        }
    }
    assert!(decided >= 100, "{decided}");
    let took = computed() - start;
    assert!(took < std::time::Duration::from_secs(10), "{decided} in {took:?}");
}
