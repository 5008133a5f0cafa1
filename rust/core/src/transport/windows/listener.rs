//! The pipe of a broker.
//!
//! Start: nobody else has the name, then its first instance, which the system gives to one process only; that makes the pipe ours and
//! its access list the one that counts. One instance is connected to ourselves for as long as we listen: a name without an instance would
//! be free for others, whose access list would then count for the instances that we make later. A few always wait for clients, who would
//! be turned away otherwise. Connections hold an instance each.
use std::future::poll_fn;
use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::windows::named_pipe::{NamedPipeServer, ServerOptions};
use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_FILE_NOT_FOUND, ERROR_PIPE_BUSY};

use super::refused;
use super::security::{self, Descriptor, own_sid};
use super::stream::{Server, Stream, code, open};
use crate::error::{Error, Result};
use crate::lock::Mutex;
use crate::transport::{Address, ListenOptions, PathState, Peer};

/// Instances that wait for clients. One would do; more let several come at once.
const WAITING: usize = 4;
/// Clients in a row who may be quicker than ourselves while we start.
const ANCHOR_TRIES: usize = 16;
/// Milliseconds between looks at a name that this very process has: its listener may be closed already, and its runtime not have got to it.
const CLOSING: [u64; 2] = [5, 25];
/// Bytes that the system keeps in each direction for a peer who does not read.
const BUFFER: u32 = 128 * 1024;

pub struct Listener {
    path: PathBuf,
    descriptor: Descriptor,
    /// Both ends of an instance that nobody else can connect to.
    anchor: Option<(NamedPipeServer, OwnedHandle)>,
    waiting: Mutex<Vec<Arc<NamedPipeServer>>>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// A listener to be made: without a runtime nothing of it can be.
#[derive(Debug)]
pub struct Prepared {
    address: Address,
    options: ListenOptions,
}

impl Prepared {
    /// Must run inside a tokio runtime with I/O and time.
    pub async fn listen(self) -> Result<Listener> {
        Listener::bind(&self.address, &self.options).await
    }
}

/// Nobody can take the name while an instance of ours exists.
#[derive(Debug)]
pub struct PathWatch;

impl PathWatch {
    pub const fn state(&self) -> PathState {
        PathState::Ours
    }
}

impl Listener {
    pub fn prepare(address: &Address, options: &ListenOptions) -> Result<Prepared> {
        Ok(Prepared {
            address: address.clone(),
            options: options.clone(),
        })
    }

    /// The start-up order of `docs/operations.md`.
    async fn bind(address: &Address, options: &ListenOptions) -> Result<Self> {
        let path = address.path();
        let failed = |action: &str, cause: &io::Error| Error::io(format!("{action} {}", path.display()), cause);
        tokio::runtime::Handle::try_current().map_err(|cause| failed("listen at", &io::Error::other(cause)))?;
        let own = own_sid().map_err(|cause| failed("find out as which user to listen at", &cause))?;
        let descriptor = Descriptor::for_broker(own, &options.allowed_sids)
            .map_err(|cause| failed("make the access list of", &cause))?;
        if let Some(found) = holder(address) {
            wait_if_own(address, found).await?;
        }
        let mut listener = Self {
            path: path.to_path_buf(),
            descriptor,
            anchor: None,
            waiting: Mutex::default(),
        };
        let first = listener.instance(true).map_err(|cause| match code(&cause) {
            // Somebody was faster, or has the name without letting us see it.
            ERROR_ACCESS_DENIED => holder(address).unwrap_or_else(|| {
                refused(
                    path,
                    "the system gives its first instance to somebody else; find out who, or choose another name",
                )
            }),
            ERROR_PIPE_BUSY => holder(address).unwrap_or_else(|| failed("listen at", &cause)),
            _ => failed("listen at", &cause),
        })?;
        listener
            .drop_anchor(first)
            .map_err(|cause| failed("keep the name of", &cause))?;
        listener.top_up().map_err(|cause| failed("listen at", &cause))?;
        Ok(listener)
    }

    /// The next connection and who it is. `Err` is the listener's trouble, never fatal for those connected; back off and go on.
    /// Dropping the future loses no connection.
    pub async fn accept(&self) -> io::Result<(Stream, Peer)> {
        loop {
            // Clients who come only to go are served one after the other, and not at the cost of everybody else.
            tokio::task::consume_budget().await;
            self.top_up()?;
            let instance = self.connected().await?;
            if let Err(cause) = self.top_up() {
                tracing::debug!(%cause, "no further instance of the pipe for now");
            }
            match Stream::adopt(instance) {
                Ok(stream) => {
                    let peer = stream.peer();
                    return Ok((stream, peer));
                }
                Err(cause) => tracing::debug!(%cause, "a connection ended before it was accepted"),
            }
        }
    }

    pub const fn path_watch(&self) -> PathWatch {
        PathWatch
    }

    /// Owner and access list of the pipe, as the system has them, in the security descriptor definition language.
    pub fn security(&self) -> io::Result<String> {
        let (instance, _) = self.anchor.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        // SAFETY: the instance owns its handle and is borrowed for the call.
        security::sddl_of(unsafe { BorrowedHandle::borrow_raw(instance.as_raw_handle()) })
    }

    /// Closes the instances that wait, as soon as the runtime gets to it. The name is free when the last connection has ended too.
    pub fn close(self) {}

    /// The first part of closing.
    pub(crate) fn stop_accepting(&self) {
        self.waiting.lock().clear();
    }

    fn instance(&self, first: bool) -> io::Result<NamedPipeServer> {
        let mut attributes = self.descriptor.attributes();
        let mut options = ServerOptions::new();
        options
            .first_pipe_instance(first)
            .reject_remote_clients(true)
            .in_buffer_size(BUFFER)
            .out_buffer_size(BUFFER);
        // SAFETY: the attributes and the descriptor that they point to outlive the call.
        unsafe { options.create_with_security_attributes_raw(&self.path, (&raw mut attributes).cast()) }
    }

    /// Connects the only instance to ourselves. If a client is quicker it is served like any other, and the next instance is tried.
    fn drop_anchor(&mut self, first: NamedPipeServer) -> io::Result<()> {
        let mut instance = first;
        for _ in 0..ANCHOR_TRIES {
            match open(&self.path) {
                Ok(client) => {
                    self.anchor = Some((instance, client));
                    return Ok(());
                }
                Err(cause) if code(&cause) == ERROR_PIPE_BUSY => {
                    self.waiting.lock().push(Arc::new(instance));
                    instance = self.instance(false)?;
                }
                Err(cause) => return Err(cause),
            }
        }
        Err(io::Error::from_raw_os_error(ERROR_PIPE_BUSY.cast_signed()))
    }

    fn top_up(&self) -> io::Result<()> {
        let mut waiting = self.waiting.lock();
        while waiting.len() < WAITING {
            match self.instance(false) {
                Ok(instance) => waiting.push(Arc::new(instance)),
                Err(cause) if waiting.is_empty() => return Err(cause),
                // Those that wait will do for now.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Waits at all of them; takes out the first that somebody has connected to.
    async fn connected(&self) -> io::Result<NamedPipeServer> {
        loop {
            let instances: Vec<_> = self.waiting.lock().clone();
            let mut calls: Vec<Pin<Box<dyn Future<Output = io::Result<()>> + Send>>> = instances
                .iter()
                .map(|instance| {
                    let instance = Arc::clone(instance);
                    Box::pin(async move {
                        instance.connect().await?;
                        // Who takes the connection may write at once.
                        instance.writable().await
                    }) as _
                })
                .collect();
            let (at, outcome) = poll_fn(|context| {
                calls
                    .iter_mut()
                    .enumerate()
                    .find_map(|(at, call)| match call.as_mut().poll(context) {
                        Poll::Ready(outcome) => Some(Poll::Ready((at, outcome))),
                        Poll::Pending => None,
                    })
                    .unwrap_or(Poll::Pending)
            })
            .await;
            drop(calls);
            let Some(done) = instances.get(at).cloned() else {
                return Err(io::ErrorKind::NotConnected.into());
            };
            drop(instances);
            self.waiting.lock().retain(|instance| !Arc::ptr_eq(instance, &done));
            outcome?;
            // Nobody else holds it any more: the calls are gone, and another `accept` would have found it connected as well.
            if let Some(instance) = Arc::into_inner(done) {
                return Ok(instance);
            }
        }
    }
}

/// What was found, if that stays; at once where it is another process that has the name.
async fn wait_if_own(address: &Address, found: Error) -> Result<()> {
    if !matches!(found, Error::BrokerAlreadyRunning { pid, .. } if pid == Some(std::process::id())) {
        return Err(found);
    }
    for pause in CLOSING {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        if holder(address).is_none() {
            return Ok(());
        }
    }
    Err(found)
}

/// Why the name is not free, if it is not. Looks as a client would, since only that tells a broker of ours from somebody else.
fn holder(address: &Address) -> Option<Error> {
    let path = address.path();
    let running = |pid| {
        Some(Error::BrokerAlreadyRunning {
            path: path.to_path_buf(),
            pid,
            silent: false,
        })
    };
    match open(path) {
        Ok(pipe) => match (Server::of(pipe.as_handle()), own_sid()) {
            (Ok(server), Ok(own)) if server.owner == *own => running(Some(server.pid)),
            (Ok(server), _) => Some(refused(
                path,
                format!(
                    "a pipe of that name belongs to {} (process {}); find out why, or choose another name",
                    server.owner, server.pid
                ),
            )),
            (Err(_), _) => running(None),
        },
        Err(cause) => match code(&cause) {
            ERROR_FILE_NOT_FOUND => None,
            ERROR_ACCESS_DENIED => Some(refused(
                path,
                "somebody else has a pipe of that name and does not let this user in; find out who, or choose another name",
            )),
            // Busy, or going away: it is somebody's.
            ERROR_PIPE_BUSY => running(None),
            _ => None,
        },
    }
}
