//! What a bus in the broker's process keeps from one publish to the next: the topic checked last, the routes looked up, and the next
//! sequence number.
use super::route_cache::RouteCache;
use super::sequence::SequenceNumbers;
use crate::topic::LastTopic;

pub(super) struct PublishState {
    pub(super) topics: LastTopic,
    pub(super) routes: RouteCache,
    pub(super) numbers: SequenceNumbers,
    /// The last one had readers behind sockets: the next may go with it.
    pub(super) may_gather: bool,
}

impl PublishState {
    pub(super) fn new(max_topic_depth: usize) -> Self {
        Self {
            topics: LastTopic::new(max_topic_depth),
            routes: RouteCache::new(),
            numbers: SequenceNumbers::default(),
            may_gather: false,
        }
    }
}
