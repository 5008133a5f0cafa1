//! Whose a name is, who may connect, and what a client checks before it speaks.
use std::path::Path;
use std::time::Duration;

use daemoneye_eventbus_core::Error;
use daemoneye_eventbus_core::transport::{Address, ListenOptions, Listener, PathState, Retry, Sid, Stream, own_sid};

use tokio::time::timeout;

use crate::support::{address, bind, bind_with, dial, pair, read_exactly, run, sid, try_bind, write_all};

#[test]
fn an_instance_and_its_full_name_are_one_address() {
    let instance = Address::from_instance("main").unwrap();
    assert_eq!(instance.path(), Path::new(r"\\.\pipe\DaemonEye-main"));
    assert_eq!(Address::from_path(instance.path()).unwrap(), instance);
}

#[test]
fn what_is_no_pipe_of_this_machine_is_refused_without_being_opened() {
    for name in [
        r"C:\bus.sock",
        "bus.sock",
        r"\\server\pipe\DaemonEye-main",
        r"\\.\pipe\",
    ] {
        match Address::from_path(Path::new(name)) {
            Err(Error::PathRefused { path, .. }) => assert_eq!(path, Path::new(name)),
            other => panic!("{name}: {other:?}"),
        }
    }
    assert!(matches!(
        Address::from_instance(r"\\.\pipe\x"),
        Err(Error::Invalid { field: "instance", .. })
    ));
}

#[test]
fn the_descriptor_is_protected_and_names_only_who_was_listed() {
    run(async {
        let options = ListenOptions {
            allowed_sids: vec![sid("S-1-5-32-545"), sid("S-1-5-21-1-2-3-1001")],
            ..ListenOptions::default()
        };
        let address = address();
        let listener = bind_with(&address, &options).await.unwrap();
        let own = own_sid().unwrap();
        let security = listener.security().unwrap();
        let (owner, list) = security
            .strip_prefix("O:")
            .and_then(|rest| rest.split_once("D:"))
            .unwrap();
        assert_eq!(owner, own.as_str(), "{security}");
        let (flags, entries) = list.split_once('(').unwrap();
        assert!(flags.contains('P'), "not protected: {security}");
        let entries: Vec<&str> = entries.trim_end_matches(')').split(")(").collect();
        // Refusals stand first, or they would not count.
        assert!(
            entries[0].starts_with("D;;") && entries[0].ends_with(";;;NU"),
            "{security}"
        );
        let rights = |who: &str| -> Vec<&str> {
            let of_who = entries
                .iter()
                .filter_map(|entry| entry.strip_prefix("A;;")?.strip_suffix(who));
            of_who.map(|rights| rights.trim_end_matches(';')).collect()
        };
        assert!(matches!(rights(";SY")[..], ["GA" | "FA" | "0x1f01ff"]), "{security}");
        assert!(
            matches!(rights(own.as_str())[..], ["GA" | "FA" | "0x1f01ff"]),
            "{security}"
        );
        for listed in ["BU", "S-1-5-21-1-2-3-1001"] {
            let given = rights(listed);
            assert_eq!(given, ["0x12019b"], "{security}");
            let bits = u32::from_str_radix(given[0].trim_start_matches("0x"), 16).unwrap();
            assert_eq!(bits & 0x4, 0, "{listed} could make an instance");
        }
        assert_eq!(entries.len(), 5, "{security}");
        // The client sees the same, so it can judge by it.
        let client = dial(&address);
        assert_eq!(client.security().unwrap(), security);
    });
}

#[test]
fn a_second_broker_is_told_of_the_first_which_goes_on() {
    run(async {
        let address = address();
        let first = bind(&address).await;
        match try_bind(&address).await {
            Err(Error::BrokerAlreadyRunning { path, pid, .. }) => {
                assert_eq!((path.as_path(), pid), (address.path(), Some(std::process::id())));
            }
            other => panic!("{other:?}"),
        }
        // The first saw a client come and go, nothing else.
        first.accept().await.unwrap();
        let client = dial(&address);
        first.accept().await.unwrap();
        assert_eq!(first.path_watch().state(), PathState::Ours);
        drop(client);
    });
}

/// Until the system has closed what was let go; before, it may be busy, or even let somebody in.
async fn gone(address: &Address) {
    const FILE_NOT_FOUND: i32 = 2;
    let own = [own_sid().unwrap().clone()];
    loop {
        match Stream::dial(address, &own).map_err(|refused| refused.error) {
            Err(Error::Io {
                errno: Some(FILE_NOT_FOUND),
                ..
            }) => return,
            _ => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
        }
    }
}

#[test]
fn a_closed_name_is_free_again() {
    run(async {
        let address = address();
        for _ in 0..3 {
            let listener = bind(&address).await;
            let client = dial(&address);
            let accepted = listener.accept().await.unwrap();
            listener.close();
            drop((client, accepted));
            gone(&address).await;
        }
        let error = Stream::dial(&address, &[own_sid().unwrap().clone()]).unwrap_err();
        assert!(
            error.retry == Retry::Yes && matches!(error.error, Error::Io { .. }),
            "{error:?}"
        );
    });
}

#[test]
fn instances_wait_however_fast_clients_come() {
    run(async {
        let address = address();
        let listener = bind(&address).await;
        let mut kept = Vec::new();
        for _ in 0..8 {
            // Four at once find an instance each, before anybody accepts.
            let clients: Vec<Stream> = (0..4).map(|_| dial(&address)).collect();
            for _ in &clients {
                kept.push(listener.accept().await.unwrap().0);
            }
            kept.extend(clients);
        }
        assert_eq!(kept.len(), 64);
    });
}

/// Takes whoever is there. That somebody left before is no trouble of the listener's, for which its broker would wait.
async fn accept_soon(listener: &Listener) {
    if let Ok(accepted) = timeout(Duration::from_millis(20), listener.accept()).await {
        accepted.unwrap();
    }
}

/// As a client does: an instance whose client has gone is in use until the listener has noticed.
async fn dial_when_free(address: &Address, listener: &Listener) -> Stream {
    let own = [own_sid().unwrap().clone()];
    for _ in 0..50 {
        match Stream::dial(address, &own) {
            Ok(stream) => return stream,
            Err(refused) => assert_eq!(refused.retry, Retry::Yes, "{refused:?}"),
        }
        accept_soon(listener).await;
    }
    panic!("no instance was free within a second");
}

#[test]
fn the_name_is_kept_however_many_come_and_go() {
    run(async {
        let address = address();
        let listener = bind(&address).await;
        for _ in 0..50 {
            // Gone before, or while, it is accepted.
            drop(dial_when_free(&address, &listener).await);
            accept_soon(&listener).await;
            assert!(matches!(
                try_bind(&address).await,
                Err(Error::BrokerAlreadyRunning { .. })
            ));
        }
        while timeout(Duration::from_millis(100), listener.accept()).await.is_ok() {}
        let client = dial_when_free(&address, &listener).await;
        let (server, _) = listener.accept().await.unwrap();
        write_all(&client, b"here").await.unwrap();
        assert_eq!(read_exactly(&server, 4).await, b"here");
    });
}

#[test]
fn a_full_house_is_busy_and_worth_another_try() {
    run(async {
        let address = address();
        let listener = bind(&address).await;
        let own = [own_sid().unwrap().clone()];
        let mut clients = Vec::new();
        let refused = loop {
            match Stream::dial(&address, &own) {
                Ok(client) => clients.push(client),
                Err(refused) => break refused,
            }
            assert!(clients.len() < 100, "nothing is ever refused");
        };
        assert_eq!(refused.retry, Retry::Yes, "{refused:?}");
        for _ in &clients {
            listener.accept().await.unwrap();
        }
        assert!(Stream::dial(&address, &own).is_ok());
    });
}

#[test]
fn a_client_speaks_only_to_whom_it_expects() {
    run(async {
        let address = address();
        let listener = bind(&address).await;
        let refused = Stream::dial(&address, &[sid(Sid::SYSTEM)]).unwrap_err();
        assert_eq!(refused.retry, Retry::No);
        match refused.error {
            Error::PermissionRefused { reason, .. } => {
                assert!(
                    reason.contains(own_sid().unwrap().as_str()) && reason.contains("server_sids"),
                    "{reason}"
                );
            }
            other => panic!("{other:?}"),
        }
        // It has sent nothing, and is gone.
        let (server, _) = listener.accept().await.unwrap();
        assert_eq!(crate::support::read(&server, 16).await.unwrap(), b"");
    });
}

#[test]
fn both_ends_know_who_is_there() {
    run(async {
        let (_listener, client, server) = pair().await;
        let own = own_sid().unwrap().relative();
        assert_eq!((client.peer().pid, client.peer().uid), (Some(std::process::id()), own));
        assert_eq!((server.peer().pid, server.peer().uid), (Some(std::process::id()), own));
    });
}
