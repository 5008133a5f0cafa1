//! What full inboxes have still to take before anything else of their connection is processed.
//!
//! Model: an inbox says how long it is waited for ([`Patience`]). One that blocks is, until it has room. A small one is for a turn of the
//! host's loop, in which its reader can make room, and then for another, up to [`MAX_IDLE_TURNS`](super::inbox::MAX_IDLE_TURNS) in which
//! its reader takes nothing; from then on its policy applies, until its reader has taken something.
//!
//! Guarantees: what comes at once, however much, overflows no small inbox whose reader takes something in one of so many turns of the
//! loop, and a reader that takes nothing holds up nobody for more of them.

use std::sync::Arc;

use super::inbox::{Inbox, Patience};
use crate::queue::{DropReason, OnFull, Pushed, Run, Wake};

/// Until when a connection is not processed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    UntilRoom,
    ForATurn,
}

/// What becomes of the last messages of a connection that is over where a blocking inbox is full: nobody can wait for it.
#[derive(Clone, Copy)]
pub(super) enum FinalPush {
    /// They are taken beyond its limits.
    Exceed,
    /// They are lost: it is beyond its limits already, by the connection before.
    Drop,
}

#[derive(Default)]
pub(super) struct Held {
    /// In the order in which they came, for each inbox.
    runs: Vec<(Arc<Inbox>, Run)>,
    /// Set when the connection is over: what came of it is delivered now or never.
    pub(super) final_push: Option<FinalPush>,
}

impl Held {
    /// Why nothing more is to be processed now, if so.
    pub(super) fn pause(&self) -> Option<Pause> {
        self.runs.first().map(|(inbox, _)| match inbox.patience {
            Patience::UntilRoom => Pause::UntilRoom,
            Patience::None | Patience::Turns => Pause::ForATurn,
        })
    }

    /// Pushes `run`, and holds what `inbox` is waited for to take; `resume` is woken when one that blocks has room.
    pub(super) fn push(&mut self, inbox: &Arc<Inbox>, run: &Run, resume: &Arc<dyn Wake>) {
        if let Some(final_push) = self.final_push {
            return push_final(inbox, run, final_push);
        }
        if self.holds_for(inbox) {
            return self.runs.push((Arc::clone(inbox), run.clone()));
        }
        let on_full = match inbox.patience {
            Patience::None => OnFull::Overflow,
            Patience::Turns => OnFull::Try { block: false },
            Patience::UntilRoom => OnFull::Wait(resume),
        };
        let Pushed::Full { taken, .. } = inbox.push(run, on_full) else {
            return;
        };
        let rest = run.clone().skip_first(taken);
        if inbox.is_worth_waiting_for() {
            self.runs.push((Arc::clone(inbox), rest));
        } else {
            inbox.push(&rest, OnFull::Overflow);
        }
    }

    fn holds_for(&self, inbox: &Arc<Inbox>) -> bool {
        // It is the last that was held for, mostly.
        self.runs.iter().rev().any(|(held, _)| Arc::ptr_eq(held, inbox))
    }

    /// Pushes again what is held, after the wait for it.
    pub(super) fn retry(&mut self, resume: &Arc<dyn Wake>) {
        for (inbox, run) in std::mem::take(&mut self.runs) {
            self.push(&inbox, &run, resume);
        }
    }

    /// `inbox` is about to be closed. What is held for it has come and is counted, so it is taken beyond the limits this once.
    pub(super) fn give_to(&mut self, inbox: &Inbox) {
        self.runs.retain(|(held, run)| {
            let is_its = std::ptr::eq(&raw const **held, inbox);
            if is_its {
                held.push(run, OnFull::Exceed { block: false });
            }
            !is_its
        });
    }

    /// The connection is gone.
    pub(super) fn end(&mut self, final_push: FinalPush) {
        for (inbox, run) in std::mem::take(&mut self.runs) {
            push_final(&inbox, &run, self.final_push.unwrap_or(final_push));
        }
        self.final_push = None;
    }
}

fn push_final(inbox: &Inbox, run: &Run, final_push: FinalPush) {
    let on_full = match (inbox.patience, final_push) {
        (Patience::None | Patience::Turns, _) => OnFull::Overflow,
        (Patience::UntilRoom, FinalPush::Exceed) => OnFull::Exceed { block: false },
        (Patience::UntilRoom, FinalPush::Drop) => OnFull::Try { block: true },
    };
    if let Pushed::Full { taken, .. } = inbox.push(run, on_full) {
        inbox.push_gap(u64::from(run.messages - taken), DropReason::Disconnected);
    }
}
