//! The broker's end of a link, which says what a test tells it to.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use daemoneye_eventbus_core::client::{ClientConfig, Inbox, Link, Reader, State, Ticket};
use daemoneye_eventbus_core::queue::Wake;
use daemoneye_eventbus_core::transport::{ListenOptions, Listener, Stream};
use daemoneye_eventbus_core::wire::frame::{self, PREFIX};
use daemoneye_eventbus_core::wire::text::{FromBroker, FromClient, Info, OkText, PROTOCOL};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::{Place, TIMEOUT, TestWaker, inbox, wait_done};

/// A broker's end that does what a test says: it listens, writes what it is told to, and reads.
pub(crate) struct ScriptedBroker {
    runtime: Runtime,
    pub(crate) listener: Option<Listener>,
    pub(crate) place: Place,
}

impl ScriptedBroker {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut end = Self {
            listener: None,
            runtime,
            place: Place::new(),
        };
        end.listen();
        end
    }

    pub(crate) fn listen(&mut self) {
        let options = ListenOptions::default();
        let prepared = Listener::prepare(&self.place.address, &options).unwrap();
        let bound = self.runtime.block_on(prepared.listen());
        self.listener = Some(bound.unwrap());
    }

    pub(crate) fn turn(&self) {
        self.runtime
            .block_on(async { tokio::time::sleep(Duration::from_millis(100)).await });
    }

    pub(crate) fn accept(&self) -> Stream {
        let accept = self.listener.as_ref().unwrap().accept();
        let accepted = self.runtime.block_on(async { timeout(TIMEOUT, accept).await });
        accepted.expect("nobody dials").unwrap().0
    }

    pub(crate) fn send(&self, stream: &Stream, mut bytes: &[u8]) {
        let send = async {
            while !bytes.is_empty() {
                match stream.try_write(&[IoSlice::new(bytes)]) {
                    Ok(written) => bytes = &bytes[written..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await.unwrap(),
                    Err(error) => panic!("{error}"),
                }
            }
            // Written is not sent yet where somebody has to turn the event loop.
            stream.writable().await.unwrap();
        };
        self.runtime
            .block_on(async { timeout(TIMEOUT, send).await })
            .expect("nobody reads");
    }

    pub(crate) fn read(&self, stream: &Stream, wanted: usize) -> Vec<u8> {
        let mut got = Vec::new();
        let read = async {
            let readable = stream.readable().unwrap();
            while got.len() < wanted {
                let mut chunk = [0; 4096];
                match readable.read_with(|| stream.try_read(&mut chunk)).await.unwrap() {
                    0 => break,
                    len => got.extend_from_slice(&chunk[..len]),
                }
            }
        };
        self.runtime
            .block_on(async { timeout(TIMEOUT, read).await })
            .expect("nothing is sent");
        got
    }
}

/// A link that dials again at once.
pub(crate) fn open(broker: &ScriptedBroker) -> (Link, Arc<TestWaker>) {
    let waker = Arc::new(TestWaker::default());
    let host: Arc<dyn Wake> = Arc::<TestWaker>::clone(&waker);
    let config = ClientConfig {
        reconnect_max: Duration::from_millis(100),
        ..ClientConfig::default()
    };
    let link = Link::open(broker.place.address.clone(), config, Reader::Link, host).unwrap();
    (link, waker)
}

/// What is told to whoever has said CONNECT, with `ping_interval` in it.
pub(crate) fn broker_info(ping_interval: f64) -> Info {
    Info {
        protocol: PROTOCOL,
        version: "0".to_owned(),
        client_id: uuid::Uuid::nil(),
        dialect: "bincode".to_owned(),
        max_frame: u64::MAX,
        queue_messages: u64::MAX,
        queue_bytes: u64::MAX,
        max_patterns_per_client: u64::MAX,
        max_filter_terms: u64::MAX,
        max_topic_depth: u64::MAX,
        ping_interval,
        nonce: None,
        auth: "none".to_owned(),
        taken: false,
    }
}

/// The frame of it.
pub(crate) fn info(ping_interval: f64) -> Vec<u8> {
    FromBroker::Info(Box::new(broker_info(ping_interval))).frame()
}

/// Answers CONNECT.
pub(crate) fn greet(broker: &ScriptedBroker, ping_interval: f64) -> Stream {
    let client = broker.accept();
    assert!(broker.read(&client, 1)[4..].starts_with(b"CONNECT"));
    broker.send(&client, &info(ping_interval));
    client
}

/// The broker's answer to what has this number.
pub(crate) fn ok_frame(id: u64) -> Vec<u8> {
    let ok = OkText {
        id: Some(id),
        ..OkText::default()
    };
    FromBroker::Ok(ok).frame()
}

/// The next text of the client; what came behind it stays in `read`.
pub(crate) fn next_text(broker: &ScriptedBroker, client: &Stream, read: &mut Vec<u8>) -> FromClient {
    loop {
        if let Some((_, body)) = frame::next(read, 1 << 20).unwrap() {
            let (said, len) = (FromClient::parse(body).unwrap(), PREFIX + body.len());
            read.drain(..len);
            return said;
        }
        let more = broker.read(client, 1);
        assert!(!more.is_empty(), "the client hung up");
        read.extend(more);
    }
}

/// A subscription to all events that the broker has confirmed, and its number there.
pub(crate) fn subscribed(
    broker: &ScriptedBroker,
    link: &Link,
    waker: &Arc<TestWaker>,
    client: &Stream,
) -> (Arc<Inbox>, u64) {
    let inbox = inbox(waker, &["events.#"], 10, false);
    let ticket = Ticket::new(Arc::<TestWaker>::clone(waker) as _);
    let id = link.subscribe(Arc::clone(&inbox), ticket.clone()).unwrap();
    broker.send(client, &ok_frame(id));
    wait_done(waker, &ticket);
    (inbox, id)
}

/// A subscribed link whose connection has just broken; its inbox, its number there.
pub(crate) fn broken(broker: &ScriptedBroker) -> (Link, Arc<TestWaker>, Arc<Inbox>, u64) {
    let (link, waker) = open(broker);
    let client = greet(broker, 30.0);
    let inbox = inbox(&waker, &["events.#"], 10, false);
    let ticket = Ticket::new(Arc::<TestWaker>::clone(&waker) as _);
    let id = link.subscribe(Arc::clone(&inbox), ticket.clone()).unwrap();
    assert!(matches!(
        next_text(broker, &client, &mut Vec::new()),
        FromClient::Sub(_)
    ));
    broker.send(&client, &ok_frame(id));
    wait_done(&waker, &ticket);
    drop(client);
    broker.turn();
    waker.until("lost", || link.state() == State::Reconnecting);
    (link, waker, inbox, id)
}
