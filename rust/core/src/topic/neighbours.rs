//! Checking topics one after the other, where neighbours are most often the same.
use super::Domain;
use super::name::check_utf8;
use crate::error::TopicError;
use crate::event::Utf8;

/// What says whether a topic is right: a greatest depth, or [`Neighbours`] that remember.
pub trait Checks {
    fn check(self, topic: Utf8<'_>) -> Result<Domain, TopicError>;
}

impl Checks for usize {
    #[inline]
    fn check(self, topic: Utf8<'_>) -> Result<Domain, TopicError> {
        check_utf8(topic, self)
    }
}

/// The last topic that was right, which is not looked at again when it comes again.
#[derive(Debug)]
pub struct Neighbours {
    max_depth: usize,
    /// Empty, which no topic is, before the first.
    last: Vec<u8>,
    domain: Domain,
}

impl Neighbours {
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

impl Checks for &mut Neighbours {
    #[inline]
    fn check(self, topic: Utf8<'_>) -> Result<Domain, TopicError> {
        if !topic.0.is_empty() && topic.0 == self.last {
            return Ok(self.domain);
        }
        self.check_new(topic)
    }
}
