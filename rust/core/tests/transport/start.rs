//! Modes, stale and live sockets, takeover.
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use daemoneye_eventbus_core::Error;
use daemoneye_eventbus_core::transport::{ListenOptions, PathState, Retry};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::helper::Role;
use crate::support::*;

#[test]
fn fault_01_modes_under_every_umask() {
    for umask in ["000", "022", "077", "777"] {
        let home = Home::new();
        let path = home.dir.path().join("made/deeper/bus.sock");
        let ready = home.dir.path().join("ready");
        let role = Role::new("listen", &path, &ready, None).env("TRANSPORT_UMASK", umask);
        let running = role.start();
        if umask == "777" {
            // What the role reports is unreadable for others than root under this mask; the socket itself tells.
            while !std::fs::symlink_metadata(&path).is_ok_and(|found| found.permissions().mode() & 0o777 == 0o600) {
                std::thread::sleep(Duration::from_millis(5));
            }
        } else {
            running.wait_ready();
        }
        assert_eq!(mode(&path), 0o600, "umask {umask}");
        assert_eq!(mode(&path.with_extension("sock.lock")), 0o600, "umask {umask}");
        assert_eq!(mode(&home.dir.path().join("made")), 0o700, "umask {umask}");
        assert_eq!(mode(&home.dir.path().join("made/deeper")), 0o700, "umask {umask}");
    }
}

#[test]
fn fault_01_nobody_slips_in_while_it_starts() {
    if !is_root("fault_01_nobody_slips_in_while_it_starts") {
        return;
    }
    let home = Home::shared();
    let reports = Home::new();
    chmod(reports.dir.path(), 0o777);
    let counted = reports.dir.path().join("hammer");
    let mut hammer = Role::new("hammer", &home.path(), &counted, Some(NOBODY)).start();
    let mut restart = Role::new("restart", &home.path(), &home.dir.path().join("restart"), None)
        .env("TRANSPORT_UMASK", "000")
        .start();
    restart.finish();
    std::fs::write(counted.with_extension("stop"), "").unwrap();
    let text = hammer.wait_ready();
    hammer.finish();
    let (tries, entered) = text.split_once(' ').unwrap();
    assert!(tries.parse::<u64>().unwrap() > 500, "{text}");
    assert_eq!(entered, "0", "{text}");
}

#[test]
fn a_group_is_let_in_only_as_asked() {
    let refused = |mode, group| {
        let options = ListenOptions {
            mode,
            group,
            ..options()
        };
        let result = run(bind_with(&Home::new().address(), &options));
        assert!(
            matches!(
                result,
                Err(Error::Invalid {
                    field: "socket_mode",
                    ..
                })
            ),
            "{result:?}"
        );
    };
    refused(0o666, None);
    refused(0o660, None);
    refused(0o600, Some(0));
    refused(0o777, Some(0));
    if !is_root("a_group_is_let_in_only_as_asked") {
        return;
    }
    run(async {
        let home = Home::new();
        let options = ListenOptions {
            mode: 0o660,
            group: Some(NOBODY),
            ..options()
        };
        let _listener = bind_with(&home.address(), &options).await.unwrap();
        assert_eq!(mode(&home.path()), 0o660);
        assert_eq!(std::fs::symlink_metadata(home.path()).unwrap().gid(), NOBODY);
        assert_eq!(mode(&home.lock()), 0o600);
    });
}

#[test]
fn fault_06_a_stale_socket_is_replaced() {
    let home = Home::new();
    let mut role = Role::new("listen", &home.path(), &home.dir.path().join("ready"), None).start();
    role.wait_ready();
    let pid = assert_running(run(bind(&home.path())));
    assert!(pid.is_some_and(|pid| pid != std::process::id()));
    role.kill();
    let started = Instant::now();
    run(async {
        let listener = bind(&home.path()).await.unwrap();
        let _client = dial(&home.path());
        listener.accept().await.unwrap();
    });
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[test]
fn fault_07_a_second_broker_disturbs_nothing() {
    run(async {
        let home = Home::new();
        let (listener, client, server) = pair(&home).await;
        let inode = std::fs::symlink_metadata(home.path()).unwrap().ino();
        let started = Instant::now();
        assert_eq!(assert_running(bind(&home.path()).await), Some(std::process::id()));
        // Also where somebody has removed the lock file.
        std::fs::remove_file(home.lock()).unwrap();
        assert_eq!(assert_running(bind(&home.path()).await), Some(std::process::id()));
        assert!(started.elapsed() < Duration::from_secs(1));
        assert_eq!(std::fs::symlink_metadata(home.path()).unwrap().ino(), inode);
        assert_eq!(listener.path_watch().state(), PathState::Ours);
        client.try_write(&[std::io::IoSlice::new(b"on")]).unwrap();
        assert_eq!(server.try_read(&mut [0; 8]).unwrap(), 2);
    });
}

#[test]
fn fault_08_a_silent_or_full_listener_is_never_replaced() {
    run(async {
        let home = Home::new();
        let silent = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        silent.bind(&SockAddr::unix(home.path()).unwrap()).unwrap();
        silent.listen(1).unwrap();
        let inode = std::fs::symlink_metadata(home.path()).unwrap().ino();
        assert_running(bind(&home.path()).await);

        let mut waiting = Vec::new();
        let address = home.address();
        let full = loop {
            match daemoneye_eventbus_core::transport::Stream::dial(&address, &[rustix::process::geteuid().as_raw()]) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
            assert!(waiting.len() < 1000);
        };
        // Fault 26: a full backlog is no connection, and trying again may help.
        assert_eq!(full.retry, Retry::Yes);
        assert!(
            matches!(
                full.error,
                Error::Io {
                    errno: Some(libc::EAGAIN),
                    ..
                }
            ),
            "{full:?}"
        );
        assert_running(bind(&home.path()).await);
        assert_eq!(std::fs::symlink_metadata(home.path()).unwrap().ino(), inode);
    });
}

#[test]
fn fault_09_one_winner() {
    let home = Home::new();
    for round in 0..50 {
        let gate = Arc::new(Barrier::new(8));
        let racers: Vec<_> = (0..8)
            .map(|_| {
                let (gate, path) = (gate.clone(), home.path());
                std::thread::spawn(move || {
                    run(async {
                        gate.wait();
                        let result = bind(&path).await;
                        // Nobody leaves before all have tried.
                        gate.wait();
                        match result {
                            Ok(listener) => {
                                let _client = dial(&path);
                                listener.accept().await.unwrap();
                                true
                            }
                            Err(Error::BrokerAlreadyRunning { .. }) => false,
                            Err(other) => panic!("{other}"),
                        }
                    })
                })
            })
            .collect();
        let winners = racers
            .into_iter()
            .map(|racer| racer.join().unwrap())
            .filter(|won| *won)
            .count();
        assert_eq!(winners, 1, "round {round}");
    }
}

#[test]
fn fault_10_a_successors_file_survives() {
    run(async {
        let home = Home::new();
        let old = bind(&home.path()).await.unwrap();
        std::fs::remove_file(home.path()).unwrap();
        std::fs::remove_file(home.lock()).unwrap();
        let new = bind(&home.path()).await.unwrap();
        assert_eq!(old.path_watch().state(), PathState::Lost);
        old.close();
        assert_eq!(new.path_watch().state(), PathState::Ours);
        let _client = dial(&home.path());
        new.accept().await.unwrap();
    });
}

#[test]
fn fault_12_a_removed_file_is_noticed_and_harms_nobody() {
    run(async {
        let home = Home::new();
        let (listener, client, server) = pair(&home).await;
        assert_eq!(listener.path_watch().state(), PathState::Ours);
        std::fs::remove_file(home.path()).unwrap();
        assert_eq!(listener.path_watch().state(), PathState::Lost);
        client.try_write(&[std::io::IoSlice::new(b"on")]).unwrap();
        assert_eq!(server.try_read(&mut [0; 8]).unwrap(), 2);
    });
}

#[test]
fn closing_and_dropping_leave_only_the_lock_file() {
    run(async {
        let home = Home::new();
        bind(&home.path()).await.unwrap().close();
        assert!(!home.path().exists() && home.lock().exists());
        let lock = std::fs::metadata(home.lock()).unwrap().ino();
        drop(bind(&home.path()).await.unwrap());
        assert!(!home.path().exists());
        assert_eq!(std::fs::metadata(home.lock()).unwrap().ino(), lock);
        // A foreign listener that ignores the lock and has gone.
        drop(UnixListener::bind(home.dir.path().join("other.sock")).unwrap());
        drop(bind(&home.path()).await.unwrap());
    });
}

#[test]
fn fault_13_no_abstract_name() {
    run(async {
        let home = Home::new();
        let _listener = bind(&home.path()).await.unwrap();
        let name = home.path().display().to_string();
        let table = std::fs::read_to_string("/proc/net/unix").unwrap();
        assert!(table.contains(&format!(" {name}\n")));
        assert!(!table.contains(&format!("@{name}")));
    });
}
