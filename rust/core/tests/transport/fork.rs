//! Fault 60: a forked child keeps neither listener, lock nor connections alive, and its end undoes nothing.
#![expect(unsafe_code, reason = "there is no safe fork")]
use std::io::{ErrorKind, IoSlice};
use std::path::Path;

use daemoneye_eventbus_core::transport::{Listener, PathState, Stream, close_in_forked_child};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::helper::Role;
use crate::support::*;

#[test]
fn fault_60_a_forked_child_holds_nothing() {
    let home = Home::new();
    let mut role = Role::new("fork", &home.path(), Path::new("/nowhere"), None).start();
    role.finish();
}

/// Forks; the child does `work` and ends with what it returns, or lives on until it is killed.
fn fork(work: impl FnOnce() -> Option<i32>) -> Pid {
    // SAFETY: this process runs one test only, and the child does no more than the hook, drops and checks before it ends.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let code = work().unwrap_or_else(|| {
            std::thread::sleep(std::time::Duration::from_secs(20));
            0
        });
        // SAFETY: ends the child without running what belongs to the parent.
        unsafe { libc::_exit(code) };
    }
    Pid::from_raw(pid).unwrap()
}

fn exit_code(child: Pid) -> Option<i32> {
    waitpid(Some(child), WaitOptions::empty())
        .unwrap()
        .unwrap()
        .1
        .exit_status()
}

type Pair = (Listener, Stream, Stream);

fn unusable((listener, client, server): &Pair) -> bool {
    let write = client.try_write(&[IoSlice::new(b"x")]).is_err();
    let read = server
        .try_read(&mut [0; 8])
        .is_err_and(|error| error.kind() == ErrorKind::NotConnected);
    write && read && client.readable().is_err() && listener.path_watch().state() == PathState::Ours
}

/// The role of [`fault_60_a_forked_child_holds_nothing`].
pub(crate) fn fork_and_watch(path: &Path) {
    run(async {
        let mut pair = Some(pair_at(path).await);

        // The hook does nothing in the process it belongs to.
        close_in_forked_child();
        assert_alive(pair.as_ref().unwrap());

        // A child that calls the hook and drops everything; then one that calls no hook.
        let child = fork(|| {
            close_in_forked_child();
            let unusable = unusable(pair.as_ref().unwrap());
            drop(pair.take());
            Some(if unusable { 0 } else { 1 })
        });
        assert_eq!(exit_code(child), Some(0));
        assert_alive(pair.as_ref().unwrap());
        let child = fork(|| {
            pair.as_ref().unwrap().1.shut_down();
            drop(pair.take());
            Some(0)
        });
        assert_eq!(exit_code(child), Some(0));
        assert_alive(pair.as_ref().unwrap());
        let listener = &pair.as_ref().unwrap().0;
        let late = dial(path);
        listener.accept().await.unwrap();
        drop(late);

        // Children that live on: with the hook nothing of the parent's is left there; without it the parent still ends its own.
        for hook in [true, false] {
            let (listener, client, server) = pair.take().unwrap();
            let child = fork(|| {
                if hook {
                    close_in_forked_child();
                }
                None
            });
            if hook {
                wait_until_closed(child);
            }
            drop(server);
            assert_eq!(client.try_read(&mut [0; 8]).unwrap(), 0);
            drop(listener);
            assert!(!path.exists());
            pair = Some(pair_at(path).await);
            assert_alive(pair.as_ref().unwrap());
            kill_process(child, Signal::KILL).unwrap();
            let _ = exit_code(child);
            assert_alive(pair.as_ref().unwrap());
        }
    });
}

async fn pair_at(path: &Path) -> Pair {
    let listener = bind(path).await.unwrap();
    let client = dial(path);
    let (server, _) = listener.accept().await.unwrap();
    (listener, client, server)
}

fn assert_alive((listener, client, server): &Pair) {
    assert_eq!(listener.path_watch().state(), PathState::Ours);
    assert_eq!(client.try_write(&[IoSlice::new(b"alive")]).unwrap(), 5);
    assert_eq!(server.try_read(&mut [0; 8]).unwrap(), 5);
}

/// The kernel's word: the child has no socket and no lock file left. Its standard streams are whatever the tests were started with.
fn wait_until_closed(child: Pid) {
    let table = format!("/proc/{}/fd", child.as_raw_pid());
    for _ in 0..1000 {
        let open = std::fs::read_dir(&table)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| !["0", "1", "2"].iter().any(|standard| entry.file_name() == *standard))
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .map(|target| target.display().to_string())
            .filter(|target| target.starts_with("socket:") || target.ends_with(".lock"))
            .count();
        if open == 0 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("the child still holds sockets");
}
