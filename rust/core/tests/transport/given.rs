//! Listening sockets that somebody else made.
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use daemoneye_eventbus_core::transport::{self, Listener, PathState, Peer};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::support::*;

fn copy(socket: &impl AsFd) -> OwnedFd {
    transport::duplicate(socket.as_fd().as_raw_fd()).unwrap()
}

#[test]
fn a_given_listener_accepts_and_leaves_everything_as_it_was() {
    run(async {
        let home = Home::new();
        let made = UnixListener::bind(home.path()).unwrap();
        let before = std::fs::metadata(home.path()).unwrap();
        let listener = Listener::from_fd(copy(&made)).unwrap();
        let stream = dial(&home.path());
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!((peer.uid, peer.pid), (Peer::own_uid(), Some(std::process::id())));
        // Whatever becomes of its path is its maker's business.
        std::fs::rename(home.path(), home.dir.path().join("elsewhere")).unwrap();
        assert_eq!(listener.path_watch().state(), PathState::Ours);
        std::fs::rename(home.dir.path().join("elsewhere"), home.path()).unwrap();
        listener.close();
        let after = std::fs::metadata(home.path()).unwrap();
        assert_eq!((after.ino(), after.mode()), (before.ino(), before.mode()));
        assert!(!home.lock().exists());
        drop(stream);
        // Its maker listens still.
        let waits = UnixStream::connect(home.path()).unwrap();
        made.set_nonblocking(false).unwrap();
        made.accept().unwrap();
        drop(waits);
    });
}

#[test]
fn who_connects_between_two_takers_is_served_by_the_second() {
    run(async {
        let home = Home::new();
        let made = UnixListener::bind(home.path()).unwrap();
        Listener::from_fd(copy(&made)).unwrap().close();
        let early = dial(&home.path());
        let second = Listener::from_fd(copy(&made)).unwrap();
        let accepted = tokio::time::timeout(Duration::from_secs(5), second.accept()).await;
        assert!(accepted.unwrap().is_ok());
        drop(early);
    });
}

#[test]
fn what_is_no_listening_stream_socket_with_a_path_is_refused() {
    let home = Home::new();
    let address = SockAddr::unix(home.path()).unwrap();
    let silent = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    silent.bind(&address).unwrap();
    let datagrams = Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap();
    let internet = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let unnamed = UnixStream::pair().unwrap().0;
    let file = std::fs::File::open(home.dir.path()).unwrap();
    for (fd, words) in [
        (copy(&silent), "nobody listens"),
        (copy(&datagrams), "no stream socket"),
        (copy(&internet), "no Unix socket"),
        (copy(&unnamed), "nobody listens"),
        (copy(&file), "no socket"),
    ] {
        let error = transport::given_path(&fd).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!(transport::duplicate(-1).is_err());
    assert!(transport::duplicate(100_000).is_err());
}

#[test]
fn a_directory_is_judged_for_whom_it_is_asked_and_not_made() {
    let home = Home::new();
    let missing = home.dir.path().join("not/there");
    assert_eq!(transport::is_trusted(&missing, Peer::own_uid()), Ok(false));
    assert!(!home.dir.path().join("not").exists());
    assert_eq!(transport::is_trusted(home.dir.path(), Peer::own_uid()), Ok(true));
    if is_root("a_directory_is_judged_for_whom_it_is_asked_and_not_made") {
        // Root's directories are everybody's; those of others are theirs alone.
        assert_eq!(transport::is_trusted(home.dir.path(), NOBODY), Ok(true));
        std::os::unix::fs::chown(home.dir.path(), Some(NOBODY), None).unwrap();
        assert_eq!(transport::is_trusted(home.dir.path(), NOBODY), Ok(true));
        assert_refused(transport::is_trusted(home.dir.path(), 0), "belongs to uid");
    }
    chmod(home.dir.path(), 0o777);
    assert_refused(transport::is_trusted(home.dir.path(), Peer::own_uid()), "");
}
