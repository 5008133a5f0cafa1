//! The half of a connection that others reach: its queue, the socket to empty it into, and the waker of its task.
//!
//! Whoever fills the queue may also empty it: bytes go to the kernel from the thread that has them, in one call per batch. Only when
//! the kernel takes no more is the connection's own task told to wait for it.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use uuid::Uuid;

use super::rights::Rights;
use super::route::{Outlet, Sink};
use super::router::Router;
use super::statistics::{ClientKind, Totals};
use crate::lock::Mutex;
use crate::queue::{Budget, Limits, Overflow, Queue, Sender, Wake, Written};
use crate::topic::Pattern;
use crate::transport::{Peer, Stream};
use crate::wire::Dialect;

/// Wakes the task of a connection.
#[derive(Default)]
pub(super) struct TaskWaker(Notify);

impl TaskWaker {
    pub(super) async fn woken(&self) {
        self.0.notified().await;
    }
}

impl Wake for TaskWaker {
    fn wake(&self) {
        self.0.notify_one();
    }
}

impl Outlet for TaskWaker {
    fn flush(&self) {
        self.wake();
    }
}

/// What a client and the broker have agreed on.
pub(super) struct Terms {
    pub(super) name: String,
    pub(super) dialect: Dialect,
    pub(super) max_frame: usize,
    pub(super) limits: Limits,
    pub(super) overflow: Overflow,
}

impl Terms {
    fn queue(&self, stall: Duration, budget: &Arc<Budget>, reader: Arc<dyn Wake>) -> Arc<Queue> {
        Arc::new(Queue::new(
            self.limits,
            self.overflow,
            Some(stall),
            Arc::clone(budget),
            reader,
        ))
    }
}

/// What one peer of the original is to be sent.
pub(super) struct OriginalPatterns {
    pub(super) patterns: Vec<Pattern>,
    /// False while it reads answers only: then it is subscribed to none of them.
    pub(super) is_subscribed: bool,
}

/// Held while they change, and while the connection of the peer is replaced.
pub(super) type SharedPatterns = Arc<Mutex<OriginalPatterns>>;

/// What makes the connection of a peer of the original.
pub(super) struct OriginalTerms {
    pub(super) id: Uuid,
    pub(super) waker: Arc<TaskWaker>,
    pub(super) patterns: SharedPatterns,
    pub(super) past: Totals,
    pub(super) client_state: Arc<ClientState>,
    pub(super) rights: Option<Arc<Rights>>,
}

/// The state of a client that outlives its queue: a peer of the original may go on with another.
#[derive(Default)]
pub(super) struct ClientState {
    /// An operator wants it disconnected.
    pub(super) disconnect_requested: AtomicBool,
    /// The broker has routed all that was read of it, and reads no more.
    pub(super) quiesced: AtomicBool,
    /// Messages of it that were accepted.
    pub(super) published: AtomicU64,
}

pub(super) struct Connection {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) peer: Peer,
    pub(super) sender: Arc<Sender>,
    pub(super) stream: Arc<Stream>,
    pub(super) queue: Arc<Queue>,
    pub(super) sink: Arc<Sink>,
    pub(super) waker: Arc<TaskWaker>,
    /// What a peer of the original is sent; `None` for a native client, who says so itself.
    pub(super) patterns: Option<SharedPatterns>,
    /// What that peer may not be subscribed to; a native client's session knows by itself.
    pub(super) rights: Option<Arc<Rights>>,
    /// Of queues that this client had before.
    pub(super) past: Totals,
    /// The kernel takes no more; the task is to wait for it.
    blocked: AtomicBool,
    /// Why writing failed first.
    write_error: OnceLock<io::Error>,
    pub(super) client_state: Arc<ClientState>,
    /// Writes to its process.
    pub(super) sent: Arc<AtomicU64>,
}

impl Connection {
    pub(super) fn new(
        router: &Router,
        budget: &Arc<Budget>,
        stall: Duration,
        stream: Arc<Stream>,
        terms: Terms,
        sent: Arc<AtomicU64>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| {
            let queue = terms.queue(stall, budget, Arc::new(Reader(Weak::clone(this))));
            let outlet: Weak<dyn Outlet> = Weak::<Self>::clone(this);
            let sink = router.join(queue, terms.dialect, terms.max_frame, Some(outlet));
            Self {
                sent,
                ..Self::of(Uuid::new_v4(), terms.name, stream, sink, Arc::default())
            }
        })
    }

    /// Of a peer of the original, whose queue is emptied by its task alone: whoever fills it only wakes that.
    pub(super) fn original(
        router: &Router,
        budget: &Arc<Budget>,
        stall: Duration,
        stream: Arc<Stream>,
        terms: Terms,
        original: OriginalTerms,
    ) -> Arc<Self> {
        let OriginalTerms {
            id,
            waker,
            patterns,
            past,
            client_state,
            rights,
        } = original;
        let queue = terms.queue(stall, budget, Arc::<TaskWaker>::clone(&waker));
        let outlet: Weak<dyn Outlet> = Arc::<TaskWaker>::downgrade(&waker);
        let sink = router.join_original(queue, terms.dialect, terms.max_frame, outlet);
        Arc::new(Self {
            patterns: Some(patterns),
            rights,
            past,
            client_state,
            ..Self::of(id, terms.name, stream, sink, waker)
        })
    }

    fn of(id: Uuid, name: String, stream: Arc<Stream>, sink: Arc<Sink>, waker: Arc<TaskWaker>) -> Self {
        let peer = stream.peer();
        Self {
            id,
            name,
            sender: Arc::new(Sender {
                uid: peer.uid,
                pid: peer.pid,
                client_id: id,
            }),
            peer,
            stream,
            queue: Arc::clone(&sink.queue),
            sink,
            waker,
            patterns: None,
            rights: None,
            past: Totals::default(),
            blocked: AtomicBool::new(false),
            write_error: OnceLock::new(),
            client_state: Arc::default(),
            sent: Arc::default(),
        }
    }

    /// Has the connection's task end it.
    pub(super) fn request_disconnect(&self) {
        self.client_state.disconnect_requested.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(super) fn is_quiesced(&self) -> bool {
        self.client_state.quiesced.load(Ordering::Acquire)
    }

    /// False if it was before. Under the lock of the registry, which counts them.
    pub(super) fn set_quiesced(&self) -> bool {
        !self.client_state.quiesced.swap(true, Ordering::AcqRel)
    }

    /// All that this client was sent and lost.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = self.past;
        totals.add(&self.queue.snapshot(), false);
        totals
    }

    pub(super) const fn kind(&self) -> ClientKind {
        if self.patterns.is_some() {
            ClientKind::Original
        } else {
            ClientKind::Native
        }
    }

    /// Why writing failed, if it did.
    pub(super) fn write_error(&self) -> Option<&io::Error> {
        self.write_error.get()
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Acquire)
    }

    /// The kernel takes bytes again.
    pub(super) fn unblock(&self) {
        self.blocked.store(false, Ordering::Release);
        self.queue.disarm();
        self.flush();
    }
}

impl Outlet for Connection {
    fn flush(&self) {
        let written = self.queue.write_to(|slices| {
            let written = self.stream.try_write(slices)?;
            self.sent.fetch_add(1, Ordering::Relaxed);
            Ok(written)
        });
        match written {
            Ok(Written::All | Written::Armed) => return,
            Ok(Written::Disconnect) => {}
            Ok(Written::Blocked) => self.blocked.store(true, Ordering::Release),
            Err(error) => drop(self.write_error.set(error)),
        }
        self.waker.wake();
    }
}

/// Told when something comes into the queue while its task sleeps.
struct Reader(Weak<Connection>);

impl Wake for Reader {
    fn wake(&self) {
        if let Some(connection) = self.0.upgrade()
            && let Some(connection) = batch::postpone(connection)
        {
            connection.waker.wake();
        }
    }
}

/// On the broker's own thread the queues that a piece of work has filled are emptied at its end, once each, without waking their
/// tasks for it.
pub(super) mod batch {
    use std::cell::RefCell;
    use std::sync::Arc;

    use super::{Connection, Outlet};

    thread_local! {
        static FILLED: RefCell<Option<Vec<Arc<Connection>>>> = const { RefCell::new(None) };
    }

    /// Runs `work`, then empties what it has filled.
    pub(in crate::broker) fn run<R>(work: impl FnOnce() -> R) -> R {
        struct End;
        impl Drop for End {
            fn drop(&mut self) {
                flush();
                FILLED.with_borrow_mut(|filled| *filled = None);
            }
        }
        FILLED.with_borrow_mut(|filled| {
            filled.get_or_insert_default();
        });
        let _end = End;
        work()
    }

    /// Empties what has been filled so far.
    pub(in crate::broker) fn flush() {
        while let Some(connection) = FILLED.with_borrow_mut(|filled| filled.as_mut()?.pop()) {
            connection.flush();
        }
    }

    /// Keeps the connection for the end of the piece of work under way; gives it back if there is none, or no memory.
    pub(super) fn postpone(connection: Arc<Connection>) -> Option<Arc<Connection>> {
        FILLED.with_borrow_mut(|filled| {
            if let Some(filled) = filled
                && filled.try_reserve(1).is_ok()
            {
                filled.push(connection);
                return None;
            }
            Some(connection)
        })
    }
}
