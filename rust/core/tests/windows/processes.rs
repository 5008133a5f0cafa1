//! Two processes: this test binary runs itself with a role.
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use daemoneye_eventbus_core::transport::Address;
use tokio::time::timeout;

use crate::support::{address, bind, dial, read, read_exactly, run, write_all};

const FRAMES: usize = 1000;
const FRAME: usize = 230;

struct Role(Child);

impl Role {
    fn start(role: &str, address: &Address) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "--exact",
                "processes::role",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env("PIPE_ROLE", role)
            .env("PIPE_NAME", address.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

fn frame(number: usize) -> Vec<u8> {
    let mut frame = vec![(number % 251) as u8; FRAME];
    frame[..8].copy_from_slice(&(number as u64).to_le_bytes());
    frame
}

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn role() {
    let address = Address::from_path(&PathBuf::from(std::env::var_os("PIPE_NAME").unwrap())).unwrap();
    run(async {
        let stream = dial(&address);
        match std::env::var("PIPE_ROLE").unwrap().as_str() {
            "echo" => loop {
                let got = read(&stream, 64 * 1024).await.unwrap();
                if got.is_empty() {
                    return;
                }
                write_all(&stream, &got).await.unwrap();
            },
            "hold" => {
                write_all(&stream, b"here").await.unwrap();
                // Until it is killed.
                std::io::stdin().read_exact(&mut [0]).unwrap();
            }
            other => panic!("{other}"),
        }
    });
}

#[test]
fn a_thousand_frames_come_back_from_another_process() {
    run(async {
        let address = address();
        let listener = bind(&address).await;
        let role = Role::start("echo", &address);
        let (stream, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.pid, Some(role.0.id()));
        let send = async {
            for number in 0..FRAMES {
                write_all(&stream, &frame(number)).await.unwrap();
            }
        };
        let receive = async {
            for number in 0..FRAMES {
                assert_eq!(read_exactly(&stream, FRAME).await, frame(number));
            }
        };
        tokio::join!(send, receive);
    });
}

#[test]
fn a_killed_peer_is_noticed_at_once() {
    run(async {
        let address = address();
        let listener = bind(&address).await;
        let mut role = Role::start("hold", &address);
        let (stream, _) = listener.accept().await.unwrap();
        assert_eq!(read_exactly(&stream, 4).await, b"here");
        role.0.kill().unwrap();
        let end = timeout(Duration::from_secs(5), read(&stream, 16))
            .await
            .expect("nothing was noticed");
        assert!(end.is_err() || end.unwrap().is_empty());
        // Its place is free for the next.
        let _next = dial(&address);
        listener.accept().await.unwrap();
    });
}
