//! How threads of Rust reach an event loop: they note a token and ring; the loop waits at one end of a rope and asks for the tokens.
//!
//! Nobody who rings attaches to Python. However many ring before the loop looks, the rope is pulled once. While the loop itself
//! is at work here ([`LoopWaker::hold`]) it is not pulled at all; the loop looks at the tokens when it is done. Nor is it pulled for what a
//! task of the loop publishes ([`Notifier::mind`]): the loop is asked to look in its next turn, at a fifth of what the way by the kernel takes.
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use daemoneye_eventbus_core::Error;
use daemoneye_eventbus_core::lock::Mutex;
use daemoneye_eventbus_core::queue::Wake;
use pyo3::prelude::*;

use crate::callback::CallbackWithFallback;
use crate::errors::raise;
use crate::fork_safe::ForkSafe;
use crate::loop_thread::LoopThread;

/// A pair of sockets: loops of every kind can wait for one of those.
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

/// Windows has no pairs; two ends of a connection within this machine are one, once it is certain that nobody came in between.
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

pub(crate) struct Notifier {
    tokens: Mutex<Vec<u64>>,
    /// Somebody rang, or the loop holds the bell: no need to write.
    is_notified: AtomicBool,
    socket: socket_pair::Socket,
    thread: LoopThread,
    /// Used on the loop's thread only: a step is under way that minds the bell, and it rang.
    is_deferring: AtomicBool,
    is_due: AtomicBool,
}

impl Notifier {
    pub(crate) fn notify(&self, token: u64) {
        self.tokens.lock().push(token);
        if self.is_notified.swap(true, Ordering::AcqRel) {
            return;
        }
        if self.thread.is_current() && self.is_deferring.load(Ordering::Relaxed) {
            self.is_due.store(true, Ordering::Relaxed);
        } else {
            self.wake_loop();
        }
    }

    /// Has the kernel tell the loop that there is something to look at.
    pub(crate) fn wake_loop(&self) {
        // A full pipe is as good as a written one: the loop will look.
        let _full = (&self.socket).write(&[1]);
    }

    /// Begins a step on the loop's thread that may ring.
    #[inline]
    pub(crate) fn defer(&self) -> Deferral<'_> {
        self.is_deferring.store(true, Ordering::Relaxed);
        Deferral(self)
    }
}

/// A step that minds the bell. Where it fails the rope is pulled after all.
pub(crate) struct Deferral<'a>(&'a Notifier);

impl Deferral<'_> {
    /// Ends it. True if it rang: then the caller has the loop look.
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

/// Rings for one token.
struct TokenWaker {
    notifier: Arc<Notifier>,
    token: u64,
}

impl Wake for TokenWaker {
    fn wake(&self) {
        self.notifier.notify(self.token);
    }
}

/// One per event loop.
#[pyclass(frozen, module = "daemoneye_eventbus._native")]
pub(crate) struct LoopWaker {
    inner: ForkSafe<(Arc<Notifier>, socket_pair::Socket)>,
}

impl LoopWaker {
    /// What a core object is given to reach the holder of `token`.
    pub(crate) fn for_token(&self, py: Python<'_>, token: u64) -> PyResult<Arc<dyn Wake>> {
        let (notifier, _) = self.inner.get(py)?;
        Ok(Arc::new(TokenWaker {
            notifier: Arc::clone(notifier),
            token,
        }))
    }

    /// The bell, for those who ring it on the loop's own thread.
    pub(crate) fn notifier(&self, py: Python<'_>) -> PyResult<Arc<Notifier>> {
        Ok(Arc::clone(&self.inner.get(py)?.0))
    }

    /// For those who ring a loop only while it is there.
    pub(crate) fn weak(&self, py: Python<'_>) -> PyResult<Weak<Notifier>> {
        Ok(Arc::downgrade(&self.inner.get(py)?.0))
    }
}

#[pymethods]
impl LoopWaker {
    #[new]
    fn new(py: Python<'_>) -> PyResult<Self> {
        let ends = socket_pair::pair().and_then(|(read, socket)| {
            read.set_nonblocking(true)?;
            socket.set_nonblocking(true)?;
            Ok((read, socket))
        });
        let failed = |cause| Error::io("make the pair of sockets that wakes the event loop", &cause);
        let (read, socket) = raise(py, ends.map_err(failed))?;
        let notifier = Notifier {
            tokens: Mutex::new(Vec::new()),
            is_notified: AtomicBool::new(false),
            socket,
            thread: LoopThread::current(),
            is_deferring: AtomicBool::new(false),
            is_due: AtomicBool::new(false),
        };
        Ok(Self {
            inner: ForkSafe::new((Arc::new(notifier), read)),
        })
    }

    /// The socket that becomes readable when somebody rings; it stays ours.
    fn fileno(&self, py: Python<'_>) -> PyResult<i64> {
        Ok(socket_pair::number(&self.inner.get(py)?.1))
    }

    /// Raises `ForkedProcess` in a forked child.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.inner.get(py).map(|_| ())
    }

    /// From now to the next `take` nobody needs to ring: the caller will look.
    pub(crate) fn suppress(&self, py: Python<'_>) -> PyResult<()> {
        self.inner.get(py)?.0.is_notified.store(true, Ordering::Release);
        Ok(())
    }

    /// For a loop that is to `look` in its next turn. Where that comes to nothing the kernel tells it.
    fn with_fallback(&self, py: Python<'_>, look: Py<PyAny>) -> PyResult<CallbackWithFallback> {
        let notifier = ForkSafe::new(self.notifier(py)?);
        Ok(CallbackWithFallback::new(look, move || {
            if let Some(notifier) = notifier.try_get() {
                notifier.wake_loop();
            }
        }))
    }

    /// Who rang since the last time; for a loop that was told that the socket is readable. It is always read, or whoever writes and is
    /// kept from going on by the loop that he woke would have that loop look again and again.
    fn drain(&self, py: Python<'_>) -> PyResult<Vec<u64>> {
        let (_, read) = self.inner.get(py)?;
        let mut bytes = [0; 64];
        while matches!((&*read).read(&mut bytes), Ok(n) if n == bytes.len()) {}
        self.take(py)
    }

    /// The same for a loop that held the bell, or has read from the socket itself. A byte that was written before is read in its turn.
    fn take(&self, py: Python<'_>) -> PyResult<Vec<u64>> {
        let (notifier, _) = self.inner.get(py)?;
        // Cleared before looking: who rings after the look writes again.
        notifier.is_notified.store(false, Ordering::Release);
        Ok(std::mem::take(&mut *notifier.tokens.lock()))
    }
}
