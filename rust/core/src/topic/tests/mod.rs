//! The topic module against a model written from the grammar's words alone: split at dots, recurse.
mod cache;
mod cover;
mod matcher;
mod name;
mod names;
mod pattern;

use proptest::prelude::*;

use super::{DEFAULT_MAX_DEPTH, Pattern};

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text, DEFAULT_MAX_DEPTH).unwrap()
}

/// What this thread has computed so far: other programs that use the processor are no fault of the work's.
fn computed() -> std::time::Duration {
    #[cfg(unix)]
    return rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime)
        .try_into()
        .unwrap();
    // There only the time that has passed is told without much ado.
    #[cfg(not(unix))]
    return std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
}

fn model_matches(pattern: &str, topic: &str) -> bool {
    fn matches(pattern: &[&str], topic: &[&str]) -> bool {
        match (pattern, topic) {
            ([], []) | (["#"], _) => true,
            (["*"], topic) => !topic.is_empty(),
            ([first, pattern @ ..], [segment, topic @ ..]) => {
                (["*", "+"].contains(first) || first == segment) && matches(pattern, topic)
            }
            _ => false,
        }
    }
    matches(
        &pattern.split('.').collect::<Vec<_>>(),
        &topic.split('.').collect::<Vec<_>>(),
    )
}

/// Few words, so that independent topics and patterns often match.
fn word() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["process", "new", "events", "x-1"])
}

fn domain() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["events", "control", "health"])
}

fn topics() -> impl Strategy<Value = String> {
    (domain(), prop::collection::vec(word(), 0..8)).prop_map(|(domain, words)| {
        let mut segments = vec![domain];
        segments.extend(words);
        segments.join(".")
    })
}

fn patterns() -> impl Strategy<Value = String> {
    let wildcard = || prop::sample::select(vec!["*", "+"]);
    let first = prop_oneof![3 => domain(), 1 => wildcard()];
    let further = prop_oneof![2 => word(), 1 => wildcard()];
    let last = prop::sample::select(vec![None, None, Some("*"), Some("#")]);
    let lone_hash = Just("#".to_owned());
    let general = (first, prop::collection::vec(further, 0..7), last).prop_map(|(first, words, last)| {
        let mut segments = vec![first];
        segments.extend(words);
        segments.extend(last);
        segments.join(".")
    });
    prop_oneof![20 => general, 1 => lone_hash]
}
