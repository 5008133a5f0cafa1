//! The grammar of a topic: 1..max_depth segments of `[a-z0-9_-]`, joined by dots, in a known domain.
//!
//! Every message passes [`check`], on both sides of the socket, so that a topic has one verdict everywhere. The good
//! case is one pass over at most [`MAX_TOPIC_BYTES`] bytes without allocation; what exactly is wrong is worked out
//! only once it is known that something is. A topic that passed is safe to log, to compare and to use as a key.
use crate::error::TopicError;
use crate::event::Utf8;

/// Of a topic, and of a pattern.
pub const MAX_TOPIC_BYTES: usize = 256;

/// The original keeps these for itself. Whole segments: `systemd` is merely an unknown domain.
const RESERVED: [&str; 2] = ["system", "debug"];

pub(super) const DOMAINS: [(&str, Domain); 3] = [
    ("events", Domain::Events),
    ("control", Domain::Control),
    ("health", Domain::Health),
];

/// The first segment of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Domain {
    Events,
    Control,
    Health,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Bad,
    Part,
    Dot,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Bad; 256];
    let mut byte = 0_u8;
    loop {
        #[allow(clippy::indexing_slicing)]
        // Evaluated by the compiler, which refuses an index out of range.
        {
            classes[byte as usize] = match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => Class::Part,
                b'.' => Class::Dot,
                _ => Class::Bad,
            };
        }
        if byte == u8::MAX {
            break classes;
        }
        byte += 1;
    }
};

/// Checks a topic; allocates only for the error.
pub fn check(topic: &str, max_depth: usize) -> Result<Domain, TopicError> {
    check_utf8(topic.into(), max_depth)
}

pub(super) fn check_utf8(topic: Utf8<'_>, max_depth: usize) -> Result<Domain, TopicError> {
    if topic.0.len() <= MAX_TOPIC_BYTES
        && well_formed(topic.0, max_depth)
        && let Some(domain) = domain(topic.0)
    {
        return Ok(domain);
    }
    let topic = topic.text();
    Err(TopicError {
        topic: excerpt(topic),
        kind: explain(topic, max_depth),
    })
}

fn well_formed(topic: &[u8], max_depth: usize) -> bool {
    let mut depth = 1;
    let mut after_dot = true;
    for &byte in topic {
        match CLASSES.get(usize::from(byte)) {
            Some(Class::Part) => after_dot = false,
            Some(Class::Dot) if !after_dot => {
                depth += 1;
                after_dot = true;
            }
            _ => return false,
        }
    }
    !after_dot && depth <= max_depth
}

fn domain(topic: &[u8]) -> Option<Domain> {
    DOMAINS
        .iter()
        .find_map(|&(name, domain)| match topic.strip_prefix(name.as_bytes())?.first() {
            None | Some(b'.') => Some(domain),
            Some(_) => None,
        })
}

/// In the original's order, so that a topic wrong in several ways is refused with the words it always was.
#[cold]
fn explain(topic: &str, max_depth: usize) -> String {
    if topic.is_empty() {
        return "Invalid topic format: empty topic name".to_owned();
    }
    if topic.len() > MAX_TOPIC_BYTES {
        return too_long(topic);
    }
    let first = topic.split('.').next().unwrap_or_default();
    if let Some(reserved) = reserved(first) {
        return reserved;
    }
    for (position, segment) in topic.split('.').enumerate() {
        if let Err(kind) = check_segment(segment, position) {
            return kind;
        }
    }
    let depth = topic.split('.').count();
    if depth > max_depth {
        return too_deep(depth, max_depth);
    }
    unknown_domain(first)
}

/// Of a pattern's first literal: whether any topic can begin with it.
pub(super) fn check_domain(segment: &str) -> Result<(), String> {
    match (reserved(segment), domain(segment.as_bytes())) {
        (Some(kind), _) => Err(kind),
        (None, Some(_)) => Ok(()),
        (None, None) => Err(unknown_domain(segment)),
    }
}

pub(super) fn check_segment(segment: &str, position: usize) -> Result<(), String> {
    if segment.is_empty() {
        return Err(format!("Empty topic segment at position {position}"));
    }
    match segment
        .chars()
        .find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '_' | '-'))
    {
        None => Ok(()),
        Some(c) => Err(format!(
            "Invalid character in topic: {}; use a-z, 0-9, _ and -",
            c.escape_debug()
        )),
    }
}

pub(super) fn too_long(text: &str) -> String {
    format!(
        "Invalid topic format: {} bytes (max {MAX_TOPIC_BYTES}); use fewer or shorter segments",
        text.len()
    )
}

pub(super) fn too_deep(depth: usize, max_depth: usize) -> String {
    format!("Topic too deep: {depth} levels (max {max_depth})")
}

fn reserved(first: &str) -> Option<String> {
    RESERVED
        .contains(&first)
        .then(|| format!("Reserved topic prefix: {first}; use events, control or health"))
}

fn unknown_domain(first: &str) -> String {
    format!("Unknown topic domain: {first}; use events, control or health")
}

/// What an error repeats of a refused text: enough to recognise it, bounded whatever its size.
pub(crate) fn excerpt(text: &str) -> String {
    let mut end = text.len().min(MAX_TOPIC_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}
