//! The lock file: whose it is, what it is, and that nobody is tricked through it.
use std::os::unix::fs::{chown, symlink};

use rustix::fs::{FlockOperation, flock};

use crate::support::*;

#[test]
fn another_uids_lock_file_is_refused_by_name() {
    if !is_root("another_uids_lock_file_is_refused_by_name") {
        return;
    }
    let home = Home::new();
    std::fs::write(home.lock(), "").unwrap();
    chmod(&home.lock(), 0o600);
    chown(home.lock(), Some(NOBODY), None).unwrap();
    // Also while it is held: the owner matters more.
    let held = std::fs::File::open(home.lock()).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    assert_refused(run(bind(&home.path())), "belongs to uid 65534");
}

#[test]
fn a_lock_file_that_is_something_else_is_refused() {
    let home = Home::new();
    let victim = home.dir.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    chmod(&victim, 0o600);
    symlink(&victim, home.lock()).unwrap();
    assert_refused(run(bind(&home.path())), "regular file");
    std::fs::remove_file(home.lock()).unwrap();
    std::fs::hard_link(&victim, home.lock()).unwrap();
    assert_refused(run(bind(&home.path())), "hard link");
    std::fs::remove_file(home.lock()).unwrap();
    assert_eq!(std::fs::read(&victim).unwrap(), b"precious");

    std::fs::write(home.lock(), "").unwrap();
    chmod(&home.lock(), 0o644);
    assert_refused(run(bind(&home.path())), "others could hold");
    assert!(!home.path().exists());
}

#[test]
fn a_lock_file_with_something_in_it_is_refused_and_kept() {
    let home = Home::new();
    for content in [
        "precious",
        "12 monkeys\n",
        " ",
        // Longer than a broker writes, by one.
        "123456789012345678901234567890123",
    ] {
        std::fs::write(home.lock(), content).unwrap();
        chmod(&home.lock(), 0o600);
        assert_refused(run(bind(&home.path())), "something else than the pid");
        assert_eq!(std::fs::read_to_string(home.lock()).unwrap(), content);
        assert!(!home.path().exists());
    }
}

#[test]
fn the_lock_holds_the_pid_and_outlives_a_crash() {
    run(async {
        let home = Home::new();
        for left in ["", "4294967295\n", "\0\0\0\0\0\0", "12345678901234567890123456789012"] {
            std::fs::write(home.lock(), left).unwrap();
            chmod(&home.lock(), 0o600);
            drop(bind(&home.path()).await.unwrap());
        }
        let listener = bind(&home.path()).await.unwrap();
        let text = std::fs::read_to_string(home.lock()).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
        // Whatever the file says, a held lock is a running broker.
        std::fs::write(home.lock(), "\u{1f512}").unwrap();
        assert_eq!(assert_running(bind(&home.path()).await), None);
        drop(listener);
        std::fs::write(home.lock(), "").unwrap();
        drop(bind(&home.path()).await.unwrap());
    });
}
