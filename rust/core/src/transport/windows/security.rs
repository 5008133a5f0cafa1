//! Who somebody is, and what a pipe lets them do.
//!
//! A pipe's descriptor is protected (nothing is inherited): SYSTEM and the broker's user may do everything, whoever comes over the
//! network nothing, and each listed SID may read and write. Those are not given the right to make a further instance, which is the
//! append bit inside "generic write": with it a client could answer the next one in the broker's place.
use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::OnceLock;

use windows_sys::Win32::Foundation::{ERROR_SUCCESS, HANDLE, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertSecurityDescriptorToStringSecurityDescriptorW, ConvertSidToStringSidW,
    ConvertStringSecurityDescriptorToSecurityDescriptorW, GetSecurityInfo, SDDL_REVISION_1, SE_KERNEL_OBJECT,
};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, GetTokenInformation, OWNER_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID,
    RevertToSelf, SECURITY_ATTRIBUTES, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::Pipes::ImpersonateNamedPipeClient;
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetCurrentThread, OpenProcess, OpenProcessToken, OpenThreadToken,
    PROCESS_QUERY_LIMITED_INFORMATION,
};

use super::wide;
use crate::transport::{Peer, Sid};

/// FILE_GENERIC_READ and FILE_GENERIC_WRITE without FILE_CREATE_PIPE_INSTANCE.
pub(super) const READ_AND_WRITE: u32 = 0x0012_019b;

/// Memory that the system has allocated for an answer.
struct LocalMemory(*mut c_void);

impl Drop for LocalMemory {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a function that says to free it so, and this is its only owner.
        unsafe { LocalFree(self.0) };
    }
}

// SAFETY: plain memory of the process's heap, which any thread may read and free.
unsafe impl Send for LocalMemory {}
// SAFETY: nothing writes to it after it was made.
unsafe impl Sync for LocalMemory {}

/// What a new pipe is made with.
pub(super) struct Descriptor(LocalMemory);

impl Descriptor {
    /// For a broker of `owner` that also lets in `clients`.
    pub(super) fn for_broker(owner: &Sid, clients: &[Sid]) -> io::Result<Self> {
        Self::parse(&sddl(owner, clients))
    }

    fn parse(sddl: &str) -> io::Result<Self> {
        let text = wide(sddl);
        let mut descriptor: PSECURITY_DESCRIPTOR = ptr::null_mut();
        // SAFETY: the text ends in NUL and outlives the call; the answer goes to a pointer of ours; no size is asked for.
        let made = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &raw mut descriptor,
                ptr::null_mut(),
            )
        };
        if made == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(LocalMemory(descriptor)))
    }

    /// To be used while `self` lives. Handles made with it are not inherited by child processes.
    pub(super) fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
            lpSecurityDescriptor: self.0.0,
            bInheritHandle: 0,
        }
    }
}

fn sddl(owner: &Sid, clients: &[Sid]) -> String {
    let mut sddl = format!("O:{owner}D:P(D;;GA;;;NU)(A;;GA;;;SY)");
    if owner.as_str() != Sid::SYSTEM {
        sddl.push_str(&format!("(A;;GA;;;{owner})"));
    }
    for client in clients {
        sddl.push_str(&format!("(A;;{READ_AND_WRITE:#x};;;{client})"));
    }
    sddl
}

/// The user this process acts as.
pub fn own_sid() -> io::Result<&'static Sid> {
    static OWN: OnceLock<Sid> = OnceLock::new();
    if let Some(own) = OWN.get() {
        return Ok(own);
    }
    // SAFETY: takes nothing; what it gives stands for this process and is not to be closed.
    let process = unsafe { GetCurrentProcess() };
    let own = sid_of(process)?;
    Ok(OWN.get_or_init(|| own))
}

/// The number that stands for this process's user where Unix has a uid.
pub(crate) fn own_uid() -> u32 {
    own_sid().map_or(Peer::NOBODY, Sid::relative)
}

/// The user of a process. Fails where this user may not ask.
pub(super) fn sid_of_process(pid: u32) -> io::Result<Sid> {
    // SAFETY: takes numbers only; a null answer is an error.
    let process = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, pid) };
    if process.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a handle that was just opened, and that nobody else has.
    let process = unsafe { OwnedHandle::from_raw_handle(process) };
    sid_of(process.as_raw_handle())
}

/// The user who opened the other end of a server's pipe: the system keeps that with the connection, whatever has become of the process.
pub(super) fn sid_of_client(pipe: BorrowedHandle<'_>) -> io::Result<Sid> {
    struct RevertOnDrop;
    impl Drop for RevertOnDrop {
        fn drop(&mut self) {
            // SAFETY: takes nothing.
            if unsafe { RevertToSelf() } == 0 {
                // Going on would be acting as somebody else, unnoticed.
                std::process::abort();
            }
        }
    }

    // SAFETY: the handle is open for the call.
    if unsafe { ImpersonateNamedPipeClient(pipe.as_raw_handle()) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let impersonating = RevertOnDrop;
    let mut token: HANDLE = ptr::null_mut();
    // SAFETY: the first argument stands for this thread and is not to be closed; the answer goes to a pointer of ours. That this process
    // asks, and not the client, is said by the 1.
    let opened = unsafe { OpenThreadToken(GetCurrentThread(), TOKEN_QUERY, 1, &raw mut token) };
    // Before anything else overwrites it.
    let outcome = if opened == 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    };
    drop(impersonating);
    outcome?;
    // SAFETY: a handle that was just opened, and that nobody else has.
    user_of(&unsafe { OwnedHandle::from_raw_handle(token) })
}

fn sid_of(process: HANDLE) -> io::Result<Sid> {
    let mut token: HANDLE = ptr::null_mut();
    // SAFETY: `process` is open (or stands for this one); the answer goes to a pointer of ours.
    if unsafe { OpenProcessToken(process, TOKEN_QUERY, &raw mut token) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a handle that was just opened, and that nobody else has.
    user_of(&unsafe { OwnedHandle::from_raw_handle(token) })
}

fn user_of(token: &OwnedHandle) -> io::Result<Sid> {
    // Room for the structure and the largest SID behind it, aligned for both.
    let mut buffer = [0_u64; 16];
    let mut length = 0;
    // SAFETY: the buffer is writable for the size that is given with it.
    let found = unsafe {
        GetTokenInformation(
            token.as_raw_handle(),
            TokenUser,
            buffer.as_mut_ptr().cast(),
            size_of_val(&buffer) as u32,
            &raw mut length,
        )
    };
    if found == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has put a `TOKEN_USER` at the start of the buffer, which is aligned for it; its SID lies in the same buffer.
    let user = unsafe { buffer.as_ptr().cast::<TOKEN_USER>().read() };
    // SAFETY: as above: a SID that the system has written, in a buffer that lives until the end of this function.
    unsafe { text_of(user.User.Sid) }
}

/// # Safety
/// `sid` points to a valid SID.
unsafe fn text_of(sid: PSID) -> io::Result<Sid> {
    let mut text = ptr::null_mut();
    // SAFETY: the caller's promise; the answer goes to a pointer of ours.
    if unsafe { ConvertSidToStringSidW(sid, &raw mut text) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has succeeded, so this is text of the system that ends in NUL and is ours to free.
    unsafe { take_text(text) }.map(Sid::of_system)
}

/// # Safety
/// `text` ends in NUL and is to be freed with `LocalFree` by us.
unsafe fn take_text(text: *mut u16) -> io::Result<String> {
    let _owner = LocalMemory(text.cast());
    let mut units = Vec::new();
    let mut at = text;
    loop {
        // SAFETY: `at` has not passed the NUL yet.
        let unit = unsafe { at.read() };
        if unit == 0 {
            break;
        }
        units.push(unit);
        // SAFETY: the NUL is still ahead.
        at = unsafe { at.add(1) };
    }
    String::from_utf16(&units).map_err(io::Error::other)
}

/// The owner of an open pipe: whoever made its first instance. Nobody can name an owner but themselves and groups of theirs that may
/// own things, unless they may restore backups, which is as good as being SYSTEM.
pub(super) fn owner_of(pipe: BorrowedHandle<'_>) -> io::Result<Sid> {
    let (owner, _descriptor) = security_info(pipe, OWNER_SECURITY_INFORMATION)?;
    if owner.is_null() {
        return Err(io::Error::other("the pipe has no owner"));
    }
    // SAFETY: it points into the descriptor, which is still held.
    unsafe { text_of(owner) }
}

/// Owner and access list of an open pipe, in the descriptor language.
pub(super) fn sddl_of(pipe: BorrowedHandle<'_>) -> io::Result<String> {
    let wanted = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
    let (_, descriptor) = security_info(pipe, wanted)?;
    let mut text = ptr::null_mut();
    // SAFETY: the descriptor came from the system and is still held; the answer goes to a pointer of ours; no length is asked for.
    let made = unsafe {
        ConvertSecurityDescriptorToStringSecurityDescriptorW(
            descriptor.0,
            SDDL_REVISION_1,
            wanted,
            &raw mut text,
            ptr::null_mut(),
        )
    };
    if made == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has succeeded, so this is text of the system that ends in NUL and is ours to free.
    unsafe { take_text(text) }
}

fn security_info(pipe: BorrowedHandle<'_>, wanted: u32) -> io::Result<(PSID, LocalMemory)> {
    let mut owner: PSID = ptr::null_mut();
    let mut descriptor: PSECURITY_DESCRIPTOR = ptr::null_mut();
    // SAFETY: the handle is open for the call; the answers go to pointers of ours, and what is not wanted is null.
    let result = unsafe {
        GetSecurityInfo(
            pipe.as_raw_handle(),
            SE_KERNEL_OBJECT,
            wanted,
            &raw mut owner,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            &raw mut descriptor,
        )
    };
    if result != ERROR_SUCCESS {
        return Err(io::Error::from_raw_os_error(result.cast_signed()));
    }
    Ok((owner, LocalMemory(descriptor)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_listed_gets_in_and_none_of_them_may_make_an_instance() {
        let sid = |text| Sid::parse("allowed_sids", text).unwrap();
        assert_eq!(
            sddl(&sid("S-1-5-21-1-2-3-1001"), &[sid("S-1-5-32-545")]),
            "O:S-1-5-21-1-2-3-1001D:P(D;;GA;;;NU)(A;;GA;;;SY)(A;;GA;;;S-1-5-21-1-2-3-1001)(A;;0x12019b;;;S-1-5-32-545)"
        );
        assert_eq!(sddl(&sid("S-1-5-18"), &[]), "O:S-1-5-18D:P(D;;GA;;;NU)(A;;GA;;;SY)");
        assert_eq!(READ_AND_WRITE & 0x4, 0);
    }
}
