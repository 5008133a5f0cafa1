//! Checking topics one after the other, where neighbours are most often the same.
use super::{Domain, check};
use crate::error::TopicError;

/// What says whether a topic is right: a greatest depth, or [`Neighbours`] that remember.
pub trait Checks {
    fn check(self, topic: &str) -> Result<Domain, TopicError>;
}

impl Checks for usize {
    #[inline]
    fn check(self, topic: &str) -> Result<Domain, TopicError> {
        check(topic, self)
    }
}

/// The last topic that was right, which is not looked at again when it comes again.
#[derive(Debug)]
pub struct Neighbours {
    max_depth: usize,
    /// Empty, which no topic is, before the first.
    last: String,
    domain: Domain,
}

impl Neighbours {
    pub const fn new(max_depth: usize) -> Self {
        Self {
            max_depth,
            last: String::new(),
            domain: Domain::Events,
        }
    }

    pub const fn max_depth(&self) -> usize {
        self.max_depth
    }

    fn check_new(&mut self, topic: &str) -> Result<Domain, TopicError> {
        let domain = check(topic, self.max_depth)?;
        self.last.clear();
        self.last.push_str(topic);
        self.domain = domain;
        Ok(domain)
    }
}

impl Checks for &mut Neighbours {
    #[inline]
    fn check(self, topic: &str) -> Result<Domain, TopicError> {
        if !topic.is_empty() && topic == self.last {
            return Ok(self.domain);
        }
        self.check_new(topic)
    }
}
