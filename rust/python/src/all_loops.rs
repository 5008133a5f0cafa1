//! The event loops of this process, for work that belongs to none of them: all are woken, and the first to come does it.
//!
//! Whoever wakes them does not attach to Python. A forked child begins with none, since a thread that does not exist there may have left
//! the parent's locked.
use std::sync::Weak;

use daemoneye_eventbus_core::forked::PerProcess;
use daemoneye_eventbus_core::lock::Mutex;

use crate::loop_waker::Notifier;

type Loops = Mutex<Vec<(Weak<Notifier>, u64)>>;

static LOOPS: PerProcess<Loops> = PerProcess::new(Mutex::new(Vec::new()));

/// From now on the loop is woken for `token` too.
pub(crate) fn add(notifier: Weak<Notifier>, token: u64) {
    let mut loops = LOOPS.get().lock();
    loops.retain(|(notifier, _)| notifier.strong_count() > 0);
    loops.push((notifier, token));
}

pub(crate) fn wake() {
    LOOPS.get().lock().retain(|(notifier, token)| match notifier.upgrade() {
        Some(notifier) => {
            notifier.notify_once(*token);
            true
        }
        None => false,
    });
}

/// Called in a forked child.
pub(crate) fn begin_anew() {
    LOOPS.reset(Mutex::new(Vec::new()));
}
