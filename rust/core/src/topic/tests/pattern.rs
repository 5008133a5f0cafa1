use std::cmp::Reverse;

use proptest::prelude::*;

use super::{model_matches, pattern, patterns, topics};
use crate::topic::{Pattern, check};

fn kind(text: &str) -> String {
    Pattern::parse(text, 8).unwrap_err().kind
}

/// The original's truth table under this bus's rules: `*` is a wildcard here and was a literal there.
#[test]
fn truth_table() {
    for (text, topic, expected) in [
        ("events.process.+", "events.process.new", true),
        ("events.process.+", "events.process", false),
        ("events.#", "events.process.new", true),
        ("events.#", "control.collector.status", false),
        ("events.#", "events", true),
        ("control.trigger.+", "control.trigger.request", true),
        ("control.trigger.+", "control.trigger", false),
        ("events.+.new", "events.process.new", true),
        ("events.+.+", "events.process.new", true),
        ("events.+.+", "events.process.new.more", false),
        ("events.+.#", "events.process.new.more", true),
        ("events.process.new.#", "events.process.new", true),
        ("events.*.new", "events.process.new", true),
        ("events.*.new", "events.process.sub.new", false),
        ("events.*", "events.process.new", true),
        ("events.*", "events", false),
        ("events.process.*", "events.process", false),
        ("*.process.new", "events.process.new", true),
        ("events.process.new", "events.process.new", true),
        ("events.process.new", "events.process.new.more", false),
        ("events.process.new", "events.process.newer", false),
        ("*", "events", true),
        ("*", "health.a.b", true),
        ("#", "events", true),
        ("#", "control.a.b.c", true),
        ("+", "events", true),
        ("+", "events.process", false),
        ("health.#", "health.collector", true),
    ] {
        assert_eq!(pattern(text).matches(topic), expected, "{text} ~ {topic}");
        assert_eq!(model_matches(text, topic), expected, "the model: {text} ~ {topic}");
    }
}

#[test]
fn refuses_what_no_topic_can_match() {
    assert_eq!(
        Pattern::parse("events.#.invalid", 8).unwrap_err().to_string(),
        "Topic error: Invalid topic format: Multi-level wildcard (#) must be at the end: events.#.invalid"
    );
    assert_eq!(kind(""), "Invalid topic format: empty topic pattern");
    assert_eq!(kind("events..*"), "Empty topic segment at position 1");
    assert_eq!(kind("*."), "Empty topic segment at position 1");
    assert_eq!(
        kind("events.proc*"),
        "Invalid topic format: Wildcard (*) must be a whole segment"
    );
    assert_eq!(
        kind("events.**"),
        "Invalid topic format: Wildcard (*) must be a whole segment"
    );
    assert_eq!(
        kind("events.Process"),
        "Invalid character in topic: P; use a-z, 0-9, _ and -"
    );
    assert_eq!(
        kind("queue.#"),
        "Unknown topic domain: queue; use events, control or health"
    );
    assert!(kind("system.#").starts_with("Reserved topic prefix: system"));
    assert_eq!(kind("events.+.+.+.+.+.+.+.#"), "Topic too deep: 9 levels (max 8)");
    assert!(kind(&"+.".repeat(200)).contains("400 bytes (max 256)"));
    assert_eq!(Pattern::parse(&"é".repeat(10_000), 8).unwrap_err().pattern.len(), 256);
}

#[test]
fn ranks_exact_first_then_fewest_wildcards_then_longest() {
    let mut ranked = [
        "#",
        "*.+.+",
        "events.#",
        "events.process.*",
        "events.process.new",
        "+.+.new",
    ]
    .map(pattern);
    ranked.sort_by_key(Pattern::rank);
    assert_eq!(
        ranked.each_ref().map(Pattern::as_str),
        [
            "events.process.new",
            "events.process.*",
            "events.#",
            "#",
            "+.+.new",
            "*.+.+"
        ]
    );
    assert!(ranked[0].is_exact() && !ranked[1].is_exact());
    assert_eq!(ranked[1].rank(), (1, Reverse(16)));
}

#[test]
fn clones_share_their_text() {
    let original = pattern("events.#");
    assert!(std::ptr::eq(original.as_str(), original.clone().as_str()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 5 } else { 2_000 }))]

    #[test]
    fn agrees_with_the_model(text in patterns(), topic in topics()) {
        prop_assert!(check(&topic, 8).is_ok());
        prop_assert_eq!(pattern(&text).matches(&topic), model_matches(&text, &topic), "{} ~ {}", text, topic);
    }

    #[test]
    fn a_topic_is_a_pattern_that_matches_itself(topic in topics()) {
        let exact = pattern(&topic);
        prop_assert!(exact.is_exact() && exact.matches(&topic));
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in any::<String>()) {
        if let Ok(parsed) = Pattern::parse(&text, 8) {
            prop_assert_eq!(parsed.as_str(), text.as_str());
        }
    }
}
