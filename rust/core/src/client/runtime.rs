//! The one thread on which all links of this process dial, shake hands and keep alive.
//!
//! It belongs to the process that made it: a forked child forgets it (its threads do not exist there) and makes its own on first use.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::error::{Error, Result};

struct Running {
    handle: tokio::runtime::Handle,
    stop: Arc<Notify>,
    thread: Option<std::thread::JoinHandle<()>>,
    pid: u32,
}

static RUNNING: Mutex<Option<Running>> = Mutex::new(None);

/// The handle on which supervisors are spawned; starts the thread if need be.
pub(super) fn handle() -> Result<tokio::runtime::Handle> {
    let mut running = RUNNING.lock();
    let pid = std::process::id();
    if let Some(running) = running.as_ref().filter(|running| running.pid == pid) {
        return Ok(running.handle.clone());
    }
    // What a parent process left here is forgotten, never dropped: dropping would join threads that do not exist.
    std::mem::forget(running.take());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("starting the client runtime", &error))?;
    let handle = runtime.handle().clone();
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let thread = std::thread::Builder::new()
        .name("daemoneye-client".to_owned())
        .spawn(move || {
            runtime.block_on(stopped.notified());
            runtime.shutdown_background();
        })
        .map_err(|error| Error::io("starting the client thread", &error))?;
    *running = Some(Running {
        handle: handle.clone(),
        stop,
        thread: Some(thread),
        pid,
    });
    Ok(handle)
}

/// Stops the thread and waits for it, `timeout` at most; for process exit, after the links were closed.
pub fn shut_down(timeout: Duration) {
    let Some(mut running) = RUNNING.lock().take() else {
        return;
    };
    if running.pid != std::process::id() {
        std::mem::forget(running);
        return;
    }
    running.stop.notify_one();
    let deadline = std::time::Instant::now() + timeout;
    if let Some(thread) = running.thread.take() {
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
    if let Some(mut running) = RUNNING.try_lock() {
        std::mem::forget(running.take());
    }
}
