//! Topics and patterns by brute force.

/// The rules of `docs/topics.md`, one after the other.
pub fn is_topic(text: &str, max_depth: usize) -> bool {
    let segments: Vec<&str> = text.split('.').collect();
    text.len() <= 256
        && segments.len() <= max_depth
        && ["events", "control", "health"].contains(&segments[0])
        && segments.iter().all(|segment| {
            !segment.is_empty()
                && segment
                    .bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
        })
}

/// Tries every way in which the pattern could meet the topic.
pub fn matches(pattern: &[&str], topic: &[&str]) -> bool {
    match (pattern, topic) {
        ([], []) | (["#"], _) => true,
        (["*"], rest) => !rest.is_empty(),
        (["*" | "+", pattern @ ..], [_, topic @ ..]) => matches(pattern, topic),
        ([literal, pattern @ ..], [segment, topic @ ..]) => literal == segment && matches(pattern, topic),
        _ => false,
    }
}

pub fn split(text: &str) -> Vec<&str> {
    text.split('.').collect()
}
