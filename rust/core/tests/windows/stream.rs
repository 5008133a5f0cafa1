//! Bytes through a pipe: order, back-pressure, the end, and waits that are given up.
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;

use crate::support::{address, bind, dial, pair, read, read_exactly, run, write_all};

const SOON: Duration = Duration::from_millis(100);

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

#[test]
fn bytes_arrive_whole_and_in_order_both_ways() {
    run(async {
        let (_listener, client, server) = pair().await;
        let sent = pattern(3 * 1024 * 1024 + 17);
        for (from, to) in [(&client, &server), (&server, &client)] {
            let (written, got) = tokio::join!(write_all(from, &sent), read_exactly(to, sent.len()));
            written.unwrap();
            assert!(got == sent);
        }
    });
}

#[test]
fn slices_are_written_in_order_and_empty_ones_are_nothing() {
    run(async {
        let (_listener, client, server) = pair().await;
        client.writable().await.unwrap();
        let slices = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"c")];
        assert_eq!(client.try_write(&slices).unwrap(), 3);
        assert_eq!(read_exactly(&server, 3).await, b"abc");
        client.writable().await.unwrap();
        // A write of nothing only asks whether anybody is there; the peer reads nothing of it.
        assert_eq!(client.try_write(&[]).unwrap(), 0);
        assert_eq!(client.try_write(&[IoSlice::new(b"")]).unwrap(), 0);
        assert!(timeout(SOON, read(&server, 1)).await.is_err());
    });
}

#[test]
fn who_does_not_read_stops_the_writer_and_starts_it_again() {
    run(async {
        let (_listener, client, server) = pair().await;
        let block = pattern(32 * 1024);
        let mut taken = 0;
        let stopped = loop {
            match client.try_write(&[IoSlice::new(&block)]) {
                Ok(written) => taken += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if timeout(SOON, client.writable()).await.is_err() {
                        break true;
                    }
                }
                Err(error) => panic!("{error}"),
            }
            if taken > 16 * 1024 * 1024 {
                break false;
            }
        };
        assert!(stopped, "{taken} bytes were taken for a peer that does not read");
        assert!(client.unsent() > Some(0));
        read_exactly(&server, taken).await;
        timeout(Duration::from_secs(5), client.writable())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(client.unsent(), Some(0));
        write_all(&client, b"more").await.unwrap();
        assert_eq!(read_exactly(&server, 4).await, b"more");
    });
}

#[test]
fn what_was_written_before_the_end_still_arrives() {
    run(async {
        let (_listener, client, server) = pair().await;
        let block = pattern(64 * 1024);
        let mut taken = 0;
        // More than the pipe holds: a write is still under way when its end closes.
        while timeout(SOON, client.writable()).await.is_ok() {
            taken += client.try_write(&[IoSlice::new(&block)]).unwrap_or(0);
        }
        assert!(client.unsent() > Some(0));
        drop(client);
        read_exactly(&server, taken).await;
        assert_eq!(read(&server, 16).await.unwrap(), b"");
    });
}

#[test]
fn what_the_peer_has_taken_is_not_unsent_however_busy_who_asks_is() {
    run(async {
        let (_listener, client, server) = pair().await;
        let block = pattern(64 * 1024);
        for _ in 0..8 {
            write_all(&client, &block).await.unwrap();
            read_exactly(&server, block.len()).await;
            client.writable().await.unwrap();
            let mut budget = Vec::new();
            std::future::poll_fn(|context| {
                while let Poll::Ready(used) = tokio::task::coop::poll_proceed(context) {
                    used.made_progress();
                    budget.push(client.unsent());
                    if budget.len() == 1000 {
                        break;
                    }
                }
                budget.push(client.unsent());
                Poll::Ready(())
            })
            .await;
            assert!(budget.iter().all(|unsent| *unsent == Some(0)), "{budget:?}");
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn writes_are_bytes_and_no_messages() {
    run(async {
        let (_listener, client, server) = pair().await;
        write_all(&client, b"abcdefghij").await.unwrap();
        write_all(&client, b"klm").await.unwrap();
        client.writable().await.unwrap();
        assert_eq!(read(&server, 4).await.unwrap(), b"abcd");
        // What is left of the one and the other together, if the system cares to give both.
        assert_eq!(read_exactly(&server, 9).await, b"efghijklm");
    });
}

#[test]
fn an_end_is_an_end_of_file_for_the_other_and_fails_its_writes() {
    run(async {
        let (_listener, client, server) = pair().await;
        drop(client);
        assert_eq!(read(&server, 16).await.unwrap(), b"");
        assert!(server.try_write(&[]).is_err());
        let failed = timeout(Duration::from_secs(5), async {
            loop {
                write_all(&server, b"x").await?;
                server.writable().await?;
            }
        });
        let failed: io::Result<()> = failed.await.unwrap();
        assert!(failed.is_err());
    });
}

#[test]
fn a_write_that_failed_leaves_nothing_to_wait_for() {
    run(async {
        let (listener, client, server) = pair().await;
        write_all(&client, b"last words").await.unwrap();
        client.writable().await.unwrap();
        drop(server);
        loop {
            match client.try_write(&[IoSlice::new(b"x")]) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => break,
                _ => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
        assert_eq!(client.unsent(), Some(0));
        timeout(SOON, client.writable()).await.expect("waits for ever").unwrap();
        timeout(SOON, client.drained()).await.expect("waits for ever").unwrap();
        drop((client, listener));
    });
}

#[test]
fn a_peer_that_is_gone_is_noticed_before_what_it_left_is_read() {
    run(async {
        let (_listener, client, server) = pair().await;
        write_all(&client, b"last words").await.unwrap();
        client.writable().await.unwrap();
        assert_eq!(server.try_write(&[]).unwrap(), 0);
        drop(client);
        let noticed = timeout(Duration::from_secs(5), async {
            while server.try_write(&[]).is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        noticed.await.unwrap();
        assert_eq!(read_exactly(&server, 10).await, b"last words");
    });
}

#[test]
fn shutting_down_ends_other_holders_waits() {
    run(async {
        let (_listener, client, _server) = pair().await;
        let client = Arc::new(client);
        let waiting = Arc::clone(&client);
        let wait = tokio::spawn(async move { read(&waiting, 16).await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        client.shut_down();
        assert_eq!(wait.await.unwrap().unwrap(), b"");
        assert_eq!(client.try_read(&mut [0; 4]).unwrap(), 0);
        let error = client.try_write(&[IoSlice::new(b"x")]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        client.writable().await.unwrap();
    });
}

#[test]
fn waits_that_are_given_up_lose_nothing() {
    run(async {
        let address = address();
        let listener = bind(&address).await;
        for _ in 0..20 {
            assert!(timeout(Duration::from_millis(1), listener.accept()).await.is_err());
        }
        let client = dial(&address);
        let (server, _) = listener.accept().await.unwrap();
        for number in 0..50_u8 {
            assert!(timeout(Duration::from_millis(1), read(&server, 16)).await.is_err());
            write_all(&client, &[number]).await.unwrap();
            assert_eq!(read_exactly(&server, 1).await, [number]);
        }
    });
}

#[test]
fn any_thread_may_write() {
    run(async {
        let (_listener, client, server) = pair().await;
        let client = Arc::new(client);
        let writers: Vec<_> = (0..4_u8)
            .map(|number| {
                let client = Arc::clone(&client);
                std::thread::spawn(move || {
                    for _ in 0..100 {
                        while let Err(error) = client.try_write(&[IoSlice::new(&[number; 10])]) {
                            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                            std::thread::sleep(Duration::from_millis(1));
                        }
                    }
                })
            })
            .collect();
        let got = read_exactly(&server, 4000).await;
        for piece in got.chunks(10) {
            assert!(piece.iter().all(|byte| *byte == piece[0]), "a write was cut into");
        }
        for writer in writers {
            writer.join().unwrap();
        }
    });
}
