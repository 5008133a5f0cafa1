//! Descriptors that know which process they belong to.
//!
//! A forked child inherits copies of every descriptor, and with them the listener, the lock and the life of each connection. Here
//! each descriptor of the bus is noted in a bitmap by its number, which a child can read whatever its parent's other threads held
//! at the moment of the fork (a locked map could not be). [`close_in_forked_child`] closes what is noted; from then on every
//! [`Descriptor`] of the parent refuses to work in the child, and its drop does nothing there.
#![expect(
    unsafe_code,
    reason = "descriptors that a fork left behind, or somebody else opened, are known by their number alone"
)]
use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use tokio::io::{Interest, unix::AsyncFd};

use crate::lock::Mutex;

const WORDS: usize = 16_384;
/// Of stdin, stdout and stderr.
const LAST_STANDARD: RawFd = 2;

/// One bit per descriptor number, up to 1,048,575 (the kernel's default ceiling). Zero pages until used.
static HELD: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];
static HIGHEST_WORD: AtomicUsize = AtomicUsize::new(0);
/// The process whose descriptors are noted; 0 before the first.
static OWNER: AtomicU32 = AtomicU32::new(0);
/// Counts the forks seen, so that a reused pid is not taken for the owner.
static GENERATION: AtomicU32 = AtomicU32::new(0);
/// Held only by a child that cleans up, never by a process that merely forks.
static CLEANING: Mutex<()> = Mutex::new(());

/// In a forked child: closes every inherited socket, listener and lock descriptor, so that the child keeps none of them alive.
/// Never unlocks, never unlinks. Does nothing in the process that opened them.
pub fn close_in_forked_child() {
    let _one_at_a_time = CLEANING.lock();
    let current = process::id();
    let owner = OWNER.load(Ordering::Acquire);
    if owner == current || owner == 0 {
        return;
    }
    GENERATION.fetch_add(1, Ordering::AcqRel);
    let words = HIGHEST_WORD.load(Ordering::Acquire).saturating_add(1);
    for (index, word) in HELD.iter().enumerate().take(words) {
        let mut bits = word.swap(0, Ordering::AcqRel);
        while bits != 0 {
            let Ok(raw) = RawFd::try_from(index * 64 + bits.trailing_zeros() as usize) else {
                break;
            };
            bits &= bits - 1;
            // SAFETY: the bit says that a live `Descriptor` of the parent owned this number when it forked, so it is open here.
            // That `Descriptor` will neither use nor close it in this process: the generation has just moved on.
            drop(unsafe { OwnedFd::from_raw_fd(raw) });
        }
    }
    OWNER.store(current, Ordering::Release);
}

/// In a process that was started without standard streams the first descriptors have their numbers, and what anybody prints would go
/// into a connection. Where no other number is free, the one it has is better than none.
fn above_standard(fd: OwnedFd) -> OwnedFd {
    if fd.as_raw_fd() > LAST_STANDARD {
        return fd;
    }
    rustix::io::fcntl_dupfd_cloexec(&fd, LAST_STANDARD + 1).unwrap_or(fd)
}

fn bit_of(raw: RawFd) -> Option<(usize, &'static AtomicU64, u64)> {
    let number = usize::try_from(raw).ok()?;
    let word = HELD.get(number / 64)?;
    Some((number / 64, word, 1 << (number % 64)))
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
        if OWNER.load(Ordering::Acquire) != process
            && OWNER
                .compare_exchange(0, process, Ordering::AcqRel, Ordering::Acquire)
                .is_err()
        {
            // The first descriptor after a fork that called no hook.
            close_in_forked_child();
        }
        let raw = fd.as_raw_fd();
        if let Some((index, word, bit)) = bit_of(raw) {
            HIGHEST_WORD.fetch_max(index, Ordering::AcqRel);
            word.fetch_or(bit, Ordering::AcqRel);
        }
        Self {
            fd: Some(fd),
            raw,
            process,
            generation: GENERATION.load(Ordering::Acquire),
        }
    }

    /// Fails in a forked child that has closed what it inherited.
    pub(super) fn get(&self) -> io::Result<BorrowedFd<'_>> {
        match &self.fd {
            Some(fd) if self.generation == GENERATION.load(Ordering::Relaxed) => Ok(fd.as_fd()),
            _ => Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "this descriptor belongs to the process before the fork",
            )),
        }
    }

    /// Whether this process opened it. Asks the kernel, so it also tells a child that called no hook.
    pub(super) fn is_own(&self) -> bool {
        self.generation == GENERATION.load(Ordering::Relaxed) && self.process == process::id()
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
        if let Some((_, word, bit)) = bit_of(self.raw) {
            word.fetch_and(!bit, Ordering::AcqRel);
        }
        drop(fd);
    }
}

/// A descriptor registered with the current tokio runtime.
#[derive(Debug)]
pub(super) struct Watched(Option<AsyncFd<Arc<Descriptor>>>);

impl Watched {
    pub(super) fn new(fd: Arc<Descriptor>, interest: Interest) -> io::Result<Self> {
        // Registering without a runtime would panic.
        tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        // SAFETY: a `Descriptor` keeps its number open until it is dropped (the registration holds it), and gives the same number always. In a forked child that
        // has closed it, `get` below lets nobody reach the registration.
        let watched = unsafe { AsyncFd::register_with_interest(fd, interest)? };
        Ok(Self(Some(watched)))
    }

    pub(super) fn get(&self) -> io::Result<&AsyncFd<Arc<Descriptor>>> {
        let watched = self.0.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        watched.get_ref().get()?;
        Ok(watched)
    }
}

impl Drop for Watched {
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
