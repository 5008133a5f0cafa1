//! Many clients at once, names that are taken again at once, and what all of it leaves behind.
use std::fs::File;
use std::os::windows::io::AsRawHandle;
use std::time::Duration;

use daemoneye_eventbus_core::transport::{Address, Retry, Stream, own_sid};
use tokio::time::sleep;

use crate::support::{address, bind, dial, read, read_exactly, run, write_all};

const CLIENTS: u64 = 100;

/// As a client does: busy or not there yet is worth another try.
async fn dial_until_in(address: &Address) -> Stream {
    let own = [own_sid().unwrap().clone()];
    loop {
        match Stream::dial(address, &own) {
            Ok(stream) => return stream,
            Err(refused) => assert_eq!(refused.retry, Retry::Yes, "{refused:?}"),
        }
        sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_hundred_clients_that_come_together_are_all_served() {
    run(async {
        let address = address();
        let listener = bind(&address).await;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let address = address.clone();
                tokio::spawn(async move {
                    let stream = dial_until_in(&address).await;
                    write_all(&stream, &number.to_le_bytes()).await.unwrap();
                    assert_eq!(read_exactly(&stream, 8).await, number.to_le_bytes());
                })
            })
            .collect();
        for _ in 0..CLIENTS {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let got = read_exactly(&stream, 8).await;
                write_all(&stream, &got).await.unwrap();
                // Until the client has read it and gone.
                let _end = read(&stream, 1).await;
            });
        }
        for client in clients {
            client.await.unwrap();
        }
    });
}

#[test]
fn a_broker_that_has_ended_can_start_again_at_once() {
    run(async {
        let address = address();
        for _ in 0..20 {
            let listener = bind(&address).await;
            let client = dial(&address);
            let (server, _) = listener.accept().await.unwrap();
            write_all(&server, b"bye").await.unwrap();
            drop(server);
            assert_eq!(read_exactly(&client, 3).await, b"bye");
            listener.close();
        }
    });
}

/// The system gives the lowest number that is free, or the one that was freed last: neither grows unless something stays open.
fn next_handle() -> usize {
    File::open(std::env::current_exe().unwrap()).unwrap().as_raw_handle() as usize
}

#[test]
fn connections_and_listeners_leave_no_handle_behind() {
    const ROUNDS: usize = 300;
    // Handles are multiples of 4.
    const LEAK: usize = ROUNDS * 4 / 2;

    let before = next_handle();
    run(async {
        let address = address();
        let listener = bind(&address).await;
        for _ in 0..ROUNDS {
            let client = dial_until_in(&address).await;
            let (server, _) = listener.accept().await.unwrap();
            write_all(&client, b"x").await.unwrap();
            assert_eq!(read_exactly(&server, 1).await, b"x");
            listener.security().unwrap();
        }
    });
    let after = next_handle();
    assert!(after < before + LEAK, "the next handle was {before}, and is {after}");
}
