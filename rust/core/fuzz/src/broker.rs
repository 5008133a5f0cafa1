//! A real broker in this process with a witness on it: whatever the bytes of a peer do, the witness sees exactly what was accepted.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use daemoneye_eventbus_core::broker::{Broker, BrokerConfig, BrokerStatistics};
use daemoneye_eventbus_core::transport::Address;
use daemoneye_eventbus_core::wire::frame::{self, Kind, PREFIX};

const PATIENCE: Duration = Duration::from_secs(5);
pub const MAX_FRAME: usize = 4096;

pub struct Stage {
    pub broker: Broker,
    path: PathBuf,
    witness: Peer,
    _directory: tempfile::TempDir,
}

pub struct Peer {
    stream: UnixStream,
    buffer: Vec<u8>,
}

pub fn framed(body: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(body.len()).expect("small").to_le_bytes().to_vec();
    out.extend_from_slice(body);
    out
}

impl Peer {
    fn dial(path: &PathBuf) -> Self {
        let stream = UnixStream::connect(path).expect("the broker listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    fn say(&mut self, text: &str) {
        self.stream
            .write_all(&framed(text.as_bytes()))
            .expect("the witness may write");
    }

    /// The next body, `None` at the end.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let found = match frame::next(&self.buffer, frame::DEFAULT_MAX_FRAME) {
                Ok(found) => found.map(|(_, body)| body.to_vec()),
                Err(error) => panic!("the broker sends nonsense: {error}"),
            };
            if let Some(body) = found {
                self.buffer.drain(..PREFIX + body.len());
                return Some(body);
            }
            let mut chunk = [0; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(len) => self.buffer.extend_from_slice(&chunk[..len]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                // The fuzzer's own timer.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("the broker hangs: {error}"),
            }
        }
    }

    /// Everything up to the answer to a PING, without it.
    fn barrier(&mut self) -> Vec<Vec<u8>> {
        self.say("PING");
        let mut came = Vec::new();
        loop {
            match self.next() {
                Some(body) if body == b"PONG" => return came,
                Some(body) => came.push(body),
                None => panic!("the witness was cut"),
            }
        }
    }
}

impl Stage {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("fz")
            .tempdir_in("/tmp")
            .expect("a directory");
        let path = directory.path().join("b.sock");
        let config = BrokerConfig {
            max_frame: MAX_FRAME,
            original_peers: false,
            ..BrokerConfig::default()
        };
        let broker = Broker::new(Address::from_path(&path).expect("a path"), config).expect("a broker");
        let (done, wait) = mpsc::channel();
        broker.start(move |result| done.send(result).expect("we wait"));
        wait.recv_timeout(PATIENCE).expect("an answer").expect("it starts");
        let mut witness = Peer::dial(&path);
        witness.say(r#"CONNECT {"protocol":1,"client":"witness","dialect":"bincode"}"#);
        assert!(witness.next().expect("INFO").starts_with(b"INFO"));
        for (id, pattern) in ["events.#", "control.#", "health.#"].into_iter().enumerate() {
            witness.say(&format!(
                r#"SUB {{"id":{},"topic_patterns":["{pattern}"],"include_control":true}}"#,
                id + 1
            ));
            assert!(witness.next().expect("OK").starts_with(b"OK"));
        }
        Self {
            broker,
            path,
            witness,
            _directory: directory,
        }
    }

    /// Plays bytes as one connection, in the given pieces, to its end. Gives what the witness was sent because of it, and what the
    /// peer was answered.
    pub fn play<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let mut peer = Peer::dial(&self.path);
        for piece in pieces {
            // Cut meanwhile: what was sent before counts.
            if peer.stream.write_all(piece).is_err() {
                break;
            }
        }
        let _ = peer.stream.shutdown(Shutdown::Write);
        let mut answers = Vec::new();
        while let Some(body) = peer.next() {
            answers.push(body);
        }
        drop(peer);
        self.settle();
        (self.witness.barrier(), answers)
    }

    pub fn statistics(&self) -> BrokerStatistics {
        self.broker.statistics()
    }

    /// Until only the witness is connected.
    fn settle(&self) {
        let start = Instant::now();
        while self.broker.statistics().connections != 1 {
            assert!(
                start.elapsed() < PATIENCE,
                "a connection is left: {:?}",
                self.broker.statistics()
            );
            std::thread::yield_now();
        }
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

pub fn is_message(body: &[u8]) -> bool {
    matches!(frame::next(&framed(body), MAX_FRAME * 16), Ok(Some((Kind::Message, _))))
}
