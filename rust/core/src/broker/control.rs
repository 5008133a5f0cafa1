//! What the handles of a broker tell its thread, and what it tells them.
//!
//! A handle orders and the thread obeys when it comes to it: a shutdown has a deadline, of several the nearest, and whoever waits for its
//! result is called by the thread; what is abandoned waits for nothing.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use tokio::sync::Notify;

use super::Given;
use super::shared::Shared;
use super::statistics::Undelivered;
use crate::lock::Mutex;
use crate::transport::PathState;

pub(super) type Stopped = Box<dyn FnOnce(Undelivered) + Send>;

#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    Stop(Instant),
    Abandon,
}

#[derive(Default)]
pub(super) struct Control {
    pub(super) changed: Notify,
    state: Mutex<State>,
    /// The socket file is being looked at.
    pub(super) looking: AtomicBool,
}

#[derive(Default)]
struct State {
    /// When a shutdown must be over.
    deadline: Option<Instant>,
    abandoned: bool,
    path_lost: bool,
    result: Option<Undelivered>,
    waiting: Vec<Stopped>,
}

impl Control {
    /// Asks for the end by `deadline`; `done` is called with the result, at once if there is one already.
    pub(super) fn stop(&self, deadline: Instant, done: Stopped) {
        let mut state = self.state.lock();
        if let Some(result) = state.result {
            drop(state);
            return done(result);
        }
        state.waiting.push(done);
        state.deadline = Some(state.deadline.map_or(deadline, |known| known.min(deadline)));
        drop(state);
        self.changed.notify_one();
    }

    pub(super) fn abandon(&self) {
        self.state.lock().abandoned = true;
        self.changed.notify_one();
    }

    /// Everything has ended.
    pub(super) fn finish(&self, result: Undelivered) {
        let mut state = self.state.lock();
        let result = *state.result.get_or_insert(result);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for done in waiting {
            done(result);
        }
    }

    /// Ends a broker that does not run and whose end was ordered. Whoever orders it asks for this afterwards, and so does a start that has
    /// come to nothing, so that one of them finds both. A listener that was `given` to it is closed.
    pub(super) fn finish_new(&self, shared: &Shared, given: &Mutex<Option<Given>>) {
        if self.order().is_some() && shared.advance_from_new_to_stopped() {
            *given.lock() = None;
            self.finish(Undelivered::default());
        }
    }

    pub(super) fn path_state(&self) -> PathState {
        if self.state.lock().path_lost {
            PathState::Lost
        } else {
            PathState::Ours
        }
    }

    /// Says once that it was lost.
    pub(super) fn note_path(&self, lost: bool) {
        let was_lost = std::mem::replace(&mut self.state.lock().path_lost, lost);
        if lost && !was_lost {
            tracing::error!(
                target: "daemoneye_eventbus::broker",
                "the socket file was removed or replaced: those connected go on, others cannot connect; start a new broker"
            );
        }
    }

    /// Comes back when a shutdown that was asked for has taken its time, or the broker is abandoned.
    pub(super) async fn overdue(&self) {
        loop {
            match self.order() {
                Some(Order::Abandon) => return,
                Some(Order::Stop(deadline)) => tokio::select! {
                    () = self.changed.notified() => {}
                    () = tokio::time::sleep_until(deadline.into()) => return,
                },
                None => self.changed.notified().await,
            }
        }
    }

    pub(super) fn order(&self) -> Option<Order> {
        let state = self.state.lock();
        if state.abandoned {
            return Some(Order::Abandon);
        }
        state.deadline.map(Order::Stop)
    }
}
