//! Topic checks that remember the last valid topic: consecutive messages mostly have the same one.
use super::Domain;
use super::name::check_utf8;
use crate::error::TopicError;
use crate::event::Utf8;

/// Checks a topic: against a greatest depth alone, or with a [`LastTopic`] that skips repeats.
pub trait TopicCheck {
    fn check(self, topic: Utf8<'_>) -> Result<Domain, TopicError>;
}

impl TopicCheck for usize {
    #[inline]
    fn check(self, topic: Utf8<'_>) -> Result<Domain, TopicError> {
        check_utf8(topic, self)
    }
}

/// The last valid topic, which is not checked again when it is repeated.
#[derive(Debug)]
pub struct LastTopic {
    max_depth: usize,
    /// Empty, which no topic is, before the first.
    last: Vec<u8>,
    domain: Domain,
}

impl LastTopic {
    pub const fn new(max_depth: usize) -> Self {
        Self {
            max_depth,
            last: Vec::new(),
            domain: Domain::Events,
        }
    }

    pub const fn max_depth(&self) -> usize {
        self.max_depth
    }

    fn check_new(&mut self, topic: Utf8<'_>) -> Result<Domain, TopicError> {
        let domain = check_utf8(topic, self.max_depth)?;
        self.last.clear();
        self.last.extend_from_slice(topic.0);
        self.domain = domain;
        Ok(domain)
    }
}

impl TopicCheck for &mut LastTopic {
    #[inline]
    fn check(self, topic: Utf8<'_>) -> Result<Domain, TopicError> {
        if !topic.0.is_empty() && topic.0 == self.last {
            return Ok(self.domain);
        }
        self.check_new(topic)
    }
}
