//! What is due on a live connection from time to time.

use std::time::Duration;

use tokio::time::Instant;

use super::outbox::Outbox;
use super::shared::Shared;
use crate::cork::LATE;

/// What was published is confirmed this soon.
const CONFIRM_DELAY: Duration = Duration::from_secs(1);

pub(super) struct Timers {
    keep_alive: Duration,
    keep_alive_at: Instant,
    /// When to have confirmed what was published.
    confirm_at: Option<Instant>,
    /// When to look whether the host writes what was left to it.
    look_at: Option<Instant>,
}

impl Timers {
    pub(super) fn new(keep_alive: Duration) -> Self {
        Self {
            keep_alive,
            keep_alive_at: Instant::now() + keep_alive,
            confirm_at: None,
            look_at: None,
        }
    }

    /// Sets what is due for what was published. Who is `blocked` waits for the kernel and need not look.
    pub(super) fn set(&mut self, outbox: &Outbox, blocked: bool) {
        if outbox.is_confirmation_due() {
            self.confirm_at.get_or_insert_with(|| Instant::now() + CONFIRM_DELAY);
        }
        if outbox.is_watched() && !blocked {
            self.look_at.get_or_insert_with(|| Instant::now() + LATE);
        }
    }

    pub(super) fn next_due(&self) -> Instant {
        let others = [self.confirm_at, self.look_at];
        others.into_iter().flatten().fold(self.keep_alive_at, Instant::min)
    }

    pub(super) fn run_due(&mut self, shared: &Shared) {
        let now = Instant::now();
        if self.confirm_at.is_some_and(|at| at <= now) {
            self.confirm_at = None;
            shared.outbox.lock().confirm();
        }
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_at = None;
            shared.outbox.lock().look();
        }
        if self.keep_alive_at <= now {
            self.keep_alive_at = now + self.keep_alive;
            let mut outbox = shared.outbox.lock();
            outbox.give_back_if_idle();
            // Also where the host reads: a slow one takes long to come to a PING that stands behind events.
            outbox.keep_alive();
            // A busy host does not notice that the kernel takes bytes again; a closed loop never will.
            outbox.disarm();
        }
    }
}
