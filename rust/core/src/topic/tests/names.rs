use crate::event::EventKind;
use crate::topic::names::*;
use crate::topic::{DEFAULT_MAX_DEPTH, Pattern, check};

#[test]
fn every_name_is_a_topic_and_every_all_a_pattern() {
    for (name, text) in ALL_NAMES {
        let parsed = Pattern::parse(text, DEFAULT_MAX_DEPTH).unwrap();
        assert_eq!(check(text, DEFAULT_MAX_DEPTH).is_ok(), !name.ends_with("ALL"), "{name}");
        assert_eq!(parsed.is_exact(), !name.ends_with("ALL"), "{name}");
    }
    let mut flat: Vec<_> = ALL_NAMES.iter().map(|(name, _)| name).collect();
    flat.sort_unstable();
    flat.dedup();
    assert_eq!(flat.len(), ALL_NAMES.len());
    // 17 event and 10 control topics, 8 patterns for all of a kind, and 8 that are only used.
    assert_eq!(ALL_NAMES.len(), 17 + 10 + 8 + 8);
}

#[test]
fn what_is_published_by_default_is_a_topic_of_its_kind() {
    for kind in EventKind::ALL {
        assert!(check(default_topic(kind), DEFAULT_MAX_DEPTH).is_ok(), "{kind:?}");
        assert!(default_topic(kind).contains(kind.name()));
    }
}
