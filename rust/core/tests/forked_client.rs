//! A child that is forked while other threads of its parent start and stop clients has clients of its own.
//!
//! Alone in its file: whoever forks wants to know which threads there are.
#![cfg(unix)]
#![expect(unsafe_code, reason = "there is no safe fork")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use daemoneye_eventbus_core::client::{ClientConfig, Link, Reader, abandon_after_fork, shut_down_runtime};
use daemoneye_eventbus_core::queue::Wake;
use daemoneye_eventbus_core::transport::{Address, close_in_forked_child};
use rustix::process::{Pid, WaitOptions, waitpid};

const CHILDREN: usize = 200;

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

fn open(address: &Address) -> bool {
    Link::open(address.clone(), ClientConfig::default(), Reader::Link, Arc::new(Nobody)).is_ok()
}

#[test]
fn a_child_waits_for_no_lock_of_a_thread_that_it_has_not() {
    let folder = tempfile::tempdir().unwrap();
    let address = Address::from_path(&folder.path().join("nobody.sock")).unwrap();
    assert!(open(&address));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                open(&address);
                shut_down_runtime(Duration::from_secs(1));
            }
        });
        let ended_well = |_| {
            // SAFETY: the child does no more than a program of this crate does after a fork, and ends without running what belongs to
            // the parent; should it hang, the alarm ends it.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                // SAFETY: as above.
                unsafe { libc::alarm(10) };
                close_in_forked_child();
                abandon_after_fork();
                let code = i32::from(!open(&address));
                // SAFETY: as above.
                unsafe { libc::_exit(code) };
            }
            let (_, status) = waitpid(Pid::from_raw(pid), WaitOptions::empty()).unwrap().unwrap();
            status.exit_status() == Some(0)
        };
        let all = (0..CHILDREN).all(ended_well);
        over.store(true, Ordering::Relaxed);
        assert!(all);
    });
}
