//! What the tests share: a directory, a deadline, a broker-side listener.
use std::future::Future;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use daemoneye_eventbus_core::transport::{Address, ListenOptions, Listener, Peer, Stream};
use daemoneye_eventbus_core::{Error, Result};

pub(crate) const NOBODY: u32 = 65534;

/// A directory of ours, with a socket name in it.
pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }
    /// Others may enter but not write.
    pub(crate) fn shared() -> Self {
        let home = Self::new();
        chmod(home.dir.path(), 0o755);
        home
    }
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("bus.sock")
    }
    pub(crate) fn lock(&self) -> PathBuf {
        self.dir.path().join("bus.sock.lock")
    }
    pub(crate) fn address(&self) -> Address {
        Address::from_path(&self.path()).unwrap()
    }
}

pub(crate) fn options() -> ListenOptions {
    ListenOptions {
        probe_timeout: Duration::from_millis(200),
        ..ListenOptions::default()
    }
}

pub(crate) async fn bind(path: &Path) -> Result<Listener> {
    bind_with(&Address::from_path(path)?, &options()).await
}

pub(crate) async fn bind_with(address: &Address, options: &ListenOptions) -> Result<Listener> {
    Listener::prepare(address, options)?.listen().await
}

pub(crate) fn dial(path: &Path) -> Stream {
    Stream::dial(&Address::from_path(path).unwrap(), &[Peer::own_uid()]).unwrap()
}

pub(crate) async fn pair(home: &Home) -> (Listener, Stream, Stream) {
    let listener = bind(&home.path()).await.unwrap();
    let client = dial(&home.path());
    let (server, peer) = listener.accept().await.unwrap();
    assert_eq!(peer.pid, Some(std::process::id()));
    (listener, client, server)
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

pub(crate) fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Runs on a runtime of its own, under a deadline.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(30), test)
            .await
            .expect("the test hangs")
    })
}

pub(crate) fn is_root(test: &str) -> bool {
    let root = Peer::own_uid() == 0;
    if !root {
        let words = format!("{test}: skipped, it needs root to act as another uid\n");
        std::io::stderr().write_all(words.as_bytes()).unwrap();
    }
    root
}

pub(crate) fn assert_refused<T: std::fmt::Debug>(result: Result<T>, words: &str) {
    match result {
        Err(Error::PathRefused { reason, .. }) if reason.contains(words) => {}
        other => panic!("expected a refusal with {words:?}, got {other:?}"),
    }
}

pub(crate) fn assert_running<T: std::fmt::Debug>(result: Result<T>) -> Option<u32> {
    match result {
        Err(Error::BrokerAlreadyRunning { pid, .. }) => pid,
        other => panic!("expected a running broker, got {other:?}"),
    }
}
