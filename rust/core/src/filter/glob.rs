//! Correlation patterns: `*` stands for any run of characters, everything else for itself, anchored at both ends.
//!
//! A pattern is kept as the literal pieces between its stars; each is searched once, left to right, so that matching is
//! linear in pattern and text whatever either holds.
use crate::error::{Error, Result};
use crate::event::CorrelationMetadata;

/// The longest pattern, in bytes.
pub const MAX_GLOB_BYTES: usize = 256;
/// The longest text that any pattern matches, in bytes: subscribers choose the patterns and publishers the ids, and a broker searches
/// every id for every pattern. An id has a few dozen.
const MAX_TEXT_BYTES: usize = 1024;

/// A correlation pattern, taken apart at its stars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    head: Box<str>,
    /// `None`: no star, `head` is the whole text. Otherwise the pieces between the stars, and what stands behind the last.
    tail: Option<(Vec<Box<str>>, Box<str>)>,
}

impl Glob {
    /// Refuses more than [`MAX_GLOB_BYTES`].
    pub fn parse(pattern: &str) -> Result<Self> {
        if pattern.len() > MAX_GLOB_BYTES {
            return Err(Error::SubscriptionRefused {
                reason: format!(
                    "correlation pattern of {} bytes is above the limit of {MAX_GLOB_BYTES}; shorten it",
                    pattern.len()
                ),
                limit: u64::try_from(MAX_GLOB_BYTES).unwrap_or(u64::MAX),
            });
        }
        let Some((head, rest)) = pattern.split_once('*') else {
            return Ok(Self {
                head: pattern.into(),
                tail: None,
            });
        };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let middle = middle
            .split('*')
            .filter(|piece| !piece.is_empty())
            .map(Into::into)
            .collect();
        Ok(Self {
            head: head.into(),
            tail: Some((middle, last.into())),
        })
    }

    /// Longer texts than [`MAX_TEXT_BYTES`] match no pattern, not even `*`.
    pub fn matches(&self, text: &str) -> bool {
        if text.len() > MAX_TEXT_BYTES {
            return false;
        }
        let Some((middle, last)) = &self.tail else {
            return *self.head == *text;
        };
        let Some(mut rest) = text
            .strip_prefix(&*self.head)
            .and_then(|rest| rest.strip_suffix(&**last))
        else {
            return false;
        };
        for piece in middle {
            // The leftmost place is never worse than a later one.
            let Some((_, after)) = rest.split_once(&**piece) else {
                return false;
            };
            rest = after;
        }
        true
    }

    /// Tried against id, parent and root.
    pub fn matches_correlation<M>(&self, correlation: &CorrelationMetadata<'_, M>) -> bool {
        self.matches(correlation.correlation_id)
            || correlation.parent_correlation_id.is_some_and(|id| self.matches(id))
            || self.matches(correlation.root_correlation_id)
    }
}
