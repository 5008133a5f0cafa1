//! Patterns: `*` and `+` one segment, a last `*` one or more, a last `#` zero or more.
//!
//! A pattern that no topic can match is refused when it is made, so that a mistyped subscription fails at its caller
//! instead of staying silent. One that was made matches in one pass: a wildcard of open length stands only at the
//! end, so nothing is ever tried twice. Cloning shares the text.
use std::cmp::Reverse;
use std::sync::Arc;

use super::name::{MAX_TOPIC_BYTES, check_domain, check_segment, excerpt, too_deep, too_long};
use crate::error::PatternError;

/// A pattern that some topic can match.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: Arc<str>,
    wildcards: usize,
}

impl Pattern {
    /// Of at most `max_depth` segments, wildcards included; refuses what no topic can match.
    pub fn parse(text: &str, max_depth: usize) -> Result<Self, PatternError> {
        match count_wildcards(text, max_depth) {
            Ok(wildcards) => Ok(Self {
                text: Arc::from(text),
                wildcards,
            }),
            Err(kind) => Err(PatternError {
                pattern: excerpt(text),
                kind,
            }),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True if it has no wildcard.
    pub fn is_exact(&self) -> bool {
        self.wildcards == 0
    }

    /// Order of precedence when several match: exact first, then fewest wildcards, then longest text; smaller = better.
    pub fn rank(&self) -> (usize, Reverse<usize>) {
        (self.wildcards, Reverse(self.text.len()))
    }

    /// Whether this pattern matches `topic`, which [`check`](super::check) accepts.
    pub fn matches(&self, topic: &str) -> bool {
        let mut pattern = Some(self.as_str());
        let mut topic = Some(topic);
        loop {
            match (step(pattern), topic) {
                (Step::End(reach), topic) => return reach.covers(topic),
                (_, None) => return false,
                (Step::Any(rest), Some(text)) => {
                    pattern = rest;
                    topic = split(text).1;
                }
                (Step::Literal(literal, rest), Some(text)) => {
                    let (segment, remaining) = split(text);
                    if segment != literal {
                        return false;
                    }
                    pattern = rest;
                    topic = remaining;
                }
            }
        }
    }
}

fn count_wildcards(text: &str, max_depth: usize) -> Result<usize, String> {
    if text.is_empty() {
        return Err("Invalid topic format: empty topic pattern".to_owned());
    }
    if text.len() > MAX_TOPIC_BYTES {
        return Err(too_long(text));
    }
    let mut wildcards = 0;
    let mut depth = 0;
    let mut rest = Some(text);
    while let Some(tail) = rest {
        let (segment, remaining) = split(tail);
        match segment {
            "#" if remaining.is_some() => {
                return Err("Invalid topic format: Multi-level wildcard (#) must be at the end".to_owned());
            }
            "*" | "+" | "#" => wildcards += 1,
            literal => {
                if let Some(wildcard) = literal.chars().find(|c| matches!(c, '*' | '+' | '#')) {
                    return Err(format!(
                        "Invalid topic format: Wildcard ({wildcard}) must be a whole segment"
                    ));
                }
                check_segment(literal, depth)?;
                if depth == 0 {
                    check_domain(literal)?;
                }
            }
        }
        depth += 1;
        rest = remaining;
    }
    if depth > max_depth {
        return Err(too_deep(depth, max_depth));
    }
    Ok(wildcards)
}

/// How a pattern goes on. Here and nowhere else is said what the wildcards mean.
pub(super) enum Step<'p> {
    Literal(&'p str, Option<&'p str>),
    Any(Option<&'p str>),
    End(Reach),
}

/// What of the topic may remain where a pattern ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    Nothing,
    OneOrMore,
    ZeroOrMore,
}

impl Reach {
    pub(super) fn covers(self, remaining: Option<&str>) -> bool {
        match self {
            Self::Nothing => remaining.is_none(),
            Self::OneOrMore => remaining.is_some(),
            Self::ZeroOrMore => true,
        }
    }
}

pub(super) fn step(pattern: Option<&str>) -> Step<'_> {
    match pattern {
        None => Step::End(Reach::Nothing),
        Some("*") => Step::End(Reach::OneOrMore),
        Some("#") => Step::End(Reach::ZeroOrMore),
        Some(text) => match split(text) {
            ("*" | "+", rest) => Step::Any(rest),
            (literal, rest) => Step::Literal(literal, rest),
        },
    }
}

/// The first segment and what follows its dot; None, unlike an empty text, is "no further segment".
pub(super) fn split(text: &str) -> (&str, Option<&str>) {
    match text
        .bytes()
        .position(|byte| byte == b'.')
        .and_then(|dot| text.split_at_checked(dot))
    {
        Some((segment, rest)) => (segment, rest.get(1..)),
        None => (text, None),
    }
}
