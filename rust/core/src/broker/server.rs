//! The broker's thread: it listens, lets in who may come in, and ends everything when told to.
//!
//! One thread, one runtime of its own. Each connection is a task; a panic in one ends that connection and is counted; one in the loop
//! here costs whom it was about to let in. The loop never waits for a peer: who is not let in gets one `ERR` if the kernel takes it at
//! once. A panic of the runtime itself ends the broker as its shutdown would, without the goodbyes.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};

use super::config::BrokerConfig;
use super::control::{Control, Order};
use super::file_thread::FileThread;
use super::memory;
use super::shared::{Phase, Shared};
use super::statistics::Refusal;
use super::{Given, session};
use crate::error::{Error, Result};
use crate::lock::Mutex;
use crate::printable::path_text;
use crate::queue::{DropReason, Wake};
use crate::transport::{Address, Listener, PathState, Peer, Stream};
use crate::wire::text::{Code, ErrText};

/// Turns of sessions between two looks at the kernel. One that is flat out takes some hundred microseconds for a turn, and others must
/// not wait for the 61 of them that tokio has by default.
const TURNS_BETWEEN_LOOKS: u32 = 2;
const BACK_OFF_FIRST: Duration = Duration::from_millis(10);
const BACK_OFF_MOST: Duration = Duration::from_secs(1);
/// How often the socket file is looked at.
const PATH_CHECK: Duration = Duration::from_secs(1);
const ENDED: &str = "the broker was shut down while it started; make a new one";

pub(super) type Started = Box<dyn FnOnce(Result<()>) + Send>;

/// However the thread ends, or if there is none, nobody is left waiting.
pub(super) struct End<'a>(
    pub(super) &'a Shared,
    pub(super) &'a Control,
    pub(super) &'a Mutex<Option<Given>>,
);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let Self(shared, control, given) = *self;
        if shared.retract_start() {
            // It never ran, and can be started again, unless somebody has ended it meanwhile.
            return control.finish_new(shared, given);
        }
        shared.advance(Phase::Stopped);
        for connection in shared.connections() {
            shared.retire(&connection, 0, |_| DropReason::Disconnected);
            connection.stream.shut_down();
        }
        shared.finish_locals();
        control.finish(shared.lost_at_end());
    }
}

/// The thread's work, from listening to the end. Who waits for a start that fails hears of it when nothing is left of it: the path is free.
pub(super) fn run(
    shared: &Arc<Shared>,
    control: &Arc<Control>,
    address: &Address,
    given: &Mutex<Option<Given>>,
    started: Started,
) {
    let end = End(shared, control, given);
    let (file_thread, runtime) = match begin() {
        Ok(begun) => begun,
        Err(error) => {
            drop(end);
            return started(Err(error));
        }
    };
    // Nothing is dropped while it unwinds: a second panic would end the process.
    let ended = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(serve(shared, control, &file_thread, address, given, started))
    }));
    if ended.is_err() {
        tracing::error!(target: "daemoneye_eventbus::broker", "the broker ended by a defect; please report it");
    }
    // Tasks are dropped here, and with them what they hold. A runtime that broke may not be able to.
    let _reported = catch_unwind(AssertUnwindSafe(|| drop(runtime)));
    file_thread.finish();
    drop(end);
    if let Ok(Err((started, error))) = ended {
        started(Err(error));
    }
}

fn begin() -> Result<(FileThread, Runtime)> {
    let file_thread = FileThread::start()?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .event_interval(TURNS_BETWEEN_LOOKS)
        .build()
        .map_err(|cause| Error::io("start the broker's event loop", &cause))?;
    Ok((file_thread, runtime))
}

/// Listens, and serves until told to stop. Where it does not come to that, `started` has not been called and comes back with why.
async fn serve(
    shared: &Arc<Shared>,
    control: &Arc<Control>,
    file_thread: &FileThread,
    address: &Address,
    given: &Mutex<Option<Given>>,
    started: Started,
) -> Result<(), (Started, Error)> {
    let taken_over = given.lock().as_ref().map(take_over);
    let listener = match taken_over {
        Some(listener) => listener,
        None => tokio::select! {
            listener = listen(shared, file_thread, address) => listener,
            () = control.overdue() => Err(Error::Lifecycle(ENDED)),
        },
    };
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => return Err((started, error)),
    };
    given.lock().take();
    if !shared.advance(Phase::Running) || control.order().is_some() {
        close(listener, file_thread);
        return Err((started, Error::Lifecycle(ENDED)));
    }
    tracing::info!(target: "daemoneye_eventbus::broker", path = %path_text(address.path()), "listening");
    memory::report(shared.config.total_queue_bytes, shared.budget.limit());
    started(Ok(()));
    let mut server = Server {
        shared: Arc::clone(shared),
        control: Arc::clone(control),
        sessions: JoinSet::new(),
        back_off: BACK_OFF_FIRST,
    };
    let (watching, spinning) = (Arc::clone(shared), Arc::clone(shared));
    tokio::spawn(async move { repeat_forever(|| watching.flush_watchdog.run(&watching)).await });
    tokio::spawn(async move { repeat_forever(|| spinning.spin.run()).await });
    let order = server.serve(&listener, file_thread).await;
    close(listener, file_thread);
    if let Order::Stop(deadline) = order {
        server.stop(deadline).await;
    }
    Ok(())
}

/// Of a copy: where it fails, the next start has the same.
#[cfg(unix)]
fn take_over(given: &Given) -> Result<Listener> {
    let copied = given.try_clone();
    Listener::from_fd(copied.map_err(|cause| Error::io("copy the listener's descriptor", &cause))?)
}

#[cfg(not(unix))]
fn take_over(given: &Given) -> Result<Listener> {
    match *given {}
}

fn close(listener: Listener, file_thread: &FileThread) {
    listener.stop_accepting();
    file_thread.run(|| listener.close());
}

async fn listen(shared: &Shared, file_thread: &FileThread, address: &Address) -> Result<Listener> {
    let (tell, told) = oneshot::channel();
    let (address, options) = (address.clone(), shared.config.listen_options());
    file_thread.run(move || {
        // Whoever gave up waiting has it closed here.
        let _ = tell.send(Listener::prepare(&address, &options));
    });
    let defect = |_| Error::Lifecycle("the broker could not start by a defect; please report it");
    told.await.map_err(defect)??.listen().await
}

/// A flood that has ended tells its number all the same.
fn log_suppressed(reasons: Vec<(&'static str, u64)>) {
    for (reason, suppressed) in reasons {
        tracing::warn!(
            target: "daemoneye_eventbus::broker",
            reason, suppressed, "more of the same, each counted and not logged"
        );
    }
}

struct Server {
    shared: Arc<Shared>,
    control: Arc<Control>,
    sessions: JoinSet<()>,
    back_off: Duration,
}

/// What comes of `work`, or that it panicked.
async fn caught<T>(work: impl Future<Output = T>) -> std::thread::Result<T> {
    let mut work = pin!(work);
    poll_fn(
        |context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(panic) => Poll::Ready(Err(panic)),
        },
    )
    .await
}

/// Does `work` again whenever it has ended, be it by a defect.
async fn repeat_forever<W: Future>(work: impl Fn() -> W) {
    loop {
        let _reported = caught(work()).await;
    }
}

impl Server {
    /// Listens until told to stop, whatever defect there may be in listening.
    async fn serve(&mut self, listener: &Listener, file_thread: &FileThread) -> Order {
        let mut pause_first = false;
        loop {
            let work = async {
                if pause_first {
                    self.pause().await;
                }
                self.listen(listener, file_thread).await
            };
            match caught(work).await {
                Ok(order) => return order,
                Err(_) => self.note_panic("a connection was not let in by a defect of the broker; please report it"),
            }
            pause_first = true;
        }
    }

    async fn listen(&mut self, listener: &Listener, file_thread: &FileThread) -> Order {
        let mut look = tokio::time::interval(PATH_CHECK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if let Some(order) = self.control.order() {
                return order;
            }
            tokio::select! {
                () = self.control.changed.notified() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        self.back_off = BACK_OFF_FIRST;
                        self.admit(stream, peer);
                        // However many more there are, those who are in have their turns between two of them.
                        tokio::task::yield_now().await;
                        // What ends as fast as others come is let go of as fast.
                        while let Some(ended) = self.sessions.try_join_next() {
                            self.note_end(&ended);
                        }
                    }
                    Err(cause) => self.back_off_from_accept(&cause).await,
                },
                Some(ended) = self.sessions.join_next() => self.note_end(&ended),
                _ = look.tick() => {
                    self.look_at_path(listener, file_thread);
                    log_suppressed(self.shared.counters.log.take_overdue());
                }
            }
        }
    }

    /// The kernel says who it is; nothing has been read yet.
    fn admit(&mut self, stream: Stream, peer: Peer) {
        let (shared, uid) = (&self.shared, peer.uid);
        let (reason, code, message) = if !shared.config.admits(uid, shared.own_uid) {
            shared.counters.note_uid(uid);
            let message = BrokerConfig::stranger(uid, shared.own_uid);
            (Refusal::NotPermitted, Code::NotPermitted, message)
        } else if !shared.rates.connect(&shared.config.rate_limits, uid) {
            let message = format!("uid {uid} connects more often than rate_limit allows; try again later");
            (Refusal::ConnectRate, Code::Busy, message)
        } else if !shared.has_memory() {
            let message = "there is no memory for another connection; try again later".to_owned();
            (Refusal::NoMemory, Code::Busy, message)
        } else {
            match shared.connection_limits.acquire(uid) {
                Ok(permit) => {
                    self.sessions.spawn(session::serve(Arc::clone(shared), stream, permit));
                    return;
                }
                Err(reason) => (reason, Code::Busy, shared.connection_limits.explain(reason)),
            }
        };
        session::turn_away(shared, &stream, reason, ErrText::new(code, message));
    }

    /// Descriptors may be used up: those connected go on, and the loop must not spin.
    async fn back_off_from_accept(&mut self, cause: &std::io::Error) {
        if let Some(suppressed) = self.shared.counters.note_and_log(Refusal::Accept) {
            tracing::warn!(
                target: "daemoneye_eventbus::broker",
                reason = Refusal::Accept.name(), %cause, suppressed, "cannot accept connections for now"
            );
        }
        self.pause().await;
    }

    async fn pause(&mut self) {
        tokio::select! {
            () = self.control.changed.notified() => self.control.changed.notify_one(),
            // A connection that ends frees descriptors.
            Some(ended) = self.sessions.join_next() => self.note_end(&ended),
            () = tokio::time::sleep(self.back_off) => self.back_off = (self.back_off * 2).min(BACK_OFF_MOST),
        }
    }

    fn note_end(&self, ended: &std::result::Result<(), JoinError>) {
        if ended.as_ref().is_err_and(JoinError::is_panic) {
            self.note_panic("a connection ended by a defect of the broker; please report it");
        }
    }

    fn note_panic(&self, what: &str) {
        if let Some(suppressed) = self.shared.counters.note_and_log(Refusal::Panic) {
            tracing::error!(target: "daemoneye_eventbus::broker", reason = Refusal::Panic.name(), suppressed, "{what}");
        }
    }

    /// While a look does not come back, what the last one has seen holds.
    fn look_at_path(&self, listener: &Listener, file_thread: &FileThread) {
        if self.control.looking.swap(true, Ordering::AcqRel) {
            return;
        }
        let (watch, control) = (listener.path_watch(), Arc::clone(&self.control));
        file_thread.run(move || {
            control.note_path(watch.state() == PathState::Lost);
            control.looking.store(false, Ordering::Release);
        });
    }

    /// Routes what has been read, writes what is queued and `BYE`, and cuts who is left at the deadline.
    async fn stop(&mut self, deadline: Instant) {
        self.shared.advance(Phase::Quiescing);
        self.shared.flush_watchdog.hand_on(&self.shared);
        self.wake_all();
        // A publisher who waits for somebody's queue must not take the others their goodbye.
        let half = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
        self.wait_until(half, Shared::is_quiesced).await;
        self.shared.advance(Phase::Deciding);
        self.wake_all();
        self.wait_until(deadline, Shared::is_quiesced).await;
        self.shared.advance(Phase::Leaving);
        // Who had begun to publish before the broker began to stop.
        self.shared.flush_watchdog.hand_on(&self.shared);
        self.shared.finish_locals();
        self.wake_all();
        self.wait_until(deadline, Shared::has_no_connections).await;
        self.sessions.shutdown().await;
        log_suppressed(self.shared.counters.log.take_rest());
        tracing::info!(target: "daemoneye_eventbus::broker", "stopped");
    }

    fn wake_all(&self) {
        for connection in self.shared.connections() {
            connection.waker.wake();
        }
    }

    /// Until `done`, or `deadline`, or whatever was ordered meanwhile.
    async fn wait_until(&mut self, deadline: Instant, done: impl Fn(&Shared) -> bool) {
        while !done(&self.shared) {
            let deadline = match self.control.order() {
                Some(Order::Stop(ordered)) => deadline.min(ordered),
                Some(Order::Abandon) => return,
                None => deadline,
            };
            tokio::select! {
                () = self.shared.progress.notified() => {}
                () = self.control.changed.notified() => {}
                Some(ended) = self.sessions.join_next() => self.note_end(&ended),
                () = tokio::time::sleep_until(deadline.into()) => return,
            }
        }
    }
}
