//! Parts that need a process of their own (umask, uid, signals, fork): this test binary runs itself with a role.
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use daemoneye_eventbus_core::transport::{Address, Stream};
use rustix::fs::Mode;

use crate::support::{bind, run};

pub(crate) struct Role {
    command: Command,
    /// The binary, where another uid can read it.
    _copy: Option<tempfile::TempDir>,
    ready: PathBuf,
}

impl Role {
    /// `home` must be writable for the role's uid, or else the role must not report.
    pub(crate) fn new(role: &str, path: &Path, ready: &Path, uid: Option<u32>) -> Self {
        let mut binary = std::env::current_exe().unwrap();
        let mut copy = None;
        if uid.is_some() {
            let dir = tempfile::tempdir().unwrap();
            crate::support::chmod(dir.path(), 0o755);
            let target = dir.path().join("transport-test");
            std::fs::copy(&binary, &target).unwrap();
            crate::support::chmod(&target, 0o755);
            binary = target;
            copy = Some(dir);
        }
        let mut command = Command::new(binary);
        command
            .args([
                "--exact",
                "helper::role",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env("TRANSPORT_ROLE", role)
            .env("TRANSPORT_PATH", path)
            .env("TRANSPORT_READY", ready)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if let Some(uid) = uid {
            command.uid(uid).gid(uid);
        }
        Self {
            command,
            _copy: copy,
            ready: ready.to_path_buf(),
        }
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn start(mut self) -> Running {
        let child = self.command.spawn().unwrap();
        Running { child, role: self }
    }
}

pub(crate) struct Running {
    child: Child,
    role: Role,
}

impl Running {
    pub(crate) fn wait_ready(&self) -> String {
        wait_for(&self.role.ready)
    }
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
    pub(crate) fn finish(&mut self) {
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn wait_for(file: &Path) -> String {
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        if let Ok(text) = std::fs::read_to_string(file) {
            return text;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{} never came", file.display());
}

/// All at once, so that a reader never sees half of it.
pub(crate) fn report(file: &Path, text: &str) {
    let draft = file.with_extension("draft");
    std::fs::write(&draft, text).unwrap();
    std::fs::rename(draft, file).unwrap();
}

#[test]
#[ignore = "runs only as a role inside other tests"]
fn role() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let path = PathBuf::from(variable("TRANSPORT_PATH"));
    let ready = PathBuf::from(variable("TRANSPORT_READY"));
    let umask = u32::from_str_radix(&variable("TRANSPORT_UMASK"), 8);
    if let Ok(umask) = umask {
        rustix::process::umask(Mode::from_raw_mode(umask));
    }
    match variable("TRANSPORT_ROLE").as_str() {
        // Listens until killed.
        "listen" => run(async {
            let _listener = bind(&path).await.unwrap();
            report(&ready, "listening");
            std::thread::sleep(Duration::from_secs(25));
        }),
        // Starts and stops over and over.
        "restart" => run(async {
            for _ in 0..500 {
                let listener = bind(&path).await.unwrap();
                tokio::task::yield_now().await;
                listener.close();
            }
            report(&ready, "done");
        }),
        // Tries to connect until told to stop, and tells how often it got in.
        "hammer" => {
            let address = Address::from_path(&path).unwrap();
            let (mut tries, mut entered) = (0_u64, 0_u64);
            while !ready.with_extension("stop").exists() {
                for _ in 0..100 {
                    tries += 1;
                    entered += u64::from(Stream::dial(&address, &[0]).is_ok());
                }
            }
            report(&ready, &format!("{tries} {entered}"));
        }
        // One connection, held until killed.
        "dial" => {
            let stream = Stream::dial(&Address::from_path(&path).unwrap(), &[0]).unwrap();
            stream.try_write(&[std::io::IoSlice::new(b"hello")]).unwrap();
            std::thread::sleep(Duration::from_secs(25));
        }
        "nofile" => crate::stream::accept_without_descriptors(&path),
        "sigpipe" => crate::stream::write_with_default_sigpipe(&path),
        "fork" => crate::fork::fork_and_watch(&path),
        other => panic!("no role {other:?}"),
    }
}
