//! A connected socket.
//!
//! Reading and writing are single system calls that never wait and never raise SIGPIPE, whatever mode the descriptor is in. Waiting
//! uses registrations of one direction each, so nobody is woken by readiness it did not ask for.
#![cfg_attr(
    target_os = "linux",
    expect(
        unsafe_code,
        reason = "no safe call tells what a peer has not read, nor who it is if it has no pid here"
    )
)]
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::time::timeout;

use super::descriptor::{Descriptor, Registered};
use super::refused;
use crate::error::{Error, Result};
use crate::printable::path_text;
use crate::transport::{Address, DialError, Peer, Retry, User};

/// Linux's UIO_MAXIOV; more at once is an error there.
const MAX_SLICES: usize = 1024;

/// Apple's systems have no such flag; there every socket is made with SO_NOSIGPIPE.
#[cfg(not(target_vendor = "apple"))]
const SEND_FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
#[cfg(target_vendor = "apple")]
const SEND_FLAGS: SendFlags = SendFlags::DONTWAIT;

/// Asked of the kernel for what a client writes. Linux cuts it to `net.core.wmem_max` and then doubles it, for what it needs beside the
/// bytes. Its default of 208 KiB holds so few large messages that publisher and broker would wait for each other in turn.
const SEND_BUFFER: usize = 512 * 1024;

/// How long a reader is given where the kernel does not say what it has read.
const DRAIN_GUESS: Duration = Duration::from_millis(10);
/// What cannot be waited for, for lack of a descriptor, is tried again no sooner.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// A kernel that forgets to say that something was read is asked again.
const RECHECK: Duration = Duration::from_millis(500);

/// Of a socket that streams cannot connect to; its maker may be there or not.
pub(super) const NOT_A_STREAM: &str = "the socket there is of another type (for datagrams, for example), which is no broker's; \
     have its maker remove it, or choose another path";

/// A connected socket; dropping it ends the connection.
#[derive(Debug)]
pub struct Stream {
    fd: Arc<Descriptor>,
    peer: Peer,
}

impl Stream {
    /// Connects and checks the server's uid against `server_uids` before a byte is sent. `EAGAIN` (full backlog), no such file and
    /// refused may be tried again; what else the system says only by who was connected before; a wrong uid not.
    pub fn dial(address: &Address, server_uids: &[u32]) -> Result<Self, DialError> {
        let path = address.path();
        let fd = connect(path).map_err(|cause| dial_error(path, &cause))?;
        let stream = Self::adopt(fd).map_err(|cause| {
            Retry::Yes.because(Error::io(format!("ask who listens at {}", path_text(path)), &cause))
        })?;
        let uid = stream.peer.uid;
        if !server_uids.contains(&uid) {
            return Err(Retry::No.because(Error::PermissionRefused {
                uid,
                reason: format!(
                    "the broker at {} runs as uid {uid}, and server_uids is {server_uids:?}; check who made the socket, or add that uid",
                    path_text(path)
                ),
                topic: None,
            }));
        }
        Ok(stream)
    }

    /// Takes over a connected, non-blocking socket.
    pub(super) fn adopt(fd: OwnedFd) -> io::Result<Self> {
        let (fd, peer) = Peer::of(fd)?;
        Ok(Self {
            fd: Arc::new(Descriptor::new(fd)),
            peer,
        })
    }

    /// Who is at the other end, by the kernel's word.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    pub fn user(&self) -> User {
        User {
            uid: self.peer.uid,
            sid: None,
        }
    }

    /// 0 = end of file.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let fd = self.fd.get()?;
        loop {
            match net::recv(fd, &mut *buf, RecvFlags::DONTWAIT) {
                Ok((read, _)) => return Ok(read),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// How many bytes the kernel took. Of nothing (`&[]`): fails if nobody is left at the other end.
    pub fn try_write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let fd = self.fd.get()?;
        let bufs = bufs.get(..MAX_SLICES).unwrap_or(bufs);
        loop {
            match net::sendmsg(fd, bufs, &mut SendAncillaryBuffer::default(), SEND_FLAGS) {
                Ok(written) => return Ok(written),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Waits until the kernel takes bytes again, or never will: the peer hung up, or somebody called [`shut_down`](Self::shut_down).
    /// Registers for the wait only; where it cannot, it fails after a pause.
    pub async fn writable(&self) -> io::Result<()> {
        self.watch_writing().await?.get()?.writable().await.map(drop)
    }

    async fn watch_writing(&self) -> io::Result<Registered> {
        let fd = self.fd.duplicate();
        let watched = fd.and_then(|fd| Registered::new(Arc::new(fd), Interest::WRITABLE));
        if watched.is_err() {
            // Whoever tries again at once would only spin.
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        watched
    }

    /// Registers for reading with the current tokio runtime.
    pub fn readable(&self) -> io::Result<Readable> {
        // Its own number as long as that is free in this reactor, so that a connection costs one descriptor and not two.
        match Registered::new(Arc::clone(&self.fd), Interest::READABLE) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
                Registered::new(Arc::new(self.fd.duplicate()?), Interest::READABLE)
            }
            registered => registered,
        }
        .map(Readable)
    }

    /// Lets nothing more come in. What has come can be read, and then the end of file; on Linux, elsewhere nothing is promised of it.
    #[cfg(target_os = "linux")]
    pub(crate) fn stop_receiving(&self) {
        if self.fd.is_own()
            && let Ok(fd) = self.fd.get()
        {
            // It fails only where there is nothing left to end.
            let _ = net::shutdown(fd, Shutdown::Read);
        }
    }

    /// Ends both directions; reads and writes of other holders fail or give end of file at once.
    pub fn shut_down(&self) {
        // In a forked child this would end the parent's connection.
        if self.fd.is_own()
            && let Ok(fd) = self.fd.get()
        {
            // It fails only where there is nothing left to end.
            let _ = net::shutdown(fd, Shutdown::Both);
        }
    }

    /// Bytes that the kernel holds and the peer has not read (more than were written: the kernel counts its own overhead), where
    /// it can say; `None` elsewhere.
    pub fn unsent(&self) -> Option<usize> {
        self.fd.get().ok().and_then(output_queue)
    }

    /// Waits until the peer has read everything that was written, or the connection has ended. Where the kernel does not say,
    /// for [`DRAIN_GUESS`]. Registers for the wait only; where it cannot, it fails after a pause.
    pub async fn drained(&self) -> io::Result<()> {
        let watched = self.watch_writing().await?;
        loop {
            // Asked after the readiness was taken: what is read from here on makes the socket ready anew.
            let mut guard = match timeout(RECHECK, watched.get()?.writable()).await {
                Ok(ready) => Some(ready?),
                Err(_) => None,
            };
            match self.unsent() {
                Some(0) => return Ok(()),
                Some(_) => {}
                None => {
                    tokio::time::sleep(DRAIN_GUESS).await;
                    return Ok(());
                }
            }
            if let Some(guard) = &mut guard {
                if guard.ready().is_write_closed() {
                    return Ok(());
                }
                guard.clear_ready();
            }
        }
    }

    /// For an event loop that watches descriptors itself.
    pub fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Another process may hold a copy (a fork without our hook); the peer must see the end nevertheless.
        self.shut_down();
    }
}

/// A registration for read readiness.
#[derive(Debug)]
pub struct Readable(Registered);

impl Readable {
    /// Waits until `read` (normally [`Stream::try_read`]) gives something else than `WouldBlock`.
    pub async fn read_with<T>(&self, mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            // Readiness is forgotten only when `read` says `WouldBlock`, so nothing is missed that arrives in between.
            let mut guard = self.0.get()?.readable().await?;
            if let Ok(result) = guard.try_io(|_| read()) {
                return result;
            }
        }
    }
}

/// SIOCOUTQ, which Linux answers for sockets of this family.
#[cfg(target_os = "linux")]
fn output_queue(fd: BorrowedFd<'_>) -> Option<usize> {
    // SAFETY: SIOCOUTQ, which is TIOCOUTQ by another name, writes one `int` to its argument and does nothing else.
    let asked = unsafe { rustix::ioctl::Getter::<{ libc::TIOCOUTQ as rustix::ioctl::Opcode }, std::ffi::c_int>::new() };
    // SAFETY: the same; `fd` is open while it is borrowed.
    let unsent = unsafe { rustix::ioctl::ioctl(fd, asked) };
    unsent.ok().and_then(|unsent| usize::try_from(unsent).ok())
}

#[cfg(not(target_os = "linux"))]
fn output_queue(_: BorrowedFd<'_>) -> Option<usize> {
    None
}

/// Pid, uid and gid of whoever is at the other end. The pid is 0 of a process that this one's pid namespace does not have, which no type
/// of the libraries can hold.
#[cfg(target_os = "linux")]
pub(in crate::transport) fn peer_credentials(fd: &OwnedFd) -> io::Result<(i32, u32, u32)> {
    let nobody = u32::MAX;
    let mut told = libc::ucred {
        pid: 0,
        uid: nobody,
        gid: nobody,
    };
    let mut size = libc::socklen_t::try_from(size_of_val(&told)).unwrap_or_default();
    // SAFETY: `fd` is open while it is borrowed, and the kernel writes `size` bytes at most to `told`, whose fields may hold any number.
    let failed = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut told).cast(),
            &raw mut size,
        )
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((told.pid, told.uid, told.gid))
}

/// Connects without waiting. A full backlog is `EAGAIN`, not a success.
pub(super) fn connect(path: &Path) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // What the system has by default serves too, only more slowly.
    let _default_stays = socket.set_send_buffer_size(SEND_BUFFER);
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

/// What it means that the system refuses to connect to `path`.
pub fn dial_error(path: &Path, cause: &io::Error) -> DialError {
    let errno = Errno::from_io_error(cause);
    // Some systems say "refused" for any file that is not a listening socket, which no retry would change.
    if matches!(errno, Some(Errno::CONNREFUSED | Errno::NOTSOCK))
        && std::fs::metadata(path).is_ok_and(|found| !found.file_type().is_socket())
    {
        return Retry::OnceConnected.because(refused(path, "what is there is not a socket; check the path"));
    }
    if errno == Some(Errno::PROTOTYPE) {
        return Retry::OnceConnected.because(refused(path, NOT_A_STREAM));
    }
    if let Some(Errno::ACCESS | Errno::PERM) = errno {
        let uid = Peer::own_uid();
        return Retry::OnceConnected.because(Error::PermissionRefused {
            uid,
            reason: format!(
                "uid {uid} may not write to the socket at {} or not enter its directory; run as the broker's user, or have the broker use socket_group",
                path_text(path)
            ),
            topic: None,
        });
    }
    let passes = matches!(
        errno,
        Some(
            Errno::NOENT
                | Errno::CONNREFUSED
                | Errno::CONNRESET
                | Errno::AGAIN
                | Errno::INPROGRESS
                | Errno::INTR
                | Errno::TIMEDOUT
        )
    );
    let action = match errno {
        Some(Errno::AGAIN) => format!(
            "connect to {} (the broker's queue of new connections is full)",
            path_text(path)
        ),
        _ => format!("connect to {}", path_text(path)),
    };
    let retry = if passes { Retry::Yes } else { Retry::OnceConnected };
    retry.because(Error::io(action, cause))
}
