//! Patterns: `*` and `+` one segment, a last `*` one or more, a last `#` zero or more.
use crate::error::PatternError;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: std::sync::Arc<str>,
}

impl Pattern {
    pub fn parse(_text: &str, _max_depth: usize) -> Result<Self, PatternError> {
        todo!()
    }
    pub fn as_str(&self) -> &str {
        &self.text
    }
    pub fn text(&self) -> &std::sync::Arc<str> {
        &self.text
    }
    pub fn is_exact(&self) -> bool {
        todo!()
    }
    /// Order of precedence when several match: exact first, then fewest wildcards, then longest text; smaller = better.
    pub fn rank(&self) -> (usize, std::cmp::Reverse<usize>) {
        todo!()
    }
    pub fn matches(&self, _topic: &str) -> bool {
        todo!()
    }
}
