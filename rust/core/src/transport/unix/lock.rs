//! One broker per path.
//!
//! `PATH.lock` is a file beside the socket on which the broker holds `flock` for life. It is never removed: whoever removed it could
//! leave two brokers holding two locks. The kernel drops the lock with the process, however that ends; the pid inside is advice.
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::{self, Errno};

use super::descriptor::Descriptor;
use super::socket_file::{SocketPath, same_file};
use super::{refused, system};
use crate::error::{Error, Result};
use crate::printable::path_text;
use crate::transport::Peer;

/// How often the file may change under our hands before we give up.
const ATTEMPTS: usize = 16;
/// Bytes: a pid and a newline are fewer.
const MAX_CONTENT: usize = 32;

#[derive(Debug)]
pub(super) struct Lock(Descriptor);

impl Lock {
    /// Never waits: a lock that is held means that a broker is running.
    pub(super) fn take(socket_path: &SocketPath) -> Result<Self> {
        let file = LockFile {
            socket_path,
            name: lock_name(socket_path.name.clone()),
            path: lock_name(socket_path.path.clone().into_os_string()).into(),
        };
        for _ in 0..ATTEMPTS {
            if let Some(lock) = file.try_take()? {
                return Ok(lock);
            }
        }
        Err(refused(
            &file.path,
            "it is removed and made again all the time; find out by whom",
        ))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The owner releases it also for copies that a fork may have left behind. A child never does.
        if self.0.is_own()
            && let Ok(fd) = self.0.get()
        {
            let _ = fs::flock(fd, FlockOperation::Unlock);
        }
    }
}

fn lock_name(mut name: OsString) -> OsString {
    name.push(".lock");
    name
}

struct LockFile<'a> {
    socket_path: &'a SocketPath,
    name: OsString,
    path: PathBuf,
}

impl LockFile<'_> {
    /// `None` if the file changed meanwhile.
    fn try_take(&self) -> Result<Option<Lock>> {
        let Some(fd) = self.open()? else {
            return Ok(None);
        };
        let held = fs::fstat(&fd).map_err(|errno| system("look at", &self.path, errno))?;
        check(&held, &self.path)?;
        match fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::BrokerAlreadyRunning {
                    path: self.socket_path.path.clone(),
                    pid: read_pid(&fd),
                    silent: false,
                });
            }
            Err(errno) => return Err(system("lock", &self.path, errno)),
        }
        if !self.stat()?.is_some_and(|now| same_file(&now, &held)) {
            return Ok(None);
        }
        check_content(&fd, &self.path)?;
        self.write_pid(&fd)?;
        Ok(Some(Lock(Descriptor::new(fd))))
    }

    /// A full disk keeps nobody from listening: the lock is held, and the pid is advice.
    fn write_pid(&self, fd: &OwnedFd) -> Result<()> {
        let failed = |errno| system("write to", &self.path, errno);
        let pid = format!("{}\n", std::process::id());
        fs::ftruncate(fd, 0).map_err(failed)?;
        match io::pwrite(fd, pid.as_bytes(), 0) {
            Ok(written) if written == pid.len() => return Ok(()),
            // Half of it would be the pid of another.
            Ok(_) => fs::ftruncate(fd, 0).map_err(failed)?,
            Err(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => {}
            Err(errno) => return Err(failed(errno)),
        }
        tracing::warn!(path = %path_text(&self.path), "no room for the pid in the lock file, which holds all the same");
        Ok(())
    }

    fn stat(&self) -> Result<Option<Stat>> {
        match fs::statat(self.socket_path.dir()?, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(system("look at", &self.path, errno)),
        }
    }

    /// `None` if the file came or went meanwhile.
    fn open(&self) -> Result<Option<OwnedFd>> {
        let dir = self.socket_path.dir()?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let Some(found) = self.stat()? else {
            return match fs::openat(dir, &self.name, flags | OFlags::CREATE | OFlags::EXCL, mode) {
                Ok(fd) => {
                    // The umask may have taken from our own bits, and the next start has to open it again.
                    fs::fchmod(&fd, mode).map_err(|errno| system("set the mode of", &self.path, errno))?;
                    Ok(Some(fd))
                }
                Err(Errno::EXIST) => Ok(None),
                Err(errno) => Err(system("make the lock file", &self.path, errno)),
            };
        };
        // Before opening, so that neither a pipe nor a device is touched, and so that the message can name the owner.
        check(&found, &self.path)?;
        match fs::openat(dir, &self.name, flags | OFlags::NONBLOCK, Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::LOOP) => Ok(None),
            Err(errno) => Err(system("open the lock file", &self.path, errno)),
        }
    }
}

fn check(stat: &Stat, path: &Path) -> Result<()> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(refused(
            path,
            "the lock must be a regular file; move away what is there, or choose another socket path",
        ));
    }
    let (owner, own) = (stat.st_uid, Peer::own_uid());
    if owner != own {
        return Err(refused(
            path,
            format!(
                "the lock file belongs to uid {owner} and this process is uid {own}; have its owner remove it, or choose another socket path"
            ),
        ));
    }
    if stat.st_nlink != 1 {
        return Err(refused(
            path,
            "the lock file has a second name (a hard link), and writing to it would change that file too; remove it",
        ));
    }
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.intersects(Mode::RWXG | Mode::RWXO) {
        return Err(refused(
            path,
            format!(
                "others could hold the lock file (mode {:04o}); remove it, or set it to 0600",
                mode.bits()
            ),
        ));
    }
    Ok(())
}

/// Only what a broker can have left there is written over: a pid, nothing, or the zeros that a file system leaves after a power failure.
fn check_content(fd: &OwnedFd, path: &Path) -> Result<()> {
    let mut text = [0; MAX_CONTENT + 1];
    let length = io::pread(fd, &mut text[..], 0).map_err(|errno| system("read", path, errno))?;
    let left = text.get(..length).unwrap_or_default();
    let ours = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'\n' | 0);
    if length > MAX_CONTENT || !left.iter().all(ours) {
        return Err(refused(
            path,
            "the lock file holds something else than the pid of a broker, and writing to it would lose that; move it away, or choose another socket path",
        ));
    }
    Ok(())
}

fn read_pid(fd: &OwnedFd) -> Option<u32> {
    let mut text = [0; 16];
    let length = io::pread(fd, &mut text[..], 0).ok()?;
    std::str::from_utf8(text.get(..length)?).ok()?.trim().parse().ok()
}
