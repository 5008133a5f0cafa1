//! What these tests share: an address to dial, a waker to wait with, the queue of a subscription, [messages](self::messages), and a
//! [broker](self::scripted_broker) that says what a test tells it to.

mod messages;
mod scripted_broker;

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use daemoneye_eventbus_core::client::{Answer, Inbox, InboxOptions, Ticket};
use daemoneye_eventbus_core::event::EventSubscription;
use daemoneye_eventbus_core::queue::{Limits, Overflow, Wake};
use daemoneye_eventbus_core::topic;
use daemoneye_eventbus_core::transport::Address;

pub(crate) use self::messages::{frames, pids, publish, with_draft, with_draft_of};
pub(crate) use self::scripted_broker::{
    ScriptedBroker, broken, broker_info, greet, info, next_text, ok_frame, open, subscribed,
};

pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// Counts how often it was woken.
#[derive(Default)]
pub(crate) struct TestWaker {
    wakes: Mutex<u64>,
    changed: Condvar,
}

impl Wake for TestWaker {
    fn wake(&self) {
        *self.wakes.lock().unwrap() += 1;
        self.changed.notify_all();
    }
}

impl TestWaker {
    /// Until `done`, looked at whenever it is woken.
    pub(crate) fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let end = Instant::now() + TIMEOUT;
        loop {
            // Looking may itself wake it.
            let seen = *self.wakes.lock().unwrap();
            if done() {
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "never {what}");
            let wakes = self.wakes.lock().unwrap();
            let wait = left.min(Duration::from_millis(20));
            drop(
                self.changed
                    .wait_timeout_while(wakes, wait, |wakes| *wakes == seen)
                    .unwrap(),
            );
        }
    }
}

/// An address of its own.
pub(crate) struct Place {
    pub(crate) address: Address,
    #[cfg(unix)]
    _directory: tempfile::TempDir,
}

impl Place {
    #[cfg(unix)]
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            address: Address::from_path(&directory.path().join("b.sock")).unwrap(),
            _directory: directory,
        }
    }

    #[cfg(windows)]
    pub(crate) fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};

        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            address: Address::from_instance(&format!("link-{}-{number}", std::process::id())).unwrap(),
        }
    }
}

/// The queue of a subscription to `patterns`.
pub(crate) fn inbox(waker: &Arc<TestWaker>, patterns: &[&str], messages: usize, block: bool) -> Arc<Inbox> {
    let asked = EventSubscription {
        subscriber_id: "s".into(),
        topic_patterns: Some(patterns.iter().map(|pattern| (*pattern).into()).collect()),
        include_control: true,
        ..EventSubscription::default()
    };
    let patterns = topic::subscription_patterns(&asked, 8).unwrap();
    let options = InboxOptions {
        limits: Limits {
            messages,
            bytes: 1 << 20,
        },
        overflow: Overflow::DropOldest,
        block,
    };
    let reader: Arc<dyn Wake> = Arc::<TestWaker>::clone(waker);
    Arc::new(Inbox::new(asked, patterns, None, options, reader))
}

pub(crate) fn wait_done(waker: &TestWaker, ticket: &Ticket) {
    waker.until("answered", || ticket.poll().is_some());
    assert_eq!(ticket.poll(), Some(Ok(Answer::Done)));
}
