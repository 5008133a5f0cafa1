//! What one publish of a bus in the broker's process leaves for the next.
use super::numbers::Numbers;
use super::routes::Routes;
use crate::topic::Neighbours;

pub(super) struct Desk {
    pub(super) topics: Neighbours,
    pub(super) routes: Routes,
    pub(super) numbers: Numbers,
}

impl Desk {
    pub(super) fn new(max_topic_depth: usize) -> Self {
        Self {
            topics: Neighbours::new(max_topic_depth),
            routes: Routes::new(),
            numbers: Numbers::default(),
        }
    }
}
