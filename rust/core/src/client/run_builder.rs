//! Consecutive messages of one topic, which are delivered together.

use std::sync::Arc;

use super::inbox::Inbox;
use crate::wire::Summary;

/// A run is delivered at this size, so that one inbox entry stays a small piece of memory.
const MAX_RUN: usize = 64 * 1024;

/// A run that may still grow.
pub(super) struct RunBuilder<'d> {
    pub(super) summary: Summary<'d>,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) messages: u32,
    pub(super) route: Arc<[Arc<Inbox>]>,
}

impl<'d> RunBuilder<'d> {
    pub(super) const fn new(summary: Summary<'d>, at: usize, len: usize, route: Arc<[Arc<Inbox>]>) -> Self {
        Self {
            summary,
            start: at,
            end: at + len,
            messages: 1,
            route,
        }
    }

    pub(super) fn accepts(&self, next: &Summary<'_>, len: usize) -> bool {
        self.summary.topic == next.topic && self.summary.event == next.event && self.end - self.start + len <= MAX_RUN
    }

    pub(super) const fn add(&mut self, len: usize) {
        self.end += len;
        self.messages += 1;
    }
}
