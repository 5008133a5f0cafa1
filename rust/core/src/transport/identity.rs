//! Who a peer is, as the kernel says it.
//!
//! Nothing here comes from what a peer sends. The uid decides; the pid is for logs only.

use super::Sid;

/// Credentials of connect time. `pid` is advice: it can be reused.
///
/// Windows has no uids: there the pipe's access list decides before a peer is seen here, and `uid` is the last number of the user's
/// SID, by which connections are counted. It is [`NOBODY`](Self::NOBODY) for one of whom nothing is known, or whose number is ours by
/// chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    pub uid: u32,
    pub gid: u32,
    pub pid: Option<u32>,
}

/// A user as rules name one: by the uid on Unix, by the whole SID on Windows, where the number alone may be that of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    /// `None` on Unix, and where Windows does not say.
    pub sid: Option<Sid>,
}

impl User {
    /// The one this process acts as.
    pub fn own() -> Self {
        #[cfg(unix)]
        let sid = None;
        #[cfg(windows)]
        let sid = super::windows::own_sid().ok().cloned();
        Self {
            uid: Peer::own_uid(),
            sid,
        }
    }
}

impl Peer {
    /// No user has this uid.
    pub const NOBODY: u32 = u32::MAX;

    /// The uid this process acts as.
    #[cfg(unix)]
    pub fn own_uid() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[cfg(windows)]
    pub fn own_uid() -> u32 {
        super::windows::own_uid()
    }

    /// The other end of a connected socket: the client as of `connect`, or the server as of `listen`.
    ///
    /// `ConnectionReset` where the kernel names nobody: a connection that was never completed, or a peer whose uid has no meaning here.
    /// A process that this one's pid namespace does not have, as in another container, has a uid and no pid.
    #[cfg(target_os = "linux")]
    pub(super) fn of(fd: std::os::fd::OwnedFd) -> std::io::Result<(std::os::fd::OwnedFd, Self)> {
        let (pid, uid, gid) = super::unix::peer_credentials(&fd)?;
        if uid == Self::NOBODY {
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
        let pid = u32::try_from(pid).ok().filter(|pid| *pid != 0);
        Ok((fd, Self { uid, gid, pid }))
    }

    /// The same. `ConnectionReset` where the system does not say who is there.
    #[cfg(all(unix, not(target_os = "linux")))]
    pub(super) fn of(fd: std::os::fd::OwnedFd) -> std::io::Result<(std::os::fd::OwnedFd, Self)> {
        use interprocess::{local_socket::traits::StreamCommon, os::unix::uds_local_socket};

        // The library knows each system's call; the descriptor only passes through.
        let stream = uds_local_socket::Stream::from(fd);
        let credentials = stream.peer_creds()?;
        let (Some(uid), Some(gid)) = (credentials.euid(), credentials.egid()) else {
            return Err(std::io::ErrorKind::ConnectionReset.into());
        };
        if uid == Self::NOBODY {
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok());
        Ok((stream.into(), Self { uid, gid, pid }))
    }
}
