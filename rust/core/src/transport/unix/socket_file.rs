//! The socket file: what may be found at its path, and what we may remove.
//!
//! Nothing is removed that is not a socket of our own uid that nobody listens on, or the very file (device and inode) that we made.
use std::ffi::OsString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{self, AtFlags, FileType, Mode, Stat};
use rustix::io::Errno;

use super::descriptor::Descriptor;
use super::stream::{NOT_A_STREAM, Stream, connect};
use super::{directory, refused, system};
use crate::error::{Error, Result};
use crate::limits::LARGEST_FRAME;
use crate::printable::path_text;
use crate::transport::{Address, PathState, Peer, no_broker};
use crate::wire::frame::PREFIX;

/// A text frame that every dialect's broker answers.
const PING: &[u8] = b"\x04\0\0\0PING";
const FOREIGN: &str = "its answer is none of the bus; stop it and remove its socket, or choose another path";

/// What comes back from whoever listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Perhaps a broker that is stopped.
    Nothing,
    /// A frame's beginning or an end of file, as a broker may give.
    Plausible,
    /// Bytes that no broker sends.
    Foreign,
}

/// The path of a socket, in a trusted directory.
#[derive(Debug)]
pub(super) struct SocketPath {
    dir: Descriptor,
    pub(super) name: OsString,
    pub(super) path: PathBuf,
}

/// The kind of a file, for messages.
const fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a named pipe",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "something else",
    }
}

impl SocketPath {
    pub(super) fn open(address: &Address) -> Result<Self> {
        let path = address.path();
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(refused(path, "it names a directory; add the name of a socket file"));
        };
        Ok(Self {
            dir: Descriptor::new(directory::open_trusted(parent)?),
            name: name.to_os_string(),
            path: path.to_path_buf(),
        })
    }

    pub(super) fn dir(&self) -> Result<BorrowedFd<'_>> {
        self.dir
            .get()
            .map_err(|cause| Error::io(format!("use the directory of {}", path_text(&self.path)), &cause))
    }

    pub(super) fn stat(&self) -> Result<Option<Stat>> {
        match fs::statat(self.dir()?, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(system("look at", &self.path, errno)),
        }
    }

    /// Makes room for a new socket, or says why not; gives the connection to whoever listens there. The lock must be held: then a refused
    /// connection means that whoever made the socket is gone, also where a full backlog is refused too (Apple's systems).
    pub(super) fn clear(&self) -> Result<Option<OwnedFd>> {
        let Some(found) = self.stat()? else {
            return Ok(None);
        };
        self.check(&found)?;
        let cause = match connect(&self.path) {
            Ok(socket) => return Ok(Some(socket)),
            Err(cause) => cause,
        };
        match Errno::from_io_error(&cause) {
            Some(Errno::NOENT) => Ok(None),
            Some(Errno::CONNREFUSED) => self.remove_stale(&found).map(|()| None),
            Some(Errno::PROTOTYPE) => Err(refused(&self.path, NOT_A_STREAM)),
            // A full backlog.
            Some(Errno::AGAIN) => Err(self.taken(None, true)),
            // No descriptor, no memory, no permission: that says nothing of who listens, and is no clear no.
            _ => Err(Error::io(
                format!("ask whether a broker listens at {}", path_text(&self.path)),
                &cause,
            )),
        }
    }

    /// Why the path is taken, judged by what the listener at `socket` answers to a PING.
    pub(super) async fn occupied_error(&self, socket: OwnedFd, timeout: Duration) -> Error {
        let Ok(stream) = Stream::adopt(socket) else {
            // The kernel does not say who it is; of a broker it would.
            return self.taken(None, true);
        };
        let pid = stream.peer().pid;
        match answer(&stream, timeout).await {
            Answer::Plausible => self.taken(pid, false),
            Answer::Nothing => self.taken(pid, true),
            Answer::Foreign => no_broker(&self.path, pid, FOREIGN),
        }
    }

    fn taken(&self, pid: Option<u32>, silent: bool) -> Error {
        Error::BrokerAlreadyRunning {
            path: self.path.clone(),
            pid,
            silent,
        }
    }

    fn check(&self, found: &Stat) -> Result<()> {
        let kind = FileType::from_raw_mode(found.st_mode);
        if kind != FileType::Socket {
            return Err(refused(
                &self.path,
                format!(
                    "{} is there, not a socket; move it away, or choose another path",
                    kind_name(kind)
                ),
            ));
        }
        let (owner, own) = (found.st_uid, Peer::own_uid());
        if owner != own {
            return Err(refused(
                &self.path,
                format!(
                    "the socket there belongs to uid {owner} and this process is uid {own}; have its owner remove it, or choose another path"
                ),
            ));
        }
        Ok(())
    }

    fn remove_stale(&self, found: &Stat) -> Result<()> {
        if self.stat()?.is_some_and(|now| same_file(&now, found)) {
            fs::unlinkat(self.dir()?, &self.name, AtFlags::empty())
                .map_err(|errno| system("remove the stale socket", &self.path, errno))?;
            tracing::warn!(path = %path_text(&self.path), "removed a stale socket: nobody listens on it and the lock is free");
        }
        Ok(())
    }
}

/// Judges by the first bytes alone: a broker of the original may send events of any kind before it has read anything.
async fn answer(stream: &Stream, timeout: Duration) -> Answer {
    let exchange = async {
        stream.try_write(&[std::io::IoSlice::new(PING)])?;
        let mut bytes = [0; 64];
        let length = stream.readable()?.read_with(|| stream.try_read(&mut bytes)).await?;
        std::io::Result::Ok(bytes.first_chunk().filter(|_| length >= PREFIX).copied())
    };
    match tokio::time::timeout(timeout, exchange).await {
        Err(_) => Answer::Nothing,
        Ok(Ok(Some(prefix))) if !is_size(prefix) => Answer::Foreign,
        // Too little to tell, too.
        Ok(_) => Answer::Plausible,
    }
}

/// Whether a frame may begin so.
fn is_size(prefix: [u8; PREFIX]) -> bool {
    usize::try_from(u32::from_le_bytes(prefix)).is_ok_and(|size| (1..=LARGEST_FRAME).contains(&size))
}

pub(super) fn same_file(a: &Stat, b: &Stat) -> bool {
    a.st_dev == b.st_dev && a.st_ino == b.st_ino
}

/// The socket file that we made. Dropped while the socket is still open: an open socket keeps its inode number from being given to
/// another file, so that the comparison cannot be fooled.
#[derive(Debug)]
pub(super) struct SocketFile {
    socket_path: SocketPath,
    made: Stat,
}

impl SocketFile {
    /// To be called right after binding.
    pub(super) fn claim(socket_path: SocketPath) -> Result<Self> {
        let Some(made) = socket_path.stat()? else {
            return Err(refused(
                &socket_path.path,
                "the socket vanished right after it was made; find out who removes files there",
            ));
        };
        socket_path.check(&made)?;
        Ok(Self { socket_path, made })
    }

    /// Gives it the mode that was asked for and, before that opens anything to a group, the group.
    pub(super) fn set_access(&self, mode: Mode, group: Option<u32>) -> Result<()> {
        let SocketPath { name, path, .. } = &self.socket_path;
        let dir = self.socket_path.dir()?;
        if let Some(gid) = group {
            fs::chownat(dir, name, None, Some(fs::Gid::from_raw(gid)), AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| {
                match errno {
                    Errno::PERM => refused(
                        path,
                        format!(
                            "this process may not give the socket to group {gid}; make its user a member of the group"
                        ),
                    ),
                    _ => system(&format!("give to group {gid}"), path, errno),
                }
            })?;
        }
        if permissions(&self.current()?) != mode {
            // By name, because a socket file cannot be opened; nobody else can replace a file of ours in a trusted directory.
            fs::chmodat(dir, name, mode, AtFlags::empty()).map_err(|errno| system("set the mode of", path, errno))?;
        }
        let now = self.current()?;
        if permissions(&now) != mode || group.is_some_and(|gid| now.st_gid != gid) {
            return Err(refused(
                path,
                "the file system does not keep the mode and group of the socket; choose a path on another file system",
            ));
        }
        Ok(())
    }

    fn current(&self) -> Result<Stat> {
        match self.socket_path.stat()? {
            Some(now) if same_file(&now, &self.made) => Ok(now),
            _ => Err(refused(
                &self.socket_path.path,
                "the socket was replaced right after it was made; find out who changes files there",
            )),
        }
    }

    pub(super) fn watch(&self) -> PathWatch {
        PathWatch(Some((self.socket_path.path.clone(), self.made)))
    }
}

/// Looks at the path of a listener, on whichever thread may wait for a file system.
#[derive(Debug)]
pub struct PathWatch(Option<(PathBuf, Stat)>);

impl PathWatch {
    /// For a path that others look after.
    pub(super) const fn unwatched() -> Self {
        Self(None)
    }

    /// Whether the path, as others resolve it, still leads to our socket.
    pub fn state(&self) -> PathState {
        match &self.0 {
            Some((path, made)) if !fs::lstat(path).is_ok_and(|now| same_file(&now, made)) => PathState::Lost,
            _ => PathState::Ours,
        }
    }
}

fn permissions(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode)
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // What cannot be removed stays, as after a crash; the next start deals with it.
        if self.socket_path.dir.is_own()
            && let Ok(dir) = self.socket_path.dir()
            && self.current().is_ok()
            && let Err(errno) = fs::unlinkat(dir, &self.socket_path.name, AtFlags::empty())
        {
            let (path, cause) = (path_text(&self.socket_path.path), std::io::Error::from(errno));
            tracing::warn!(%path, %cause, "the socket file stays: this process may not remove it any more");
        }
    }
}
