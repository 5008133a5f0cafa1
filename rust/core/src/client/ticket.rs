//! A request to the broker, for whoever waits for its answer.

use std::sync::Arc;

use crate::error::Result;
use crate::event::EventBusStatistics;
use crate::lock::Mutex;
use crate::queue::Wake;
use crate::wire::text::{Detail, Page};

/// What the broker answered; `Done` to all that asks for no numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Done,
    Statistics(EventBusStatistics),
    Detail(EventBusStatistics, Box<Detail>),
    Clients(Page),
}

struct Slot {
    answer: Mutex<Option<Result<Answer>>>,
    waker: Arc<dyn Wake>,
}

/// Cheap to clone; the first answer counts. Whoever drops all of theirs has given up: the request may then not be sent, and nobody is
/// woken.
#[derive(Clone)]
pub struct Ticket(Arc<Slot>);

impl Ticket {
    /// `waker` is woken once, when the answer is there.
    pub fn new(waker: Arc<dyn Wake>) -> Self {
        Self(Arc::new(Slot {
            answer: Mutex::new(None),
            waker,
        }))
    }

    pub(super) fn resolve(&self, answer: Result<Answer>) {
        let mut slot = self.0.answer.lock();
        if slot.is_none() {
            *slot = Some(answer);
            drop(slot);
            self.0.waker.wake();
        }
    }

    /// Whether somebody besides the caller has it, who may still look at the answer.
    pub(super) fn is_awaited(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// The answer, if it has come.
    pub fn poll(&self) -> Option<Result<Answer>> {
        self.0.answer.lock().clone()
    }
}
