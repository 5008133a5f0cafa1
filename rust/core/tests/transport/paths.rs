//! Addresses and the directories on the way.
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use daemoneye_eventbus_core::Error;
use daemoneye_eventbus_core::transport::{Address, Retry, is_trusted};

use crate::support::*;

#[test]
fn fault_02_links_that_others_could_have_made_are_refused() {
    let home = Home::new();
    let target = home.dir.path().join("target");
    std::fs::create_dir(&target).unwrap();
    let sticky = home.dir.path().join("sticky");
    std::fs::create_dir(&sticky).unwrap();
    chmod(&sticky, 0o1777);
    symlink(&target, sticky.join("link")).unwrap();
    let through = |link: &Path| run(bind(&link.join("new/bus.sock")));
    if !is_root("fault_02_links_that_others_could_have_made_are_refused") {
        symlink(&target, home.dir.path().join("link")).unwrap();
        assert_refused(through(&home.dir.path().join("link")), "symbolic link");
        return;
    }
    // Root's link, but where others can write.
    assert_refused(through(&sticky.join("link")), "symbolic link");
    // Where only root can write, but not root's link.
    let foreign = home.dir.path().join("foreign");
    symlink(&target, &foreign).unwrap();
    lchown(&foreign, Some(NOBODY), None).unwrap();
    assert_refused(through(&foreign), "symbolic link");
    assert_eq!(
        std::fs::read_dir(&target).unwrap().count(),
        0,
        "something was made in the target"
    );
    // Root's link where only root can write: absolute and relative, to a directory with links on its own way.
    symlink(&target, home.dir.path().join("absolute")).unwrap();
    symlink("sticky/../absolute", home.dir.path().join("relative")).unwrap();
    drop(through(&home.dir.path().join("relative")).unwrap());
    assert!(target.join("new/bus.sock.lock").exists());
    // A circle ends.
    symlink("round", home.dir.path().join("round")).unwrap();
    assert_refused(through(&home.dir.path().join("round")), "more than 40");
}

#[test]
fn fault_03_directories_that_others_can_write_are_refused() {
    let home = Home::new();
    for wide in [0o777, 0o775, 0o757, 0o770] {
        chmod(home.dir.path(), wide);
        assert_refused(run(bind(&home.path())), "others can write");
        assert_refused(run(bind(&home.dir.path().join("below/bus.sock"))), "others can write");
        assert_eq!(mode(home.dir.path()), wide);
    }
    assert_eq!(std::fs::read_dir(home.dir.path()).unwrap().count(), 0);
    chmod(home.dir.path(), 0o755);
    drop(run(bind(&home.path())).unwrap());
    assert_eq!(mode(home.dir.path()), 0o755);
    if !is_root("fault_03_directories_that_others_can_write_are_refused") {
        return;
    }
    chmod(home.dir.path(), 0o1777);
    drop(run(bind(&home.path())).unwrap());
    assert_eq!(mode(home.dir.path()), 0o1777);
    for mode in [0o700, 0o1777] {
        chmod(home.dir.path(), mode);
        chown(home.dir.path(), Some(NOBODY), None).unwrap();
        assert_refused(run(bind(&home.path())), "belongs to uid 65534");
        assert_refused(
            run(bind(&home.dir.path().join("below/bus.sock"))),
            "belongs to uid 65534",
        );
    }
}

/// A broker of another user would be asked for in its name; nothing is made on the way.
#[test]
fn whom_a_directory_is_trusted_for_and_why_not() {
    if !is_root("whom_a_directory_is_trusted_for_and_why_not") {
        return;
    }
    let home = Home::shared();
    let place = home.dir.path().join("place");
    assert!(!is_trusted(&place, NOBODY).unwrap(), "it is missing");
    assert!(!place.exists());
    std::fs::create_dir(&place).unwrap();
    chown(&place, Some(NOBODY), None).unwrap();
    assert!(is_trusted(&place, NOBODY).unwrap());
    for (mode, uid, words) in [
        (0o700, 1234, "only uid 1234 and root are trusted"),
        (0o700, 0, "only root is trusted"),
        (0o770, NOBODY, "chmod go-w"),
        // Sticky saves a directory of root's alone.
        (0o1777, NOBODY, "uid 65534's and not root's"),
    ] {
        chmod(&place, mode);
        assert_refused(is_trusted(&place, uid), words);
    }
    chmod(&place, 0o700);
    // Whose directory it is moves any link there.
    symlink(home.dir.path(), place.join("link")).unwrap();
    assert_refused(is_trusted(&place.join("link"), NOBODY), "symbolic link");
}

#[test]
fn forty_links_are_followed_and_what_is_refused_behind_them_is_named() {
    if !is_root("forty_links_are_followed_and_what_is_refused_behind_them_is_named") {
        return;
    }
    let home = Home::new();
    let at = |name: String| home.dir.path().join(name);
    std::fs::create_dir(at("link0".to_owned())).unwrap();
    for number in 1..=41 {
        let target = format!(
            "../{}/link{}",
            home.dir.path().file_name().unwrap().display(),
            number - 1
        );
        symlink(target, at(format!("link{number}"))).unwrap();
    }
    assert!(is_trusted(&at("link40".to_owned()), 0).unwrap());
    assert_refused(is_trusted(&at("link41".to_owned()), 0), "more than 40");
    chmod(&at("link0".to_owned()), 0o777);
    match is_trusted(&at("link3/below".to_owned()), 0) {
        Err(Error::PathRefused { path, .. }) => assert_eq!(path, at("link0".to_owned())),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn fault_04_a_file_at_the_path_is_left_alone() {
    let home = Home::new();
    std::fs::write(home.path(), "precious").unwrap();
    assert_refused(run(bind(&home.path())), "not a socket");
    assert_eq!(std::fs::read(home.path()).unwrap(), b"precious");
    let error = daemoneye_eventbus_core::transport::Stream::dial(&home.address(), &[0]).unwrap_err();
    assert_eq!(error.retry, Retry::OnceConnected);
    assert!(matches!(error.error, Error::PathRefused { .. }), "{error:?}");
    assert_refused(run(bind(&home.path().join("bus.sock"))), "not a directory");
}

#[test]
fn fault_05_a_link_at_the_path_is_left_alone() {
    let home = Home::new();
    let file = home.dir.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let live = home.dir.path().join("live.sock");
    let listener = UnixListener::bind(&live).unwrap();
    for target in [Path::new("/nowhere/at/all"), &file, &live] {
        symlink(target, home.path()).unwrap();
        assert_refused(run(bind(&home.path())), "not a socket");
        assert_eq!(std::fs::read_link(home.path()).unwrap(), target);
        std::fs::remove_file(home.path()).unwrap();
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    assert!(std::os::unix::net::UnixStream::connect(&live).is_ok());
    drop(listener);
}

#[test]
fn a_socket_of_another_uid_is_left_alone() {
    if !is_root("a_socket_of_another_uid_is_left_alone") {
        return;
    }
    let home = Home::new();
    drop(UnixListener::bind(home.path()).unwrap());
    chown(home.path(), Some(NOBODY), None).unwrap();
    assert_refused(run(bind(&home.path())), "belongs to uid 65534");
    assert!(std::fs::symlink_metadata(home.path()).is_ok());
}

#[test]
fn fault_11_addresses() {
    let home = Home::new();
    let long = |length: usize| {
        let base = home.dir.path().join("x");
        let missing = length - base.as_os_str().len();
        let mut path = base.into_os_string();
        path.push("y".repeat(missing));
        std::path::PathBuf::from(path)
    };
    let limit = if cfg!(any(target_os = "linux", target_os = "android")) {
        107
    } else {
        103
    };
    let longest = long(limit);
    run(async {
        let listener = bind(&longest).await.unwrap();
        assert!(longest.exists(), "the name was cut");
        let _client = dial(&longest);
        listener.accept().await.unwrap();
    });
    for length in [limit + 1, 200] {
        let path = long(length);
        let error = Address::from_path(&path).unwrap_err().to_string();
        assert!(
            error.contains(&limit.to_string()) && error.contains(&path.display().to_string()),
            "{error}"
        );
    }
    for (path, word) in [
        ("", "empty"),
        ("/tmp/a\0b", "NUL"),
        ("\0abstract", "NUL"),
        ("/", "directory"),
        ("/tmp/", "directory"),
        ("/tmp/..", "directory"),
    ] {
        assert_refused(Address::from_path(Path::new(path)), word);
    }
    let relative = Address::from_path(Path::new("run/bus.sock")).unwrap();
    assert_eq!(relative.path(), std::env::current_dir().unwrap().join("run/bus.sock"));

    let odd = home.dir.path().join(OsStr::from_bytes(b"b\xffs.sock"));
    run(async {
        let listener = bind(&odd).await.unwrap();
        let _client = dial(&odd);
        listener.accept().await.unwrap();
    });

    // A directory in which nobody can make anything, not even root.
    let error = run(bind(Path::new("/proc/none/bus.sock"))).unwrap_err();
    assert!(error.to_string().contains("/proc/none"), "{error}");
}

#[test]
fn instances() {
    let address = Address::from_instance("main-1.x_Y").unwrap();
    assert_eq!(address.path(), Path::new("/tmp/daemoneye-main-1.x_Y.sock"));
    assert!(Address::from_instance(&"i".repeat(64)).is_ok());
    for bad in ["", ".hidden", "a/b", "a b", "\u{e9}", "a\0", &"i".repeat(65)] {
        let error = Address::from_instance(bad).unwrap_err();
        assert!(matches!(error, Error::Invalid { field: "instance", .. }), "{error:?}");
    }
}
