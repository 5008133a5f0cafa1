//! Descriptors that know which process they belong to.
//!
//! Each is noted while it lives ([`held`]). Once a forked child has closed what is noted, every [`Descriptor`] of the parent
//! refuses to work in the child, and its drop does nothing there.
#![expect(
    unsafe_code,
    reason = "the reactor trusts a descriptor to keep its number, and one that somebody else opened is known by its number alone"
)]
mod held;

use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::process;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{Interest, unix::AsyncFd};

use held::HELD;
pub use held::close_in_forked_child;

/// Of stdin, stdout and stderr.
const LAST_STANDARD: RawFd = 2;

/// In a process that was started without standard streams the first descriptors have their numbers, and what anybody prints would go
/// into a connection. Where no other number is free, the one it has is better than none.
fn above_standard(fd: OwnedFd) -> OwnedFd {
    if fd.as_raw_fd() > LAST_STANDARD {
        return fd;
    }
    rustix::io::fcntl_dupfd_cloexec(&fd, LAST_STANDARD + 1).unwrap_or(fd)
}

/// An open descriptor, noted for the fork.
#[derive(Debug)]
pub(super) struct Descriptor {
    fd: Option<OwnedFd>,
    raw: RawFd,
    process: u32,
    generation: u32,
}

impl Descriptor {
    pub(super) fn new(fd: OwnedFd) -> Self {
        let fd = above_standard(fd);
        let process = process::id();
        if !HELD.are_of(process) {
            // The first descriptor after a fork that called no hook.
            close_in_forked_child();
        }
        let raw = fd.as_raw_fd();
        HELD.note(raw);
        Self {
            fd: Some(fd),
            raw,
            process,
            generation: HELD.generation.load(Ordering::Acquire),
        }
    }

    /// Fails in a forked child that has closed what it inherited.
    pub(super) fn get(&self) -> io::Result<BorrowedFd<'_>> {
        match &self.fd {
            Some(fd) if self.generation == HELD.generation.load(Ordering::Relaxed) => Ok(fd.as_fd()),
            _ => Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "this descriptor belongs to the process before the fork",
            )),
        }
    }

    /// Whether this process opened it. Asks the kernel, so it also tells a child that called no hook.
    pub(super) fn is_own(&self) -> bool {
        self.generation == HELD.generation.load(Ordering::Relaxed) && self.process == process::id()
    }

    /// A second number for the same socket, because one number can be registered only once per reactor.
    pub(super) fn duplicate(&self) -> io::Result<Self> {
        self.get()?.try_clone_to_owned().map(Self::new)
    }
}

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.raw
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        let own = self.is_own();
        let Some(fd) = self.fd.take() else { return };
        if !own {
            // Closed already, or still the parent's: either way its number is not ours to close.
            let _ = fd.into_raw_fd();
            return;
        }
        // The bit goes first: a child must never close a number that has been given to somebody else meanwhile.
        HELD.forget(self.raw);
        drop(fd);
    }
}

/// A descriptor registered with the current tokio runtime.
#[derive(Debug)]
pub(super) struct Registered(Option<AsyncFd<Arc<Descriptor>>>);

impl Registered {
    pub(super) fn new(fd: Arc<Descriptor>, interest: Interest) -> io::Result<Self> {
        // Registering without a runtime would panic.
        tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        // SAFETY: a `Descriptor` keeps its number open until it is dropped (the registration holds it), and gives the same number always.
        // In a forked child that has closed it, `get` below lets nobody reach the registration.
        let watched = unsafe { AsyncFd::register_with_interest(fd, interest)? };
        Ok(Self(Some(watched)))
    }

    pub(super) fn get(&self) -> io::Result<&AsyncFd<Arc<Descriptor>>> {
        let watched = self.0.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        watched.get_ref().get()?;
        Ok(watched)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(watched) = self.0.take()
            && !watched.get_ref().is_own()
        {
            // Its drop would take the parent's registration out of the epoll instance that both processes share.
            mem::forget(watched);
        }
    }
}

/// A copy of a descriptor that is known by its number alone, as a service manager gives it.
pub fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::Error::from(rustix::io::Errno::BADF));
    }
    // SAFETY: the number is not -1. It is borrowed for this one call, which gives an error where nothing is open under it, and else a
    // descriptor of our own; nothing is closed and nothing is kept.
    unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _, pipe};
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn a_descriptor_is_closed_once_and_its_copies_are_their_own() {
        let (end, kept) = pipe().unwrap();
        let first = Descriptor::new(kept.into());
        let second = first.duplicate().unwrap();
        let third = Descriptor::new(duplicate(first.as_raw_fd()).unwrap());
        for descriptor in [first, second] {
            let raw = descriptor.as_raw_fd();
            assert!(descriptor.is_own() && descriptor.get().unwrap().as_raw_fd() == raw);
            drop(descriptor);
            assert_eq!(rustix::io::write(third.get().unwrap(), b"x"), Ok(1));
        }
        drop(third);
        let mut all = Vec::new();
        let mut end = end;
        assert_eq!(end.read_to_end(&mut all).unwrap(), 2);
        assert!(duplicate(-1).is_err());
    }

    #[test]
    fn what_is_watched_outlives_its_owner_and_says_when_it_is_ready() {
        let (end, mut writer) = pipe().unwrap();
        let fd = Arc::new(Descriptor::new(end.into()));
        assert!(
            Registered::new(Arc::clone(&fd), Interest::READABLE).is_err(),
            "no runtime"
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        runtime.block_on(async {
            let watched = Registered::new(Arc::clone(&fd), Interest::READABLE).unwrap();
            assert!(
                Registered::new(Arc::clone(&fd), Interest::READABLE).is_err(),
                "one number, one registration"
            );
            drop(fd);
            {
                let ready = watched.get().unwrap().readable();
                assert!(pin!(ready).poll(&mut Context::from_waker(Waker::noop())).is_pending());
            }
            writer.write_all(b"x").unwrap();
            let guard = watched.get().unwrap().readable().await.unwrap();
            assert!(guard.ready().is_readable());
        });
        drop(runtime);
    }
}
