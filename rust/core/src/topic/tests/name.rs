use proptest::prelude::*;

use crate::topic::{Domain, LastTopic, MAX_TOPIC_BYTES, TopicCheck, check};

fn kind(topic: &str) -> String {
    check(topic, 8).unwrap_err().kind
}

#[test]
fn accepts_every_domain_and_depth() {
    assert_eq!(check("events", 8), Ok(Domain::Events));
    assert_eq!(check("control.trigger.request", 8), Ok(Domain::Control));
    assert_eq!(check("health.a_b-c.0", 8), Ok(Domain::Health));
    assert_eq!(check("events.1.2.3.4.5.6.7", 8), Ok(Domain::Events));
    assert_eq!(
        check(&format!("events.{}", "x".repeat(MAX_TOPIC_BYTES - 7)), 8),
        Ok(Domain::Events)
    );
}

#[test]
fn refuses_hostile_topics_by_reason() {
    assert_eq!(kind(""), "Invalid topic format: empty topic name");
    assert_eq!(kind("events..new"), "Empty topic segment at position 1");
    assert_eq!(kind(".events"), "Empty topic segment at position 0");
    assert_eq!(kind("events."), "Empty topic segment at position 1");
    assert_eq!(kind("."), "Empty topic segment at position 0");
    assert_eq!(
        kind(&"a".repeat(65_536)),
        "Invalid topic format: 65536 bytes (max 256); use fewer or shorter segments"
    );
    assert!(kind(&vec!["a"; 1_000].join(".")).contains("1999 bytes (max 256)"));
    assert_eq!(kind("events.1.2.3.4.5.6.7.8"), "Topic too deep: 9 levels (max 8)");
    assert_eq!(
        check("events.a", 0).unwrap_err().kind,
        "Topic too deep: 2 levels (max 0)"
    );
    for (topic, shown) in [
        ("events.Process.new", "P"),
        ("events.a\0b", "\\0"),
        ("events.a\nb", "\\n"),
        ("events.\u{1b}[31m", "\\u{1b}"),
        ("events.\u{202e}x", "\\u{202e}"),
        ("events.a/b", "/"),
        ("events.é", "é"),
        ("events.*", "*"),
        ("events.+", "+"),
        ("events.#", "#"),
    ] {
        assert_eq!(
            kind(topic),
            format!("Invalid character in topic: {shown}; use a-z, 0-9, _ and -")
        );
    }
}

#[test]
fn reserves_whole_segments_only() {
    assert_eq!(
        kind("system.health.status"),
        "Reserved topic prefix: system; use events, control or health"
    );
    assert!(kind("debug").starts_with("Reserved topic prefix: debug"));
    for (topic, domain) in [("systemd.x", "systemd"), ("queue.a", "queue"), ("event.x", "event")] {
        assert!(kind(topic).starts_with(&format!("Unknown topic domain: {domain};")));
    }
    assert!(kind("eventsx.y").starts_with("Unknown topic domain: eventsx;"));
    assert!(check("events.system.debug", 8).is_ok());
}

#[test]
fn an_error_repeats_at_most_256_bytes_of_the_topic_and_escapes_them() {
    let error = check(&"é".repeat(10_000), 8).unwrap_err();
    assert_eq!(error.topic, "é".repeat(128));
    let error = check(&format!("x{}", "é".repeat(10_000)), 8).unwrap_err();
    assert_eq!(error.topic.len(), 255);
    let message = check("events.\u{1b}[31m\n\u{202e}", 8).unwrap_err().to_string();
    assert!(message.starts_with("Topic error: Invalid character in topic: "));
    assert!(message.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{message:?}");
}

fn model_accepts(topic: &str, max_depth: usize) -> bool {
    let segments: Vec<_> = topic.split('.').collect();
    topic.len() <= 256
        && segments.len() <= max_depth
        && ["events", "control", "health"].contains(&segments[0])
        && segments.iter().all(|segment| {
            !segment.is_empty()
                && segment
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-')
        })
}

proptest! {
    #[test]
    fn the_remembered_topic_changes_no_verdict(
        topics in prop::collection::vec("(events|control|health|system)?[.]?[a-zA.]{0,3}[.]?[a-z]{0,2}", 1..30),
        depth in 0_usize..4,
    ) {
        let mut last_topic = LastTopic::new(depth);
        for topic in topics.iter().flat_map(|topic| [topic, topic]) {
            prop_assert_eq!((&mut last_topic).check(topic.as_str().into()), check(topic, depth));
        }
    }

    #[test]
    fn agrees_with_the_model(topic in "(events|control|health|system|x)?([.]?[a-z0-9_\\-]{0,3}){0,10}[.A*\u{e9}]?", max_depth in 0_usize..10) {
        prop_assert_eq!(check(&topic, max_depth).is_ok(), model_accepts(&topic, max_depth));
    }

    #[test]
    fn agrees_with_the_model_on_any_text(topic in any::<String>()) {
        prop_assert_eq!(check(&topic, 8).is_ok(), model_accepts(&topic, 8));
    }
}
