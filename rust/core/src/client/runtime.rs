//! The one thread on which all links of this process dial, shake hands and keep alive.
//!
//! It belongs to the process that made it: a forked child forgets it (its threads do not exist there, nor does whoever held its lock at
//! the fork) and makes its own on first use.
//! Should a defect end it, its links end with it, each with an error, and the next one has another thread. The tasks are the thread's
//! own and not the runtime's, which forgets its tasks, and what they hold, when it breaks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::{LocalSet, spawn_local};

use super::shared::Shared;
use super::supervisor;
use crate::error::{Error, Result};
use crate::forked::PerProcess;
use crate::lock::Mutex;
use crate::own_thread;

struct ClientThread {
    sender: mpsc::UnboundedSender<Arc<Shared>>,
    stop: Arc<Notify>,
    thread: Option<std::thread::JoinHandle<()>>,
    pid: u32,
    links: Vec<Weak<Shared>>,
    sweep_at: usize,
}

static CLIENT_THREAD: PerProcess<Mutex<Option<ClientThread>>> = PerProcess::new(Mutex::new(None));

/// Has the thread supervise `shared`; starts it if need be.
pub(super) fn supervise(shared: &Arc<Shared>) -> Result<()> {
    let mut slot = CLIENT_THREAD.get().lock();
    let pid = std::process::id();
    let client_thread = match slot.take() {
        Some(client_thread) if client_thread.pid == pid => client_thread,
        inherited => {
            // After a fork without our hook this is the parent's: forgotten, never dropped, since that would join threads that do not
            // exist.
            std::mem::forget(inherited);
            start(pid)?
        }
    };
    let client_thread = slot.insert(client_thread);
    if client_thread.links.len() >= client_thread.sweep_at {
        client_thread.links.retain(|link| link.strong_count() > 0);
        client_thread.sweep_at = 2 * client_thread.links.len() + 16;
    }
    client_thread.links.push(Arc::downgrade(shared));
    // A thread that has ended takes none, and ends the links noted here.
    let _sent = client_thread.sender.send(Arc::clone(shared));
    Ok(())
}

fn start(pid: u32) -> Result<ClientThread> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("starting the client runtime", &error))?;
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let work = move || {
        let tasks = LocalSet::new();
        let work = tasks.run_until(async {
            loop {
                tokio::select! {
                    () = stopped.notified() => return,
                    Some(shared) = receiver.recv() => drop(spawn_local(supervisor::supervise(shared))),
                }
            }
        });
        let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(work)));
        // A runtime that broke may panic once more, and those who wait for the tasks must hear of their end.
        let _reported = catch_unwind(AssertUnwindSafe(|| drop(tasks)));
        let _reported = catch_unwind(AssertUnwindSafe(|| runtime.shutdown_background()));
        if ended.is_err() {
            end_links();
        }
    };
    let thread =
        own_thread::spawn("daemoneye-client", work).map_err(|error| Error::io("starting the client thread", &error))?;
    Ok(ClientThread {
        sender,
        stop,
        thread: Some(thread),
        pid,
        links: Vec::new(),
        sweep_at: 0,
    })
}

/// On the thread, when a panic has ended what it runs.
fn end_links() {
    let here = std::thread::current().id();
    let over = CLIENT_THREAD.get().lock().take_if(|client_thread| {
        client_thread
            .thread
            .as_ref()
            .is_some_and(|thread| thread.thread().id() == here)
    });
    for link in over.into_iter().flat_map(|over| over.links) {
        if let Some(link) = link.upgrade() {
            link.end_after_panic();
        }
    }
}

/// Stops the thread and waits for it, `timeout` at most; for process exit, after the links were closed.
pub fn shut_down(timeout: Duration) {
    let Some(mut client_thread) = CLIENT_THREAD.get().lock().take() else {
        return;
    };
    if client_thread.pid != std::process::id() {
        std::mem::forget(client_thread);
        return;
    }
    client_thread.stop.notify_one();
    let deadline = std::time::Instant::now() + timeout;
    if let Some(thread) = client_thread.thread.take() {
        while !thread.is_finished() && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        if thread.is_finished() {
            // The thread's own panic, if any, was reported where it happened.
            let _ended = thread.join();
        }
    }
}

/// In a forked child, before anything else of this crate is used there.
pub fn abandon_after_fork() {
    CLIENT_THREAD.reset(Mutex::new(None));
}
