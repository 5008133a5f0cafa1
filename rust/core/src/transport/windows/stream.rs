//! A connected pipe.
//!
//! Reading and writing never wait and work from any thread, as on Unix; what they find there is what the runtime has been told of. Who
//! is at the other end is known before a byte is sent.
use std::ffi::c_void;
use std::io::{self, IoSlice};
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::path::Path;
use std::pin::pin;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::windows::named_pipe::NamedPipeServer;
use tokio::sync::Notify;
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_BAD_PIPE, ERROR_BROKEN_PIPE, ERROR_CANNOT_IMPERSONATE, ERROR_FILE_NOT_FOUND,
    ERROR_INVALID_NAME, ERROR_NO_DATA, ERROR_PIPE_BUSY, ERROR_PIPE_NOT_CONNECTED, ERROR_SEM_TIMEOUT, GENERIC_READ,
    HANDLE, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_OVERLAPPED, FILE_TYPE_PIPE, FILE_WRITE_ATTRIBUTES, FILE_WRITE_DATA, GetFileType,
    OPEN_EXISTING, SECURITY_IDENTIFICATION, SECURITY_SQOS_PRESENT,
};
use windows_sys::Win32::System::Pipes::{GetNamedPipeClientProcessId, GetNamedPipeServerProcessId};

use super::pipe::Pipe;
use super::security::{self, own_sid};
use super::{refused, wide};
use crate::error::{Error, Result};
use crate::lock::Mutex;
use crate::transport::{Address, DialError, Peer, Retry, Sid, User};

/// Everything that "generic write" means but the right to make an instance, which a broker gives to nobody.
const ACCESS: u32 = GENERIC_READ | FILE_WRITE_DATA | FILE_WRITE_ATTRIBUTES;
/// How long a peer is given to read what is in the pipe.
const DRAIN_GUESS: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub struct Stream {
    shared: Arc<Shared>,
    peer: Peer,
    /// Whose the other end is.
    sid: Option<Sid>,
}

struct Shared {
    /// `None` after the end.
    pipe: Mutex<Option<Arc<Pipe>>>,
    ended: Notify,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("open", &self.pipe().is_some()).finish()
    }
}

impl Shared {
    fn pipe(&self) -> Option<Arc<Pipe>> {
        self.pipe.lock().clone()
    }

    /// Until `ready`, or the end.
    async fn wait(&self, ready: impl AsyncFnOnce(&Pipe) -> io::Result<()>) -> io::Result<()> {
        let mut ended = pin!(self.ended.notified());
        ended.as_mut().enable();
        let Some(pipe) = self.pipe() else {
            return Ok(());
        };
        tokio::select! {
            () = ended => Ok(()),
            done = ready(&pipe) => done,
        }
    }
}

impl Stream {
    /// Connects and checks who owns the pipe, and who serves it, against `servers` before a byte is sent. No such pipe and no free
    /// instance may be tried again; what else the system says only by who was connected before; a wrong owner not.
    pub fn dial(address: &Address, servers: &[Sid]) -> Result<Self, DialError> {
        let path = address.path();
        let handle = open(path).map_err(|cause| explain(path, &cause))?;
        let server = Server::of(handle.as_handle())
            .map_err(|cause| Retry::Yes.because(Error::io(format!("ask who listens at {}", path.display()), &cause)))?;
        if let Some(stranger) = server.not_among(servers) {
            let known: Vec<&str> = servers.iter().map(Sid::as_str).collect();
            return Err(Retry::No.because(Error::PermissionRefused {
                uid: stranger.relative(),
                reason: format!(
                    "the pipe {} is {stranger}'s, and server_sids is {known:?}; check who made the pipe, or add the SID",
                    path.display()
                ),
                topic: None,
            }));
        }
        let peer = Peer {
            uid: uid_of(&server.owner),
            gid: 0,
            pid: Some(server.pid),
        };
        let pipe = Pipe::of_client(handle).map_err(|cause| {
            Retry::OnceConnected.because(Error::io(format!("watch the pipe {}", path.display()), &cause))
        })?;
        Ok(Self::new(pipe, peer, Some(server.owner)))
    }

    /// Takes over an instance that somebody has connected to.
    pub(super) fn adopt(server: NamedPipeServer) -> io::Result<Self> {
        let pipe = Pipe::of_server(server)?;
        let pid = process_at(pipe.as_handle(), GetNamedPipeClientProcessId)?;
        // Who may connect the access list has decided; this is for limits, rules and logs. Who does not say who they are is a stranger.
        let user = match security::sid_of_client(pipe.as_handle()) {
            // The system does not know before there is something to read; that a process has ended, and its number is another's by now,
            // would have to happen between its connecting and here.
            Err(cause) if code(&cause) == ERROR_CANNOT_IMPERSONATE => security::sid_of_process(pid),
            asked => asked,
        };
        let sid = user.ok();
        let uid = sid.as_ref().map_or(Peer::NOBODY, uid_of);
        let peer = Peer {
            uid,
            gid: 0,
            pid: Some(pid),
        };
        Ok(Self::new(pipe, peer, sid))
    }

    fn new(pipe: Arc<Pipe>, peer: Peer, sid: Option<Sid>) -> Self {
        Self {
            shared: Arc::new(Shared {
                pipe: Mutex::new(Some(pipe)),
                ended: Notify::new(),
            }),
            peer,
            sid,
        }
    }

    pub fn peer(&self) -> Peer {
        self.peer
    }

    pub fn user(&self) -> User {
        User {
            uid: self.peer.uid,
            sid: self.sid.clone(),
        }
    }

    /// 0 = end of file.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.shared.pipe().map_or(Ok(0), |pipe| pipe.try_read(buf))
    }

    /// Of nothing: whether anybody is left at the other end.
    pub fn try_write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let pipe = self.shared.pipe().ok_or(io::ErrorKind::BrokenPipe)?;
        pipe.try_write(bufs)
    }

    /// Waits until the system takes bytes again, or never will: the peer hung up, or somebody called [`shut_down`](Self::shut_down).
    pub async fn writable(&self) -> io::Result<()> {
        self.shared.wait(async |pipe| pipe.writable().await).await
    }

    /// To wait for something to read with; the pipe is registered for life with the runtime that it was made on.
    pub fn readable(&self) -> io::Result<Readable> {
        Ok(Readable(Arc::clone(&self.shared)))
    }

    /// Ends both directions; reads of other holders give end of file and writes fail at once. What was written before still arrives.
    pub fn shut_down(&self) {
        let pipe = self.shared.pipe.lock().take();
        self.shared.ended.notify_waiters();
        if let Some(pipe) = pipe {
            pipe.close();
        }
    }

    /// Bytes that are neither with the peer nor in the pipe: closed now, they would be lost. Less than on Unix, where it is what the
    /// peer has not read: of that Windows tells nothing without waiting for it.
    pub fn unsent(&self) -> Option<usize> {
        Some(self.shared.pipe().map_or(0, |pipe| pipe.unsent()))
    }

    /// Waits until all that was written is with the peer or in the pipe, and then for [`DRAIN_GUESS`], since nobody says when the peer has
    /// read it; or until the connection has ended.
    pub async fn drained(&self) -> io::Result<()> {
        self.writable().await?;
        self.shared
            .wait(async |_| {
                tokio::time::sleep(DRAIN_GUESS).await;
                Ok(())
            })
            .await
    }

    /// Owner and access list of the pipe, as the system has them, in the security descriptor definition language.
    pub fn security(&self) -> io::Result<String> {
        let pipe = self.shared.pipe().ok_or(io::ErrorKind::BrokenPipe)?;
        security::sddl_of(pipe.as_handle())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Waits for something to read.
#[derive(Debug)]
pub struct Readable(Arc<Shared>);

impl Readable {
    /// Waits until `read` (normally [`Stream::try_read`]) gives something else than `WouldBlock`.
    pub async fn read_with<T>(&self, mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            self.0.wait(async |pipe| pipe.readable().await).await?;
            match read() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }
}

/// Whom a client has reached.
pub(super) struct Server {
    pub(super) pid: u32,
    pub(super) owner: Sid,
    /// The user of the process, where this one may ask.
    user: Option<Sid>,
}

impl Server {
    pub(super) fn of(pipe: BorrowedHandle<'_>) -> io::Result<Self> {
        let pid = process_at(pipe, GetNamedPipeServerProcessId)?;
        Ok(Self {
            pid,
            owner: security::owner_of(pipe)?,
            // A service's process is not everybody's to look at.
            user: security::sid_of_process(pid).ok(),
        })
    }

    /// Who of both is not among `known`. The owner is bound to the pipe and decides; the number of a process may have been given to
    /// another one meanwhile, so it can only speak against. It does not where the owner is a group: then the user is a member of it.
    fn not_among(&self, known: &[Sid]) -> Option<&Sid> {
        if !known.contains(&self.owner) {
            return Some(&self.owner);
        }
        let is_group = self.owner.as_str() == Sid::ADMINISTRATORS;
        self.user.as_ref().filter(|user| !is_group && !known.contains(user))
    }
}

fn uid_of(sid: &Sid) -> u32 {
    match (own_sid(), sid.relative()) {
        (Ok(own), number) if own != sid && own.relative() == number => Peer::NOBODY,
        (_, number) => number,
    }
}

type Ask = unsafe extern "system" fn(HANDLE, *mut u32) -> i32;

/// `ask`: one of the two functions that name the process at an end of a pipe.
fn process_at(pipe: BorrowedHandle<'_>, ask: Ask) -> io::Result<u32> {
    let mut pid = 0;
    // SAFETY: the handle is open for the call, and the answer goes to a number of ours; both functions take just that.
    if unsafe { ask(pipe.as_raw_handle(), &raw mut pid) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(pid)
}

/// Opens a client's end without waiting for a free instance. Whoever serves it may learn who we are, and may not act as us.
pub(super) fn open(path: &Path) -> io::Result<OwnedHandle> {
    let name = wide(path);
    // SAFETY: the name ends in NUL and outlives the call; nothing else is pointed to.
    let raw: *mut c_void = unsafe {
        CreateFileW(
            name.as_ptr(),
            ACCESS,
            0,
            ptr::null(),
            OPEN_EXISTING,
            FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION,
            ptr::null_mut(),
        )
    };
    if raw == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a handle that was just opened, and that nobody else has.
    let handle = unsafe { OwnedHandle::from_raw_handle(raw) };
    // SAFETY: the handle is open.
    if unsafe { GetFileType(handle.as_raw_handle()) } != FILE_TYPE_PIPE {
        return Err(io::Error::other("it is not a pipe"));
    }
    Ok(handle)
}

pub(super) fn code(cause: &io::Error) -> u32 {
    cause.raw_os_error().map_or(0, i32::cast_unsigned)
}

fn explain(path: &Path, cause: &io::Error) -> DialError {
    let error = match code(cause) {
        ERROR_ACCESS_DENIED => Error::PermissionRefused {
            uid: Peer::own_uid(),
            reason: format!(
                "this user may not open the pipe {}; run as the broker's user and not in a network session (SSH, WinRM), or have the \
                 broker use allowed_sids",
                path.display()
            ),
            topic: None,
        },
        ERROR_INVALID_NAME => refused(path, "the system takes no such name for a pipe; choose another one"),
        ERROR_PIPE_BUSY => Error::io(
            format!("connect to {} (every instance of the pipe is in use)", path.display()),
            cause,
        ),
        _ => Error::io(format!("connect to {}", path.display()), cause),
    };
    let passes = matches!(
        code(cause),
        ERROR_FILE_NOT_FOUND
            | ERROR_PIPE_BUSY
            | ERROR_BAD_PIPE
            | ERROR_NO_DATA
            | ERROR_BROKEN_PIPE
            | ERROR_PIPE_NOT_CONNECTED
            | ERROR_SEM_TIMEOUT
    );
    let retry = if passes { Retry::Yes } else { Retry::OnceConnected };
    retry.because(error)
}

#[cfg(test)]
mod tests {
    use super::super::Listener;
    use super::*;
    use crate::transport::ListenOptions;

    #[test]
    fn an_ended_pipe_begins_no_write() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let address = Address::from_instance(&format!("late-{}", std::process::id())).unwrap();
            let prepared = Listener::prepare(&address, &ListenOptions::default()).unwrap();
            let listener = prepared.listen().await.unwrap();
            let client = Stream::dial(&address, &[own_sid().unwrap().clone()]).unwrap();
            let (server, _) = listener.accept().await.unwrap();
            server.writable().await.unwrap();
            let held = server.shared.pipe().unwrap();
            server.shut_down();
            let late = held.try_write(&[IoSlice::new(b"late")]).unwrap_err();
            assert_eq!(late.kind(), io::ErrorKind::BrokenPipe);
            drop(held);
            let mut buffer = [0; 4];
            let readable = client.readable().unwrap();
            let end = readable.read_with(|| client.try_read(&mut buffer));
            let end = tokio::time::timeout(Duration::from_secs(5), end).await.unwrap();
            assert_eq!(end.unwrap(), 0);
        });
    }
}
