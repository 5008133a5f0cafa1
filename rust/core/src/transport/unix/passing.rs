//! Descriptors that a peer passes along with its bytes.
//!
//! Reading without room for them drops them, and dropping the last copy of a descriptor closes what it stands for, in the thread that
//! reads. Such a close can take as long as its maker likes: that of a TCP socket with `SO_LINGER` waits for a peer of its own. So where
//! others than our own user may send, the kernel is asked to refuse descriptors at their sender, whose plain bytes still come.
#![cfg_attr(
    target_os = "linux",
    expect(
        unsafe_code,
        reason = "the libraries do not know this option, which is newer than they are"
    )
)]
use std::os::fd::BorrowedFd;

/// Of a socket for what is sent to it from now on, of a listening one for all that connect from now on. Before Linux 6.16, which does
/// not have the option, nothing changes.
#[cfg(target_os = "linux")]
pub(super) fn refuse_descriptors(socket: BorrowedFd<'_>) {
    use std::os::fd::AsRawFd;

    /// SO_PASSRIGHTS of all architectures but SPARC.
    const PASS_RIGHTS: libc::c_int = 83;
    static NO: libc::c_int = 0;

    if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) {
        return;
    }
    let size = libc::socklen_t::try_from(size_of_val(&NO)).unwrap_or_default();
    // SAFETY: `socket` is open while it is borrowed, and the kernel reads `size` bytes of `NO`, which is as long.
    let _ = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            PASS_RIGHTS,
            (&raw const NO).cast(),
            size,
        )
    };
}

#[cfg(not(target_os = "linux"))]
pub(super) fn refuse_descriptors(_: BorrowedFd<'_>) {}
