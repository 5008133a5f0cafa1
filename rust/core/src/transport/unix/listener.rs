//! The listening socket of a broker.
//!
//! Start: trusted directory, lock, what is found at the path, a socket that is 0600 from its first visible moment, its group, and
//! only then the reactor. Stop, in the reverse order: nothing more is accepted, the file goes if it is still ours, then the socket,
//! then the lock. Dropping does the same as closing; in a forked child neither does anything.
//!
//! [`Listener::prepare`], [`Listener::close`] and [`PathWatch::state`] wait for the file system, which may hang; the rest does not.
//!
//! A socket that a service manager made and listens on already ([`Listener::from_fd`]) is the manager's: its path, mode and group are
//! neither checked nor changed nor removed, there is no lock, and closing only lets go of our copy, so that whoever connects
//! meanwhile waits for the next broker.
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{self, Shutdown};
use socket2::SockRef;
use tokio::io::Interest;

use super::descriptor::{Descriptor, Registered};
use super::lock::Lock;
use super::passing::refuse_descriptors;
use super::socket_file::{PathWatch, SocketFile, SocketPath};
use super::stream::Stream;
use crate::error::{Error, Result};
use crate::log::Limiter;
use crate::printable::path_text;
use crate::transport::{Address, ListenOptions, Peer};

const OWNER_ONLY: Mode = Mode::RUSR.union(Mode::WUSR);
/// Capped by the system (`somaxconn`).
const GIVEN_BACKLOG: i32 = 4096;
const GONE: &str = "gone_at_accept";
const OWNER_AND_GROUP: Mode = OWNER_ONLY.union(Mode::RGRP).union(Mode::WGRP);

/// A broker's listening socket, with its file and its lock.
#[derive(Debug)]
pub struct Listener {
    // In the order of dropping.
    file: Option<SocketFile>,
    socket: Registered,
    _lock: Option<Lock>,
    log: Limiter,
}

/// All that a listener needs of the file system, or a connection to whoever has its path.
#[derive(Debug)]
pub struct Prepared {
    path: PathBuf,
    found: Found,
    lock: Lock,
}

#[derive(Debug)]
enum Found {
    Free(SocketFile, Descriptor),
    /// A connection to them, and how long they may take to answer.
    Taken(SocketPath, OwnedFd, Duration),
}

impl Prepared {
    /// Must run inside a tokio runtime with I/O and time.
    pub async fn listen(self) -> Result<Listener> {
        let Self { path, found, lock } = self;
        let (file, socket) = match found {
            Found::Free(file, socket) => (file, socket),
            Found::Taken(socket_path, socket, timeout) => {
                return Err(socket_path.occupied_error(socket, timeout).await);
            }
        };
        let socket = Registered::new(Arc::new(socket), Interest::READABLE)
            .map_err(|cause| Error::io(format!("watch the listener at {}", path_text(&path)), &cause))?;
        Ok(Listener {
            file: Some(file),
            socket,
            _lock: Some(lock),
            log: Limiter::default(),
        })
    }
}

impl Listener {
    /// The start-up order of `docs/operations.md`: all of it that needs the file system and no runtime.
    pub fn prepare(address: &Address, options: &ListenOptions) -> Result<Prepared> {
        let mode = requested_mode(options)?;
        let socket_path = SocketPath::open(address)?;
        let lock = Lock::take(&socket_path)?;
        let path = address.path();
        let prepared = |found| Prepared {
            path: path.to_path_buf(),
            found,
            lock,
        };
        if let Some(socket) = socket_path.clear()? {
            return Ok(prepared(Found::Taken(socket_path, socket, options.probe_timeout)));
        }
        let socket = match listen(path) {
            // Noted at once: whoever forks while the file system takes its time leaves no copy behind.
            Ok(socket) => Descriptor::new(socket),
            Err(cause) => {
                // It may have got its name and no more; then that is ours to remove, unless the name is what somebody else has taken.
                if cause.kind() != io::ErrorKind::AddrInUse {
                    drop(SocketFile::claim(socket_path));
                }
                return Err(Error::io(format!("listen at {}", path_text(path)), &cause));
            }
        };
        let file = SocketFile::claim(socket_path)?;
        if options.group.is_some() {
            // Before the first of them can connect.
            refuse_descriptors(
                socket
                    .get()
                    .map_err(|cause| Error::io(format!("listen at {}", path_text(path)), &cause))?,
            );
        }
        file.set_access(mode, options.group)?;
        Ok(prepared(Found::Free(file, socket)))
    }

    /// Takes over a socket that listens already. Must run inside a tokio runtime with I/O.
    ///
    /// Other processes hold the same socket. What they notice: it blocks nobody any more, as no service manager's does; the queue of new
    /// connections has the length that `listen` gives it; and from then on the kernel names this process to whoever connects.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        let path = given_path(&fd)?;
        let failed = |cause| Error::io(format!("take over the listener at {}", path_text(&path)), &cause);
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
        rustix::io::ioctl_fionbio(&fd, true).map_err(|errno| failed(errno.into()))?;
        // Its mode is the manager's, and may let others in.
        refuse_descriptors(fd.as_fd());
        net::listen(&fd, GIVEN_BACKLOG).map_err(|errno| failed(errno.into()))?;
        let socket = Registered::new(Arc::new(Descriptor::new(fd)), Interest::READABLE).map_err(failed)?;
        Ok(Self {
            file: None,
            socket,
            _lock: None,
            log: Limiter::default(),
        })
    }

    /// The next connection and the kernel's word on who it is. `Err` is the listener's trouble (descriptor limit, ...), never fatal
    /// for those connected; back off and go on. Dropping the future loses no connection. Called again now and then, it tells what the
    /// log has left out.
    pub async fn accept(&self) -> io::Result<(Stream, Peer)> {
        let socket = self.socket.get()?;
        log_suppressed(self.log.take_overdue());
        loop {
            let mut guard = socket.readable().await?;
            let Ok(accepted) = guard.try_io(|socket| accept_one(socket.get_ref(), self.file.is_none())) else {
                continue;
            };
            match accepted {
                Ok(stream) => {
                    let peer = stream.peer();
                    return Ok((stream, peer));
                }
                Err(cause) if is_peer_error(&cause) => {
                    if let Some(suppressed) = self.log.due(GONE) {
                        tracing::debug!(reason = GONE, %cause, suppressed, "a connection ended before it was accepted");
                    }
                }
                Err(cause) => return Err(cause),
            }
        }
    }

    pub fn path_watch(&self) -> PathWatch {
        // A path of the service manager is its business.
        self.file.as_ref().map_or_else(PathWatch::unwatched, SocketFile::watch)
    }

    /// Closes, removes the socket file if it is still ours, releases the lock.
    pub fn close(self) {}

    /// The first part of closing: refuses newcomers at once, also where a fork has left a copy of the socket behind.
    pub(crate) fn stop_accepting(&self) {
        if self.file.is_some()
            && let Ok(socket) = self.socket.get()
            && socket.get_ref().is_own()
            && let Ok(fd) = socket.get_ref().get()
        {
            let _ = net::shutdown(fd, Shutdown::Both);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        log_suppressed(self.log.take_rest());
        self.stop_accepting();
    }
}

/// Where a given socket listens; refuses what is no listening Unix stream socket with a path.
pub fn given_path(fd: &OwnedFd) -> Result<PathBuf> {
    let refuse = |reason: &str| {
        Error::invalid(
            "listener",
            format!("{reason}; give a listening Unix stream socket with a path"),
        )
    };
    let socket = SockRef::from(fd);
    let address = socket.local_addr().map_err(|_| refuse("the descriptor is no socket"))?;
    if !address.is_unix() {
        return Err(refuse("it is no Unix socket"));
    }
    if !socket.r#type().is_ok_and(|kind| kind == socket2::Type::STREAM) {
        return Err(refuse("it is no stream socket"));
    }
    // Apple's systems do not have the question, and others may not answer it; there accepting gives the answer.
    #[cfg(not(target_vendor = "apple"))]
    if matches!(rustix::net::sockopt::socket_acceptconn(fd), Ok(false)) {
        return Err(refuse("nobody listens on it"));
    }
    match address.as_pathname() {
        Some(path) => Ok(path.to_path_buf()),
        None => Err(refuse("it has no path (an abstract name has no permissions)")),
    }
}

fn requested_mode(options: &ListenOptions) -> Result<Mode> {
    match (options.mode, options.group) {
        (0o600, None) => Ok(OWNER_ONLY),
        (0o660, Some(_)) => Ok(OWNER_AND_GROUP),
        (0o600, Some(_)) => Err(Error::invalid(
            "socket_mode",
            "socket_group has no effect with mode 0600; set socket_mode to 0o660",
        )),
        (0o660, None) => Err(Error::invalid(
            "socket_mode",
            "mode 0660 needs a socket_group; name the group, or use 0o600",
        )),
        (mode, _) => Err(Error::invalid(
            "socket_mode",
            format!("{mode:04o} is neither 0o600 nor, with socket_group, 0o660; use one of them"),
        )),
    }
}

/// `fchmod` before `bind`: no moment in which a umask decides.
#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "openbsd"
))]
fn listen(path: &Path) -> io::Result<OwnedFd> {
    use interprocess::local_socket::{GenericFilePath, ListenerNonblockingMode, ListenerOptions, ToFsName};
    use interprocess::os::unix::{local_socket::ListenerOptionsExt, uds_local_socket};

    ListenerOptions::new()
        .name(path.to_fs_name::<GenericFilePath>()?)
        .mode(OWNER_ONLY.bits())
        // By name, it would remove a successor's socket too.
        .reclaim_name(false)
        .nonblocking(ListenerNonblockingMode::Accept)
        .create_sync_as::<uds_local_socket::Listener>()
        .map(OwnedFd::from)
}

/// Where the mode cannot be set beforehand, nobody gets in beforehand: the socket listens only once its mode is set.
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "openbsd"
)))]
fn listen(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    rustix::fs::chmod(path, OWNER_ONLY)?;
    socket.listen(i32::from(u8::MAX) + 1)?;
    Ok(socket.into())
}

/// What the log left out, as quietly as the line that it would have been in.
fn log_suppressed(left_out: Vec<(&'static str, u64)>) {
    for (reason, suppressed) in left_out {
        tracing::debug!(reason, suppressed, "more of the same, not logged");
    }
}

/// `given`: somebody may have connected before the listener was ours.
fn accept_one(listener: &Descriptor, given: bool) -> io::Result<Stream> {
    let fd = listener.get()?;
    let (socket, _) = SockRef::from(&fd).accept()?;
    if given {
        refuse_descriptors(socket.as_fd());
    }
    socket.set_nonblocking(true)?;
    // "Would block" would be taken for an empty queue.
    Stream::adopt(socket.into()).map_err(|_| io::ErrorKind::ConnectionAborted.into())
}

/// Not the listener's trouble: the next connection may be fine.
fn is_peer_error(cause: &io::Error) -> bool {
    cause.kind() == io::ErrorKind::ConnectionAborted
        || matches!(
            Errno::from_io_error(cause),
            Some(Errno::INTR | Errno::PROTO | Errno::CONNRESET)
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[cfg_attr(miri, ignore = "no sockets there")]
    async fn connections_that_nobody_follows_are_told_too() {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::from_path(&folder.path().join("b.sock")).unwrap();
        let listener = Listener::prepare(&address, &ListenOptions::default()).unwrap();
        let listener = listener.listen().await.unwrap();
        assert_eq!((listener.log.due(GONE), listener.log.due(GONE)), (Some(0), None));
        let look = async || tokio::time::timeout(std::time::Duration::from_millis(1), listener.accept()).await;
        assert!(look().await.is_err() && listener.log.next_overdue().is_some());
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        assert!(look().await.is_err() && listener.log.next_overdue().is_none());
    }
}
