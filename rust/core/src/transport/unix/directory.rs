//! The way to a socket: every directory on it is one that nobody else can turn against us.
//!
//! The walk starts at `/` and holds each directory open while it looks at the next, so what was checked is what is used. A
//! directory belongs to us or to root, and nobody else can write to it unless it is root's and sticky (`/tmp`). A symbolic link is
//! followed only if root made it where only root can (`/var/run`, `/tmp` on macOS). Missing directories are made 0700; what exists
//! is never changed.
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{refused, system};
use crate::error::Result;
use crate::transport::Peer;

const MAX_LINKS: usize = 40;

/// Only search permission is needed to traverse a directory; not every system can open one with just that.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
const TRAVERSE: OFlags = OFlags::PATH;
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
const TRAVERSE: OFlags = OFlags::RDONLY;

/// Opens `path` (absolute) after checking every part of it, making the parts that are missing.
pub(super) fn open_trusted(path: &Path) -> Result<OwnedFd> {
    match walk(path, Peer::own_uid(), true)? {
        Some(at) => Ok(at),
        None => Err(system("open the directory", path, Errno::NOENT)),
    }
}

/// Checks, for a broker of user `uid`, the way to `directory` (absolute) without changing anything. False: a part of it is missing,
/// and would be made.
pub fn is_trusted(directory: &Path, uid: u32) -> Result<bool> {
    walk(directory, uid, false).map(|at| at.is_some())
}

/// `None`: a part is missing, and nobody asked for it to be made.
fn walk(path: &Path, uid: u32, make: bool) -> Result<Option<OwnedFd>> {
    let mut walk = PathWalk::from_root(uid)?;
    let mut pending = names(path);
    let mut links = 0;
    while let Some(name) = pending.pop_front() {
        if name == ".." {
            walk.here.pop();
            walk.enter(&name)?;
            continue;
        }
        walk.here.push(&name);
        let Some(found) = walk.stat_or_create(&name, make)? else {
            return Ok(None);
        };
        match found {
            FileType::Directory => walk.enter(&name)?,
            FileType::Symlink => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(refused(
                        &walk.here,
                        "there are more than 40 symbolic links on the way; name the directory itself",
                    ));
                }
                let target = walk.trusted_target(&name)?;
                walk.here.pop();
                for part in names(&target).into_iter().rev() {
                    pending.push_front(part);
                }
                if target.is_absolute() {
                    walk = PathWalk::from_root(uid)?;
                }
            }
            _ => {
                return Err(refused(
                    &walk.here,
                    "it is not a directory; choose another path for the socket",
                ));
            }
        }
    }
    Ok(Some(walk.at))
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_os_string()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

struct PathWalk {
    at: OwnedFd,
    /// The mode and owner of `at`.
    stat: Stat,
    /// What is being looked at, for messages.
    here: PathBuf,
    /// For whom.
    uid: u32,
}

impl PathWalk {
    fn from_root(uid: u32) -> Result<Self> {
        let here = PathBuf::from("/");
        let (at, stat) = open(CWD, here.as_os_str(), &here, uid)?;
        Ok(Self { at, stat, here, uid })
    }

    fn enter(&mut self, name: &OsStr) -> Result<()> {
        let (at, stat) = open(&self.at, name, &self.here, self.uid)?;
        self.at = at;
        self.stat = stat;
        Ok(())
    }

    fn stat_or_create(&self, name: &OsStr, make: bool) -> Result<Option<FileType>> {
        match fs::statat(&self.at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) if make => self.make(name).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(system("look at", &self.here, errno)),
        }
    }

    fn make(&self, name: &OsStr) -> Result<FileType> {
        let stat = || {
            fs::statat(&self.at, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| system("look at", &self.here, errno))
        };
        match fs::mkdirat(&self.at, name, Mode::RWXU) {
            Ok(()) => {}
            // Somebody made it at the same moment; it is checked like any other.
            Err(Errno::EXIST) => return Ok(FileType::from_raw_mode(stat()?.st_mode)),
            Err(errno) => return Err(system("make the directory", &self.here, errno)),
        }
        if mode_of(&stat()?) != Mode::RWXU {
            // A umask took from our own bits. Nobody else can have replaced the directory: its parent is trusted.
            fs::chmodat(&self.at, name, Mode::RWXU, AtFlags::empty())
                .map_err(|errno| system("set the mode of", &self.here, errno))?;
        }
        let made = stat()?;
        if mode_of(&made) != Mode::RWXU {
            return Err(refused(
                &self.here,
                "the file system does not give it mode 0700; choose a directory on another file system",
            ));
        }
        Ok(FileType::from_raw_mode(made.st_mode))
    }

    /// Where a symbolic link leads, if only root can have made it.
    fn trusted_target(&self, name: &OsStr) -> Result<PathBuf> {
        let link = fs::statat(&self.at, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| system("look at", &self.here, errno))?;
        if link.st_uid != 0 || self.stat.st_uid != 0 || others_can_write(&self.stat) {
            return Err(refused(
                &self.here,
                "it is a symbolic link that others than root could have made; name the directory itself",
            ));
        }
        let target = fs::readlinkat(&self.at, name, Vec::new())
            .map_err(|errno| system("read the symbolic link", &self.here, errno))?;
        Ok(OsString::from_vec(target.into_bytes()).into())
    }
}

fn open(at: impl std::os::fd::AsFd, name: &OsStr, here: &Path, uid: u32) -> Result<(OwnedFd, Stat)> {
    let flags = TRAVERSE | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = fs::openat(at, name, flags, Mode::empty()).map_err(|errno| system("open the directory", here, errno))?;
    let stat = fs::fstat(&fd).map_err(|errno| system("look at", here, errno))?;
    check(&stat, here, uid)?;
    Ok((fd, stat))
}

/// Permission bits alone: a directory may inherit set-group-id from its parent.
fn mode_of(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode) & (Mode::RWXU | Mode::RWXG | Mode::RWXO)
}

fn others_can_write(stat: &Stat) -> bool {
    Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH)
}

fn check(stat: &Stat, here: &Path, own: u32) -> Result<()> {
    let owner = stat.st_uid;
    let mode = Mode::from_raw_mode(stat.st_mode);
    if owner != own && owner != 0 {
        let trusted = if own == 0 {
            "root is".to_owned()
        } else {
            format!("uid {own} and root are")
        };
        let reason = if is_mapped(owner) {
            format!("the directory belongs to uid {owner}, and only {trusted} trusted; choose a directory of your own")
        } else {
            let advice = match here.parent() {
                Some(_) => "choose a directory of your own elsewhere",
                None => "every path begins here: start the broker where root is mapped",
            };
            format!("{}, and only {trusted} trusted; {advice}", unmapped_owner(owner))
        };
        return Err(refused(here, reason));
    }
    let is_sticky = mode.contains(Mode::SVTX);
    if others_can_write(stat) && !(owner == 0 && is_sticky) {
        let writable = format!("others can write to the directory (mode {:04o})", mode.bits());
        let reason = if !is_mapped(owner) {
            // It may be root's, and nobody here can change it.
            format!(
                "{writable}, and {}; choose a directory of your own elsewhere",
                unmapped_owner(owner)
            )
        } else if is_sticky {
            // It is meant for others, as /tmp is.
            format!("{writable}, and it is uid {owner}'s and not root's; choose a directory of your own elsewhere")
        } else {
            format!("{writable}; take that away with chmod go-w, or choose another directory")
        };
        return Err(refused(here, reason));
    }
    Ok(())
}

fn unmapped_owner(owner: u32) -> String {
    format!("its owner, shown as uid {owner}, is not mapped in this user namespace")
}

/// False: `uid` is the number that the kernel shows for everybody who has none in the user namespace of this process.
fn is_mapped(uid: u32) -> bool {
    // Elsewhere than on Linux there are no such namespaces, nor this file. Each line: the first uid here, the first outside, how many.
    let covers = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        matches!((numbers.next(), numbers.nth(1)), (Some(Ok(first)), Some(Ok(count)))
            if u64::from(uid).checked_sub(first).is_some_and(|at| at < count))
    };
    std::fs::read_to_string("/proc/self/uid_map").map_or(true, |map| map.lines().any(covers))
}
