//! One end of a pipe, registered with a tokio runtime.
//!
//! Windows tells when an operation is done, not when one could be begun: what is written is copied and given to the system whole, and
//! the next write waits until that is with the peer or in the pipe. At most one write of at most [`CHUNK`] bytes is under way.
use std::io::{self, IoSlice};
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};
use std::pin::pin;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::io::Interest;
use tokio::net::windows::named_pipe::{NamedPipeClient, NamedPipeServer};
use tokio::runtime::Handle;
use tokio::task::coop::unconstrained;
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_PIPE_CONNECTED_STATE, FILE_PIPE_LOCAL_INFORMATION, FilePipeLocalInformation, NtQueryInformationFile,
};
use windows_sys::Win32::System::IO::{CancelIoEx, IO_STATUS_BLOCK};

use crate::lock::Mutex;

/// Written at once.
const CHUNK: usize = 64 * 1024;
const MAX_SLICES: usize = 64;
/// How long a write that was under way at the end may take. A process that ends takes it along.
const LINGER: Duration = Duration::from_secs(5);

enum End {
    Server(NamedPipeServer),
    Client(NamedPipeClient),
}

/// The same call on either end.
macro_rules! on {
    ($end:expr, $pipe:ident => $call:expr) => {
        match $end {
            End::Server($pipe) => $call,
            End::Client($pipe) => $call,
        }
    };
}

pub(super) struct Pipe {
    end: End,
    runtime: Handle,
    /// Held while a write begins, so that nobody sees it under way with the bytes of the one before.
    written: Mutex<Written>,
}

#[derive(Default)]
struct Written {
    /// Bytes of the last write.
    bytes: usize,
    /// It was the last of all.
    ended: bool,
}

impl Pipe {
    /// Of a server that somebody has connected to. Must be called on the runtime that it was made on.
    pub(super) fn of_server(server: NamedPipeServer) -> io::Result<Arc<Self>> {
        Self::new(End::Server(server))
    }

    /// Registers an open client's end, opened for overlapped operations, with the current runtime.
    pub(super) fn of_client(handle: OwnedHandle) -> io::Result<Arc<Self>> {
        // Registering without a runtime would panic.
        Handle::try_current().map_err(io::Error::other)?;
        let raw = std::os::windows::io::IntoRawHandle::into_raw_handle(handle);
        // SAFETY: the handle is that of a pipe, opened for overlapped operations, and its ownership goes to the call.
        Self::new(End::Client(unsafe { NamedPipeClient::from_raw_handle(raw) }?))
    }

    fn new(end: End) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            end,
            runtime: Handle::try_current().map_err(io::Error::other)?,
            written: Mutex::default(),
        }))
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        on!(&self.end, pipe => pipe.readable().await)
    }

    /// Until nothing is under way.
    pub(super) async fn writable(&self) -> io::Result<()> {
        on!(&self.end, pipe => pipe.writable().await)
    }

    pub(super) fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        on!(&self.end, pipe => pipe.try_read(buf))
    }

    /// Begins a write, and says that all of it was written.
    pub(super) fn try_write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut slices: SmallVec<[IoSlice<'_>; MAX_SLICES]> = SmallVec::new();
        let mut room = CHUNK;
        for buf in bufs.iter().filter(|buf| !buf.is_empty()).take(MAX_SLICES) {
            let slice = buf.get(..room).unwrap_or(buf);
            slices.push(IoSlice::new(slice));
            room -= slice.len();
            if room == 0 {
                break;
            }
        }
        if slices.is_empty() {
            // A write of nothing would be read as an end of file.
            return self.is_connected().map(|()| 0);
        }
        let mut written = self.written.lock();
        if written.ended {
            // Whoever still holds this came too late: nobody would wait for the write, nor take it back.
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut begun = Err(io::ErrorKind::WouldBlock.into());
        // tokio counts a pipe as writable until a write is refused. Here a write that was begun counts as refused as well, so that
        // "writable" means that nothing is under way. What ends while this runs is newer than what is taken back by it, and stays.
        // A write that failed is not under way: nothing would ever say that it has ended.
        let _readiness: io::Result<()> = on!(&self.end, pipe => pipe.try_io(Interest::WRITABLE, || {
            begun = pipe.try_write_vectored(&slices);
            match &begun {
                Err(failed) if failed.kind() != io::ErrorKind::WouldBlock => Ok(()),
                _ => Err(io::ErrorKind::WouldBlock.into()),
            }
        }));
        if let Ok(len) = begun {
            written.bytes = len;
        }
        begun
    }

    /// Bytes that are neither with the peer nor in the pipe. Never too few; up to [`CHUNK`] too many: a write under way counts whole,
    /// though the peer may have read part of it, and one that has ended counts until the runtime has been told and has had its turn.
    pub(super) fn unsent(&self) -> usize {
        self.under_way(&self.written.lock())
    }

    fn under_way(&self, written: &Written) -> usize {
        // A task that has used up its budget would be told to wait, whatever there is.
        let ready = pin!(unconstrained(self.writable()));
        if ready.poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            written.bytes
        } else {
            0
        }
    }

    /// Whether anybody holds the other end, also while there is something to read.
    fn is_connected(&self) -> io::Result<()> {
        let mut status = IO_STATUS_BLOCK::default();
        let mut facts = FILE_PIPE_LOCAL_INFORMATION::default();
        // SAFETY: the handle is open while `self` is borrowed; both answers go to structures of ours, of the size that is given.
        let result = unsafe {
            NtQueryInformationFile(
                self.as_handle().as_raw_handle(),
                &raw mut status,
                (&raw mut facts).cast(),
                size_of_val(&facts) as u32,
                FilePipeLocalInformation,
            )
        };
        if result < 0 || facts.NamedPipeState != FILE_PIPE_CONNECTED_STATE {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }

    /// Closes this end: no other write begins. What is being written may still arrive, for a while: closing at once would take it back.
    pub(super) fn close(self: Arc<Self>) {
        let mut written = self.written.lock();
        written.ended = true;
        let unsent = self.under_way(&written);
        drop(written);
        if unsent == 0 {
            return;
        }
        let runtime = self.runtime.clone();
        let last = CancelOnDrop(self);
        // On a runtime that has ended the task is dropped at once.
        runtime.spawn(async move {
            // However it ends, there is nothing more to do about it.
            let _late = tokio::time::timeout(LINGER, last.0.writable()).await;
        });
    }
}

impl AsHandle for Pipe {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        let raw = on!(&self.end, pipe => pipe.as_raw_handle());
        // SAFETY: the pipe owns its handle, which is open as long as `self` is borrowed.
        unsafe { BorrowedHandle::borrow_raw(raw) }
    }
}

/// The last holder of a pipe whose write may never end: its peer does not read.
struct CancelOnDrop(Arc<Pipe>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        // A write under way keeps the pipe open, whoever drops it.
        // SAFETY: the handle is open; a null pointer stands for every operation on it, and those are told of the end as of any other.
        unsafe { CancelIoEx(self.0.as_handle().as_raw_handle(), ptr::null()) };
    }
}
