//! A broker in a directory of its own, clients that block with a deadline, and frames to send.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use daemoneye_eventbus_core::broker::{Broker, BrokerConfig, BrokerStatistics, Undelivered};
use daemoneye_eventbus_core::event::{
    CollectionEvent, CorrelationMetadata, EventSubscription, Map, ProcessEvent, SourceCaps, Timestamp, TriggerRequest,
};
use daemoneye_eventbus_core::queue::Wake;
use daemoneye_eventbus_core::transport::Address;
use daemoneye_eventbus_core::wire::text::{Code, Dropped, ErrText, FromBroker, Info, OkText};
use daemoneye_eventbus_core::wire::{self, Dialect, Draft, Payload};
use uuid::Uuid;

pub(crate) const NEW: &str = "events.process.new";
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a test on a thread of its own and fails if it hangs.
pub(crate) fn guarded(test: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    match wait.recv_timeout(Duration::from_secs(60)) {
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("the test hangs"),
    }
}

/// For who does not care to be woken.
pub(crate) struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

pub(crate) struct Bus {
    pub(crate) broker: Broker,
    pub(crate) address: Address,
    directory: Option<tempfile::TempDir>,
}

pub(crate) fn start(broker: &Broker) -> daemoneye_eventbus_core::Result<()> {
    let (done, wait) = mpsc::channel();
    broker.start(move |result| done.send(result).unwrap());
    wait.recv_timeout(PATIENCE).expect("start calls back")
}

pub(crate) fn shut_down(broker: &Broker, timeout: Duration) -> Undelivered {
    let (done, wait) = mpsc::channel();
    broker.shutdown(timeout, move |undelivered| done.send(undelivered).unwrap());
    wait.recv_timeout(timeout + PATIENCE).expect("shutdown calls back")
}

impl Bus {
    pub(crate) fn new() -> Self {
        Self::with(BrokerConfig::default())
    }

    pub(crate) fn with(config: BrokerConfig) -> Self {
        let directory = tempfile::Builder::new().prefix("bus").tempdir_in("/tmp").unwrap();
        let address = Address::from_path(&directory.path().join("b.sock")).unwrap();
        let broker = Broker::new(address.clone(), config).unwrap();
        start(&broker).unwrap();
        Self {
            broker,
            address,
            directory: Some(directory),
        }
    }

    pub(crate) fn dial(&self) -> Client {
        let stream = UnixStream::connect(self.address.path()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(crate) fn connect(&self) -> Client {
        self.connect_with("").0
    }

    /// `options`: more fields of CONNECT, with a leading comma.
    pub(crate) fn connect_with(&self, options: &str) -> (Client, Info) {
        let mut client = self.dial();
        client.text(&format!(
            r#"CONNECT {{"protocol":1,"client":"test","dialect":"bincode"{options}}}"#
        ));
        match client.next() {
            Frame::Text(FromBroker::Info(info)) => (client, *info),
            other => panic!("expected INFO, got {other:?}"),
        }
    }

    /// The statistics once `settled` holds for them.
    pub(crate) fn settled(&self, settled: impl Fn(&BrokerStatistics) -> bool) -> BrokerStatistics {
        let start = Instant::now();
        loop {
            let statistics = self.broker.statistics();
            if settled(&statistics) {
                return statistics;
            }
            assert!(start.elapsed() < PATIENCE, "never settled: {statistics:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the broker has counted a refusal of this name.
    pub(crate) fn refused(&self, name: &str) -> u64 {
        self.settled(|statistics| statistics.refused[name] > 0).refused[name]
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.broker.abandon();
        // The directory may go before the socket; nobody else uses either.
        drop(self.directory.take());
    }
}

#[derive(Debug)]
pub(crate) enum Frame {
    Text(FromBroker),
    /// Whole, prefix included.
    Message(Vec<u8>),
    End,
}

pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.send(&text_frame(text));
    }

    /// Subscribes and waits for the answer.
    pub(crate) fn subscribe(&mut self, id: u64, patterns: &[&str]) {
        self.subscribe_with(id, patterns, "");
    }

    pub(crate) fn subscribe_with(&mut self, id: u64, patterns: &[&str], options: &str) {
        self.text(&format!(r#"SUB {{"id":{id},"topic_patterns":{patterns:?}{options}}}"#));
        assert_eq!(self.ok().id, Some(id));
    }

    /// Waits until everything sent before has been routed; gives the messages that came meanwhile.
    pub(crate) fn flush(&mut self) -> Vec<Vec<u8>> {
        self.text("PING");
        let mut messages = Vec::new();
        loop {
            match self.next() {
                Frame::Text(FromBroker::Pong) => return messages,
                Frame::Message(frame) => messages.push(frame),
                other => panic!("expected PONG, got {other:?}"),
            }
        }
    }

    /// Like `flush`, whatever comes meanwhile.
    pub(crate) fn flush_all(&mut self) {
        self.text("PING");
        while !matches!(self.next(), Frame::Text(FromBroker::Pong)) {}
    }

    pub(crate) fn next(&mut self) -> Frame {
        loop {
            if let Some((prefix, rest)) = self.buffer.split_first_chunk::<4>() {
                let len = u32::from_le_bytes(*prefix) as usize;
                if rest.len() >= len {
                    let frame: Vec<u8> = self.buffer.drain(..4 + len).collect();
                    return if frame[4] == 0x10 {
                        Frame::Message(frame)
                    } else {
                        Frame::Text(FromBroker::parse(&frame[4..]).unwrap())
                    };
                }
            }
            if self.read(65536) == 0 {
                return Frame::End;
            }
        }
    }

    /// Takes so many bytes at most off the socket, for `next`.
    pub(crate) fn read(&mut self, most: usize) -> usize {
        let mut chunk = vec![0; most];
        match self.stream.read(&mut chunk) {
            Ok(len) => {
                self.buffer.extend_from_slice(&chunk[..len]);
                len
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("nothing came: {error}"),
        }
    }

    pub(crate) fn message(&mut self) -> Vec<u8> {
        match self.next() {
            Frame::Message(frame) => frame,
            other => panic!("expected a message, got {other:?}"),
        }
    }

    pub(crate) fn ok(&mut self) -> OkText {
        match self.next() {
            Frame::Text(FromBroker::Ok(ok)) => ok,
            other => panic!("expected OK, got {other:?}"),
        }
    }

    pub(crate) fn err(&mut self) -> ErrText {
        match self.next() {
            Frame::Text(FromBroker::Err(err)) => err,
            other => panic!("expected ERR, got {other:?}"),
        }
    }

    pub(crate) fn dropped(&mut self) -> Dropped {
        match self.next() {
            Frame::Text(FromBroker::Dropped(dropped)) => dropped,
            other => panic!("expected DROPPED, got {other:?}"),
        }
    }

    /// An `ERR` of this code, then the end.
    pub(crate) fn cut(&mut self, code: Code) {
        assert_eq!(self.err().code, code);
        self.ended();
    }

    pub(crate) fn ended(&mut self) {
        match self.next() {
            Frame::End => {}
            other => panic!("expected the end, got {other:?}"),
        }
    }

    /// Reads until `messages` have been delivered or lost: what was delivered, and how many were lost, by reason.
    pub(crate) fn drain(&mut self, messages: u64) -> (Vec<u64>, std::collections::BTreeMap<String, u64>) {
        let (mut got, mut lost) = (Vec::new(), std::collections::BTreeMap::new());
        while got.len() as u64 + lost.values().sum::<u64>() < messages {
            match self.next() {
                Frame::Message(frame) => got.push(sequence(&frame)),
                Frame::Text(FromBroker::Dropped(dropped)) => {
                    *lost.entry(dropped.reason).or_default() += dropped.subscriptions.values().sum::<u64>();
                }
                other => panic!("expected messages, got {other:?}"),
            }
        }
        (got, lost)
    }
}

pub(crate) fn text_frame(text: &str) -> Vec<u8> {
    let mut frame = u32::try_from(text.len()).unwrap().to_le_bytes().to_vec();
    frame.extend_from_slice(text.as_bytes());
    frame
}

pub(crate) fn sequence(frame: &[u8]) -> u64 {
    wire::read(Dialect::Bincode, &frame[4..]).unwrap().0.sequence
}

pub(crate) fn with_draft<R>(
    topic: &str,
    sequence: u64,
    payload: Payload<'_>,
    work: impl FnOnce(&mut Draft<'_>) -> R,
) -> R {
    let now = Timestamp::now();
    work(&mut Draft {
        id: Uuid::from_u128(u128::from(sequence)),
        topic,
        correlation_metadata: CorrelationMetadata {
            correlation_id: "c-1",
            parent_correlation_id: None,
            root_correlation_id: "c-1",
            sequence_number: 0,
            workflow_stage: None,
            correlation_tags: Map::default(),
            created_at: now,
        },
        payload,
        sequence,
        timestamp: now,
    })
}

pub(crate) fn process<'a>(pid: u32, command_line: Option<&'a str>) -> CollectionEvent<'a> {
    CollectionEvent::Process(ProcessEvent {
        pid,
        name: "sh",
        command_line,
        executable_path: None,
        ppid: None,
        start_time: None,
        metadata: Map::default(),
    })
}

/// Of a bus of this process.
pub(crate) fn asked(patterns: &[&str]) -> EventSubscription {
    EventSubscription {
        subscriber_id: "s".into(),
        capabilities: SourceCaps::default(),
        event_filter: None,
        correlation_filter: None,
        topic_patterns: Some(patterns.iter().map(|pattern| (*pattern).into()).collect()),
        enable_wildcards: true,
        include_control: false,
    }
}

fn write(topic: &str, sequence: u64, payload: Payload<'_>) -> Vec<u8> {
    with_draft(topic, sequence, payload, |draft| {
        let mut frame = Vec::new();
        wire::write(Dialect::Bincode, draft, 2 << 20, 8, &mut frame).unwrap();
        frame
    })
}

/// A whole frame of a process event whose pid is its sequence.
pub(crate) fn frame(topic: &str, sequence: u64) -> Vec<u8> {
    let pid = u32::try_from(sequence).unwrap();
    write(topic, sequence, Payload::Event(&process(pid, None)))
}

pub(crate) fn frames(topic: &str, sequences: std::ops::Range<u64>) -> Vec<u8> {
    sequences.flat_map(|sequence| frame(topic, sequence)).collect()
}

/// A frame whose body has exactly `size` bytes.
pub(crate) fn frame_of(topic: &str, sequence: u64, size: usize) -> Vec<u8> {
    let mut filler = size.saturating_sub(90);
    loop {
        let line = "x".repeat(filler);
        let frame = write(topic, sequence, Payload::Event(&process(1, Some(&line))));
        match (frame.len() - 4).cmp(&size) {
            std::cmp::Ordering::Equal => return frame,
            std::cmp::Ordering::Less => filler += size - (frame.len() - 4),
            std::cmp::Ordering::Greater => filler -= frame.len() - 4 - size,
        }
    }
}

pub(crate) fn control(topic: &str, sequence: u64) -> Vec<u8> {
    write(topic, sequence, Payload::Control(b"payload"))
}

pub(crate) fn trigger(sequence: u64, priority: u8) -> Vec<u8> {
    let request = CollectionEvent::TriggerRequest(TriggerRequest {
        request_id: "r",
        collector_type: "process",
        priority,
        payload: b"",
        metadata: Map::default(),
    });
    write("control.trigger.request", sequence, Payload::Event(&request))
}
