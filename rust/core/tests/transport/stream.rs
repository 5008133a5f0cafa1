//! Connected streams: identity, signals, waiting, inheritance.
#![expect(unsafe_code, reason = "signals, and descriptors known by their number")]
use std::io::{ErrorKind, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use daemoneye_eventbus_core::Error;
use daemoneye_eventbus_core::transport::{Peer, Retry, Stream};

use crate::helper::Role;
use crate::support::*;

fn fill(stream: &Stream) -> usize {
    let mut total = 0;
    loop {
        match stream.try_write(&[IoSlice::new(&[7; 4096])]) {
            Ok(written) => total += written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return total,
            Err(error) => panic!("{error}"),
        }
    }
}

fn drain(stream: &Stream) -> usize {
    let (mut total, mut buffer) = (0, vec![0; 65_536]);
    while let Ok(read) = stream.try_read(&mut buffer) {
        total += read;
        if read == 0 {
            break;
        }
    }
    total
}

async fn still_waits<T>(wait: impl Future<Output = T>) -> bool {
    tokio::time::timeout(Duration::from_millis(50), wait).await.is_err()
}

#[test]
fn bytes_travel_and_end() {
    run(async {
        let home = Home::new();
        let (_listener, client, server) = pair(&home).await;
        let own = Peer::own_uid();
        assert_eq!((client.peer().uid, server.peer().uid), (own, own));
        assert_eq!(server.try_read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let many: Vec<_> = (0..3000).map(|_| IoSlice::new(b"x")).collect();
        assert_eq!(client.try_write(&many).unwrap(), 1024);
        assert_eq!(drain(&server), 1024);
        let readable = server.readable().unwrap();
        let mut buffer = [0; 16];
        assert!(still_waits(readable.read_with(|| server.try_read(&mut buffer))).await);
        client.try_write(&[IoSlice::new(b"ab"), IoSlice::new(b"c")]).unwrap();
        assert_eq!(readable.read_with(|| server.try_read(&mut buffer)).await.unwrap(), 3);
        assert_eq!(&buffer[..3], b"abc");
        drop(client);
        assert_eq!(readable.read_with(|| server.try_read(&mut buffer)).await.unwrap(), 0);
        assert_eq!(
            server.try_write(&[IoSlice::new(b"x")]).unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
    });
}

#[cfg(target_os = "linux")]
#[test]
fn what_the_peer_has_not_read_is_known_and_waited_for() {
    run(async {
        let home = Home::new();
        let (_listener, client, server) = pair(&home).await;
        assert_eq!(server.unsent(), Some(0));
        server.drained().await.unwrap();
        // A frame and its body in one write are one piece: a part of it read is nothing read.
        for size in [8, 100_000] {
            assert_eq!(server.try_write(&[IoSlice::new(&vec![7; size])]).unwrap(), size);
            assert!(server.unsent().is_some_and(|unsent| unsent > 0));
            client.try_read(&mut [0; 4]).unwrap();
            let waiting = server.drained();
            tokio::pin!(waiting);
            assert!(still_waits(&mut waiting).await);
            let start = std::time::Instant::now();
            assert_eq!(drain(&client), size - 4);
            waiting.await.unwrap();
            // Told by the kernel, not found by looking again.
            assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
            assert_eq!(server.unsent(), Some(0));
        }
        server.try_write(&[IoSlice::new(b"lost")]).unwrap();
        drop(client);
        server.drained().await.unwrap();
    });
}

#[test]
fn a_blocking_descriptor_never_blocks() {
    let (done, finished) = std::sync::mpsc::channel();
    // On a thread, because a call that blocks would block every deadline on its own.
    std::thread::spawn(move || {
        run(async {
            let home = Home::new();
            let (_listener, client, server) = pair(&home).await;
            for stream in [&client, &server] {
                // SAFETY: the stream outlives the borrow.
                let fd = unsafe { BorrowedFd::borrow_raw(stream.raw_fd()) };
                rustix::io::ioctl_fionbio(fd, false).unwrap();
            }
            assert_eq!(server.try_read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
            assert!(fill(&client) > 0);
            done.send(()).unwrap();
        });
    });
    finished.recv_timeout(Duration::from_secs(10)).unwrap();
}

#[test]
fn writers_wake_for_room_for_a_hangup_and_for_a_shutdown() {
    run(async {
        let home = Home::new();
        let (listener, client, server) = pair(&home).await;
        client.writable().await.unwrap();
        let sent = fill(&client);
        assert!(still_waits(client.writable()).await);
        // What arrives to be read is no reason to wake a writer, and a reader may wait on the same stream meanwhile.
        server.try_write(&[IoSlice::new(b"ping")]).unwrap();
        let readable = client.readable().unwrap();
        assert_eq!(readable.read_with(|| client.try_read(&mut [0; 8])).await.unwrap(), 4);
        assert!(still_waits(client.writable()).await);
        let client = Arc::new(client);
        let waiter = |stream: Arc<Stream>| tokio::spawn(async move { stream.writable().await });

        let waiting = waiter(client.clone());
        tokio::task::yield_now().await;
        assert_eq!(drain(&server), sent);
        waiting.await.unwrap().unwrap();

        fill(&client);
        let waiting = waiter(client.clone());
        tokio::task::yield_now().await;
        drop(server);
        waiting.await.unwrap().unwrap();
        assert!(client.try_write(&[IoSlice::new(b"x")]).is_err());

        let client = Arc::new(dial(&home.path()));
        let (_server, _) = listener.accept().await.unwrap();
        fill(&client);
        let waiting = waiter(client.clone());
        tokio::task::yield_now().await;
        client.shut_down();
        waiting.await.unwrap().unwrap();
        assert_eq!(client.try_read(&mut [0; 8]).unwrap(), 0);
        assert!(client.try_write(&[IoSlice::new(b"x")]).is_err());
    });
}

#[test]
fn a_cancelled_accept_loses_no_connection() {
    run(async {
        let home = Home::new();
        let listener = bind(&home.path()).await.unwrap();
        let mut clients = Vec::new();
        let mut accepted = 0;
        for _ in 0..100 {
            clients.push(dial(&home.path()));
            // Polled once and dropped.
            let once = tokio::time::timeout(Duration::ZERO, listener.accept());
            accepted += usize::from(once.await.is_ok());
        }
        while accepted < clients.len() {
            listener.accept().await.unwrap();
            accepted += 1;
        }
        assert!(still_waits(listener.accept()).await);
    });
}

#[test]
fn a_client_that_left_before_it_was_accepted_is_still_one() {
    run(async {
        let home = Home::new();
        let listener = bind(&home.path()).await.unwrap();
        drop(dial(&home.path()));
        let (stream, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.uid, Peer::own_uid());
        assert_eq!(stream.try_read(&mut [0; 8]).unwrap(), 0);
    });
}

#[test]
fn fault_53_a_server_of_the_wrong_uid_hears_nothing() {
    run(async {
        let home = Home::new();
        let listener = bind(&home.path()).await.unwrap();
        let error = Stream::dial(&home.address(), &[12345]).unwrap_err();
        assert_eq!(error.retry, Retry::No);
        assert!(
            matches!(error.error, Error::PermissionRefused { uid, .. } if uid == Peer::own_uid()),
            "{error:?}"
        );
        let (stream, _) = listener.accept().await.unwrap();
        assert_eq!(stream.try_read(&mut [0; 8]).unwrap(), 0);
    });
}

#[test]
fn fault_53_a_squatter_of_another_uid_is_found_out() {
    if !is_root("fault_53_a_squatter_of_another_uid_is_found_out") {
        return;
    }
    let home = Home::new();
    chmod(home.dir.path(), 0o1777);
    let ready = home.dir.path().join("ready");
    let squatter = Role::new("listen", &home.path(), &ready, Some(NOBODY)).start();
    squatter.wait_ready();
    let error = Stream::dial(&home.address(), &[0]).unwrap_err();
    assert!(
        matches!(error.error, Error::PermissionRefused { uid: NOBODY, .. }),
        "{error:?}"
    );
    // And the real broker does not take the squatter's lock for a running broker of its own.
    assert_refused(run(bind(&home.path())), "belongs to uid 65534");
}

#[test]
fn fault_49_the_kernel_says_who_connects() {
    if !is_root("fault_49_the_kernel_says_who_connects") {
        return;
    }
    run(async {
        let home = Home::shared();
        let listener = bind(&home.path()).await.unwrap();
        chmod(&home.path(), 0o666);
        let _client = Role::new("dial", &home.path(), Path::new("/nowhere"), Some(NOBODY)).start();
        let (_stream, peer) = listener.accept().await.unwrap();
        assert_eq!((peer.uid, peer.gid), (NOBODY, NOBODY));
    });
}

#[test]
fn dialling_says_what_may_be_tried_again() {
    let home = Home::new();
    let absent = Stream::dial(&home.address(), &[0]).unwrap_err();
    assert!(
        absent.retry == Retry::Yes && absent.error.to_string().contains("bus.sock"),
        "{absent:?}"
    );
    // Bound, and nobody listens: as after a crash.
    let stale = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    stale.bind(&socket2::SockAddr::unix(home.path()).unwrap()).unwrap();
    assert_eq!(Stream::dial(&home.address(), &[0]).unwrap_err().retry, Retry::Yes);
}

#[test]
fn fault_54_a_child_program_inherits_nothing() {
    run(async {
        let home = Home::new();
        let (_listener, _client, server) = pair(&home).await;
        let _readable = server.readable().unwrap();
        let listing = Command::new("ls")
            .args(["-l", "/proc/self/fd"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&listing.stdout).into_owned();
        assert!(text.contains("/dev/null"), "{text}");
        assert!(
            !text.contains("socket:") && !text.contains(".lock") && !text.contains("eventpoll"),
            "{text}"
        );
    });
}

#[test]
fn fault_23_no_sigpipe_even_where_it_kills() {
    let home = Home::new();
    let mut role = Role::new("sigpipe", &home.path(), Path::new("/nowhere"), None).start();
    role.finish();
}

/// The role of [`fault_23_no_sigpipe_even_where_it_kills`].
pub(crate) fn write_with_default_sigpipe(path: &Path) {
    // SAFETY: setting a signal to its default touches nothing of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    run(async {
        let listener = bind(path).await.unwrap();
        let client = dial(path);
        let (server, _) = listener.accept().await.unwrap();
        drop(client);
        let error = server.try_write(&[IoSlice::new(b"a"), IoSlice::new(b"b")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn fault_24_accepting_recovers_when_descriptors_are_free_again() {
    let home = Home::new();
    let mut role = Role::new("nofile", &home.path(), Path::new("/nowhere"), None).start();
    role.finish();
}

/// The role of [`fault_24_accepting_recovers_when_descriptors_are_free_again`].
pub(crate) fn accept_without_descriptors(path: &Path) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    run(async {
        let listener = bind(path).await.unwrap();
        let clients: Vec<_> = (0..20).map(|_| dial(path)).collect();
        let before = getrlimit(Resource::Nofile);
        let none = Rlimit {
            current: Some(3),
            maximum: before.maximum,
        };
        setrlimit(Resource::Nofile, none).unwrap();
        for _ in 0..3 {
            let error = listener.accept().await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        }
        assert_eq!(clients[0].try_write(&[IoSlice::new(b"on")]).unwrap(), 2);
        setrlimit(Resource::Nofile, before).unwrap();
        for _ in &clients {
            listener.accept().await.unwrap();
        }
    });
}

#[test]
fn two_registrations_of_one_stream() {
    run(async {
        let home = Home::new();
        let (_listener, client, server) = pair(&home).await;
        let (first, second) = (server.readable().unwrap(), server.readable().unwrap());
        for readable in [&first, &second] {
            client.try_write(&[IoSlice::new(b"x")]).unwrap();
            assert_eq!(readable.read_with(|| server.try_read(&mut [0; 8])).await.unwrap(), 1);
        }
    });
}

#[test]
fn everything_may_cross_threads() {
    fn crosses<T: Send + Sync>() {}
    fn is_sent(_: impl Send) {}
    crosses::<Stream>();
    crosses::<daemoneye_eventbus_core::transport::Readable>();
    crosses::<daemoneye_eventbus_core::transport::Listener>();
    is_sent(bind(Path::new("/nowhere/bus.sock")));
}
