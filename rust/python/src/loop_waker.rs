//! Wakes an event loop from any thread: a token says for whom, and a byte in a socket that the loop watches has it take the tokens.
//!
//! Whoever wakes a loop does not attach to Python. However often that happens before the loop takes the tokens, one byte is written. None
//! is written while the loop itself is at work here ([`LoopWaker::suppress`]), since it takes the tokens when it is done; nor for what a
//! task of the loop publishes ([`Notifier::defer`]): a callback in the loop's next turn takes a fifth of the time that the kernel does.
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use daemoneye_eventbus_core::Error;
use daemoneye_eventbus_core::lock::Mutex;
use daemoneye_eventbus_core::queue::Wake;
use pyo3::prelude::*;

use crate::callback::CallbackWithFallback;
use crate::deferred_drops;
use crate::errors::raise;
use crate::fork_safe::ForkSafe;
use crate::loop_thread::{LoopThread, OwnLoop, wrong_loop};
use crate::publish_line::PublishLine;

/// A pair of sockets, which loops of every kind can wait for.
#[cfg(unix)]
mod socket_pair {
    use std::io;
    use std::os::fd::AsRawFd;
    pub(super) use std::os::unix::net::UnixStream as Socket;

    pub(super) fn pair() -> io::Result<(Socket, Socket)> {
        Socket::pair()
    }

    pub(super) fn number(end: &Socket) -> i64 {
        end.as_raw_fd().into()
    }
}

/// Windows has no pairs; a TCP connection to ourselves is one, once it is certain that nobody else connected first.
#[cfg(windows)]
mod socket_pair {
    use std::io;
    pub(super) use std::net::TcpStream as Socket;
    use std::net::{Ipv4Addr, TcpListener};
    use std::os::windows::io::AsRawSocket;

    pub(super) fn pair() -> io::Result<(Socket, Socket)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let write = Socket::connect(listener.local_addr()?)?;
        write.set_nodelay(true)?;
        let own = write.local_addr()?;
        loop {
            let (read, peer) = listener.accept()?;
            if peer == own {
                return Ok((read, write));
            }
        }
    }

    pub(super) fn number(end: &Socket) -> i64 {
        // The system's numbers are small.
        i64::try_from(end.as_raw_socket()).unwrap_or(-1)
    }
}

/// The sending half, shared by all who wake the loop.
pub(crate) struct Notifier {
    tokens: Mutex<Vec<u64>>,
    /// The loop will take the tokens, so no byte is needed: one was written, or wake-ups are suppressed.
    is_notified: AtomicBool,
    socket: socket_pair::Socket,
    thread: Arc<LoopThread>,
    /// Used on the loop's thread only: whether wake-ups are deferred, and whether there was one.
    is_deferring: AtomicBool,
    is_due: AtomicBool,
    /// The queue of a reader of this loop is more than half full, and it can take from it in the next turn.
    has_backlog: AtomicBool,
}

impl Notifier {
    pub(crate) fn notify(&self, token: u64) {
        self.tokens.lock().push(token);
        self.wake();
    }

    /// The same, unless the loop is to take this token anyway: where nobody takes them there is one of it.
    pub(crate) fn notify_once(&self, token: u64) {
        let mut tokens = self.tokens.lock();
        if !tokens.contains(&token) {
            tokens.push(token);
            drop(tokens);
            self.wake();
        }
    }

    fn wake(&self) {
        if self.is_notified.swap(true, Ordering::AcqRel) {
            return;
        }
        if self.thread.is_current() && self.is_deferring.load(Ordering::Relaxed) {
            self.is_due.store(true, Ordering::Relaxed);
        } else {
            self.wake_loop();
        }
    }

    /// Makes the loop's socket readable.
    pub(crate) fn wake_loop(&self) {
        // One that is full is readable as well.
        let _full = (&self.socket).write(&[1]);
    }

    /// Whether a reader of the loop was told of a backlog since this was last asked, on the loop's thread.
    #[inline]
    pub(crate) fn take_backlog(&self) -> bool {
        self.has_backlog.load(Ordering::Relaxed) && self.has_backlog.swap(false, Ordering::Relaxed)
    }

    /// Begins a step on the loop's thread whose wake-ups are deferred.
    #[inline]
    pub(crate) fn defer(&self) -> Deferral<'_> {
        self.is_deferring.store(true, Ordering::Relaxed);
        Deferral(self)
    }
}

/// A step whose wake-ups of its own loop are deferred. Dropped before it is finished, as on an error, it wakes the loop after all.
pub(crate) struct Deferral<'a>(&'a Notifier);

impl Deferral<'_> {
    /// Ends it. True if a wake-up was deferred: then the caller schedules a dispatch.
    #[inline]
    pub(crate) fn finish(self) -> bool {
        self.end()
    }

    #[inline]
    fn end(&self) -> bool {
        self.0.is_deferring.store(false, Ordering::Relaxed);
        let is_due = self.0.is_due.load(Ordering::Relaxed);
        if is_due {
            self.0.is_due.store(false, Ordering::Relaxed);
        }
        is_due
    }
}

impl Drop for Deferral<'_> {
    fn drop(&mut self) {
        if self.end() {
            self.0.wake_loop();
        }
    }
}

/// Wakes the loop for one token.
struct TokenWaker {
    notifier: Arc<Notifier>,
    token: u64,
}

impl Wake for TokenWaker {
    fn wake(&self) {
        self.notifier.notify(self.token);
    }

    fn tell_backlog(&self) {
        self.notifier.has_backlog.store(true, Ordering::Relaxed);
    }
}

/// One per event loop.
#[pyclass(frozen, module = "daemoneye_eventbus._native")]
pub(crate) struct LoopWaker {
    inner: ForkSafe<(Arc<Notifier>, socket_pair::Socket)>,
    own_loop: OwnLoop,
}

impl LoopWaker {
    /// What a core object calls to wake the loop for `token`.
    pub(crate) fn for_token(&self, py: Python<'_>, token: u64) -> PyResult<Arc<dyn Wake>> {
        let (notifier, _) = self.inner.get(py)?;
        Ok(Arc::new(TokenWaker {
            notifier: Arc::clone(notifier),
            token,
        }))
    }

    /// The sending half, for steps on the loop's own thread.
    pub(crate) fn notifier(&self, py: Python<'_>) -> PyResult<Arc<Notifier>> {
        Ok(Arc::clone(&self.inner.get(py)?.0))
    }

    /// The loop that it wakes, for one more object that belongs to it.
    pub(crate) fn own_loop(&self, py: Python<'_>) -> PyResult<OwnLoop> {
        self.own_loop.share(py)
    }

    /// The sending half, for those who must not keep it alive.
    pub(crate) fn weak(&self, py: Python<'_>) -> PyResult<Weak<Notifier>> {
        Ok(Arc::downgrade(&self.inner.get(py)?.0))
    }
}

#[pymethods]
impl LoopWaker {
    /// For `event_loop`, in which the caller runs.
    #[new]
    fn new(py: Python<'_>, event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        let ends = socket_pair::pair().and_then(|(read, socket)| {
            read.set_nonblocking(true)?;
            socket.set_nonblocking(true)?;
            Ok((read, socket))
        });
        let failed = |cause| Error::io("make the pair of sockets that wakes the event loop", &cause);
        let (read, socket) = raise(py, ends.map_err(failed))?;
        let thread = LoopThread::current();
        let notifier = Arc::new(Notifier {
            tokens: Mutex::new(Vec::new()),
            is_notified: AtomicBool::new(false),
            socket,
            thread: Arc::clone(&thread),
            is_deferring: AtomicBool::new(false),
            is_due: AtomicBool::new(false),
            has_backlog: AtomicBool::new(false),
        });
        Ok(Self {
            own_loop: OwnLoop::new(event_loop, thread, PublishLine::new(Arc::clone(&notifier)))?,
            inner: ForkSafe::new((notifier, read)),
        })
    }

    /// The socket that becomes readable when the loop is woken; this object keeps and closes it.
    fn fileno(&self, py: Python<'_>) -> PyResult<i64> {
        Ok(socket_pair::number(&self.inner.get(py)?.1))
    }

    /// Raises `ForkedProcess` in a forked child.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.inner.get(py).map(|_| ())
    }

    /// The loop, if it is the running one; raises `WrongLoop` elsewhere, and `ForkedProcess` in a forked child.
    fn check_loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.own_loop.running(py)?.ok_or_else(|| wrong_loop(py))
    }

    /// Has the loop woken for `token` when publishers of it stand in the line.
    fn wake_for_publishers(&self, token: u64) {
        self.own_loop.line().wake_with(token);
    }

    /// Serves the publishers that stand in the line; for a callback of the loop. With `direct`, their tasks go on within this.
    fn serve_publishers(&self, py: Python<'_>, direct: bool) -> PyResult<()> {
        self.own_loop.line().serve(py, direct)
    }

    /// Lets go of publishers that stood in the line of a loop when it was closed.
    fn forget_publishers(&self) {
        self.own_loop.line().clear();
    }

    /// Has no byte written until the next `take`: the caller will take the tokens by itself.
    pub(crate) fn suppress(&self, py: Python<'_>) -> PyResult<()> {
        self.inner.get(py)?.0.is_notified.store(true, Ordering::Release);
        Ok(())
    }

    /// `dispatch` as a callback for the loop's next turn; if the loop drops it, the socket wakes the loop.
    fn with_fallback(&self, py: Python<'_>, dispatch: Py<PyAny>) -> PyResult<CallbackWithFallback> {
        let notifier = ForkSafe::new(self.notifier(py)?);
        Ok(CallbackWithFallback::new(dispatch, move || {
            if let Some(notifier) = notifier.try_get() {
                notifier.wake_loop();
            }
        }))
    }

    /// The tokens since the last time, for a loop whose socket is readable. The socket is always read, also when there are none: a
    /// byte that stays in it would have the loop come here again and again.
    fn drain(&self, py: Python<'_>) -> PyResult<Vec<u64>> {
        let (_, read) = self.inner.get(py)?;
        let mut bytes = [0; 64];
        while matches!((&*read).read(&mut bytes), Ok(n) if n == bytes.len()) {}
        self.take(py)
    }

    /// The same without reading the socket: after `suppress`, or for a loop that has read it. A byte written before is read by `drain`.
    fn take(&self, py: Python<'_>) -> PyResult<Vec<u64>> {
        let (notifier, _) = self.inner.get(py)?;
        notifier.thread.set_current();
        // Cleared before the tokens are taken, so that a wake-up after that writes again.
        notifier.is_notified.store(false, Ordering::Release);
        let tokens = std::mem::take(&mut *notifier.tokens.lock());
        // Behind that: the token of what waits here is perhaps among them.
        deferred_drops::settle(py);
        Ok(tokens)
    }
}
