//! Frames and messages under random values, mutations and splits.
//!
//! The hot path writes and walks the layout by its own code: here it is held to the generic codec, to the byte and to the
//! verdict.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests stand outside of #[test]"
)]

use daemoneye_eventbus_core::error::Error;
use daemoneye_eventbus_core::event::{
    CollectionEvent, CorrelationMetadata, EventKind, FilesystemEvent, Map, NetworkEvent, PerformanceEvent,
    ProcessEvent, Timestamp, TriggerRequest,
};
use daemoneye_eventbus_core::topic;
use daemoneye_eventbus_core::wire::frame::{self, FrameError, Kind, MAX_TEXT, PREFIX};
use daemoneye_eventbus_core::wire::{self, Dialect, Draft, Message, MessageType, Payload, Refusal};
use proptest::prelude::*;
use uuid::Uuid;

const DIALECT: Dialect = Dialect::Bincode;
const DEPTH: usize = topic::DEFAULT_MAX_DEPTH;
const MAX: usize = frame::DEFAULT_MAX_FRAME;

/// What a message is made of, owned.
#[derive(Debug, Clone)]
struct Parts {
    texts: Vec<String>,
    options: Vec<bool>,
    numbers: Vec<u64>,
    bytes: Vec<u8>,
    entries: Vec<(String, String)>,
    value: f64,
    kind: usize,
}

/// Lengths and numbers around every width that an integer can have.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..260_u64,
        65_530..65_540_u64,
        u64::from(u32::MAX) - 2..u64::from(u32::MAX) + 3,
        any::<u64>()
    ]
}

fn some_text() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "\\PC{0,20}",
        2 => "[a-z]{0,40}",
        1 => (240..260_usize).prop_map(|length| "x".repeat(length)),
        1 => (65_530..65_540_usize).prop_map(|length| "y".repeat(length)),
    ]
}

fn parts() -> impl Strategy<Value = Parts> {
    (
        prop::collection::vec(some_text(), 8),
        prop::collection::vec(any::<bool>(), 8),
        prop::collection::vec(number(), 8),
        prop::collection::vec(any::<u8>(), 0..300),
        prop::collection::vec((some_text(), some_text()), 0..4),
        any::<f64>().prop_filter("comparable", |value| !value.is_nan()),
        0..6_usize,
    )
        .prop_map(|(texts, options, numbers, bytes, entries, value, kind)| Parts {
            texts,
            options,
            numbers,
            bytes,
            entries,
            value,
            kind,
        })
}

impl Parts {
    fn text(&self, at: usize) -> &str {
        &self.texts[at]
    }

    fn optional(&self, at: usize) -> Option<&str> {
        self.options[at].then(|| self.text(at))
    }

    fn time(&self, at: usize) -> Timestamp {
        Timestamp {
            secs: self.numbers[at] >> 1,
            nanos: u32::try_from(self.numbers[at] % 1_000_000_000).unwrap(),
        }
    }

    fn small(&self, at: usize) -> u32 {
        u32::try_from(self.numbers[at] & u64::from(u32::MAX)).unwrap()
    }

    fn map(&self) -> Map<'_> {
        Map(self.entries.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect())
    }

    /// `None`: raw Control bytes.
    fn event(&self) -> Option<CollectionEvent<'_>> {
        let metadata = self.map();
        Some(match self.kind {
            0 => CollectionEvent::Process(ProcessEvent {
                pid: self.small(0),
                name: self.text(0),
                command_line: self.optional(1),
                executable_path: self.optional(2),
                ppid: self.options[3].then(|| self.small(1)),
                start_time: self.options[4].then(|| self.time(2)),
                metadata,
            }),
            1 => CollectionEvent::Network(NetworkEvent {
                connection_id: self.text(0),
                source_address: self.text(1),
                destination_address: self.text(2),
                protocol: self.text(3),
                metadata,
            }),
            2 => CollectionEvent::Filesystem(FilesystemEvent {
                path: self.text(0),
                event_type: self.text(1),
                size: self.options[2].then(|| self.numbers[0]),
                metadata,
            }),
            3 => CollectionEvent::Performance(PerformanceEvent {
                metric_name: self.text(0),
                value: self.value,
                unit: self.text(1),
                metadata,
            }),
            4 => CollectionEvent::TriggerRequest(TriggerRequest {
                request_id: self.text(0),
                collector_type: self.text(1),
                priority: u8::try_from(self.numbers[0] & 0xff).unwrap(),
                payload: &self.bytes,
                metadata,
            }),
            _ => return None,
        })
    }

    fn message_type(&self) -> MessageType {
        if self.kind < 4 {
            MessageType::Event
        } else {
            MessageType::Control
        }
    }

    fn topic(&self) -> &'static str {
        match self.kind {
            4 => "control.trigger.request",
            5 => "control.collector.config",
            _ => "events.process.new",
        }
    }

    fn metadata(&self) -> CorrelationMetadata<'_> {
        CorrelationMetadata {
            correlation_id: self.text(4),
            parent_correlation_id: self.optional(5),
            root_correlation_id: self.text(6),
            sequence_number: self.numbers[3],
            workflow_stage: self.optional(7),
            correlation_tags: self.map(),
            created_at: self.time(4),
        }
    }

    fn draft<'a>(&'a self, event: Option<&'a CollectionEvent<'a>>) -> Draft<'a> {
        Draft {
            id: Uuid::from_u64_pair(self.numbers[5], self.numbers[6]),
            topic: self.topic(),
            correlation_metadata: self.metadata(),
            payload: event.map_or(Payload::Control(&self.bytes), Payload::Event),
            sequence: self.numbers[7],
            timestamp: self.time(6),
        }
    }
}

/// `check` and `read` of one body agree; true if both take it.
fn agree(body: &[u8]) -> bool {
    let whole = wire::read(DIALECT, body);
    match (wire::check(DIALECT, body, DEPTH), &whole) {
        (Ok(summary), Ok((message, event))) => {
            assert_eq!(
                (summary.topic, summary.message_type, summary.sequence, summary.event),
                (
                    message.topic,
                    message.message_type,
                    message.sequence,
                    event.as_ref().map(CollectionEvent::kind)
                )
            );
            true
        }
        (Err(Refusal::Malformed(found)), Err(error)) => {
            assert_eq!(&found, error);
            assert!(found.offset <= body.len());
            false
        }
        (Err(Refusal::Topic { sequence, .. } | Refusal::Type { sequence, .. }), Ok((message, _))) => {
            assert_eq!(sequence, message.sequence);
            false
        }
        (check, read) => panic!("check says {check:?}, read says {read:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_written_is_read_unchanged(parts in parts()) {
        let event = parts.event();
        let draft = parts.draft(event.as_ref());
        let mut out = b"before".to_vec();
        let size = wire::write(DIALECT, &draft, MAX, DEPTH, &mut out).unwrap();
        prop_assert_eq!(out.len(), 6 + size);
        prop_assert_eq!(wire::encoded_len(DIALECT, &draft, MAX, DEPTH).unwrap(), size);
        let (kind, body) = frame::next(&out[6..], MAX).unwrap().unwrap();
        prop_assert_eq!((kind, body.len()), (Kind::Message, size - PREFIX));
        prop_assert!(agree(body));

        let (message, read) = wire::read(DIALECT, body).unwrap();
        prop_assert_eq!(&read, &event);
        prop_assert_eq!(&message.correlation_metadata, &draft.correlation_metadata);
        prop_assert_eq!((message.id, message.sequence, message.timestamp), (draft.id, draft.sequence, draft.timestamp));
        prop_assert_eq!((message.message_type, message.topic), (parts.message_type(), draft.topic));

        // The same bytes as the generic encoder.
        let mut payload = Vec::new();
        match &event {
            Some(event) => DIALECT.encode(event, &mut payload).unwrap(),
            None => payload.clone_from(&parts.bytes),
        }
        prop_assert_eq!(message.payload, payload.as_slice());
        let mut generic = Vec::new();
        DIALECT.encode(&message, &mut generic).unwrap();
        prop_assert!(generic == body);
    }

    #[test]
    fn checking_and_reading_agree_on_mutated_bodies(
        parts in parts(),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..4),
    ) {
        let event = parts.event();
        let mut body = Vec::new();
        wire::write(DIALECT, &parts.draft(event.as_ref()), MAX, DEPTH, &mut body).unwrap();
        body.drain(..PREFIX);
        for (index, byte, how) in mutations {
            let at = index.index(body.len());
            match how {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                2 => drop(body.remove(at)),
                // Integers with a tag, where most go wrong.
                _ => body[at] = 248 + byte % 8,
            }
            if body.is_empty() {
                break;
            }
            agree(&body);
        }
    }

    #[test]
    fn every_strict_prefix_is_malformed(parts in parts(), cut in any::<prop::sample::Index>()) {
        let event = parts.event();
        let mut body = Vec::new();
        wire::write(DIALECT, &parts.draft(event.as_ref()), MAX, DEPTH, &mut body).unwrap();
        let body = &body[PREFIX..];
        prop_assert!(!agree(&body[..cut.index(body.len())]));
        prop_assert!(!agree(&[body, &[0]].concat()));
    }

    #[test]
    fn random_bytes_are_judged_alike(body in prop::collection::vec(any::<u8>(), 0..200)) {
        agree(&body);
    }

    #[test]
    fn a_stream_gives_the_same_frames_however_it_is_split(
        bodies in prop::collection::vec(
            (prop::sample::select(vec![0x10_u8, b'P', b'a', b'0']), prop::collection::vec(any::<u8>(), 0..40)), 1..8),
        cuts in prop::collection::vec(1..20_usize, 1..60),
    ) {
        let bodies: Vec<Vec<u8>> = bodies.into_iter().map(|(first, rest)| [vec![first], rest].concat()).collect();
        let mut stream = Vec::new();
        for body in &bodies {
            stream.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
            stream.extend_from_slice(body);
        }
        let (mut buffer, mut found, mut rest) = (Vec::new(), Vec::new(), stream.as_slice());
        for cut in cuts.into_iter().chain([usize::MAX]) {
            let (piece, behind) = rest.split_at(cut.min(rest.len()));
            rest = behind;
            buffer.extend_from_slice(piece);
            let mut start = 0;
            while let Some((_, body)) = frame::next(&buffer[start..], 64).unwrap() {
                found.push(body.to_vec());
                start += PREFIX + body.len();
            }
            buffer.drain(..start);
        }
        prop_assert!(buffer.is_empty());
        prop_assert_eq!(found, bodies);
    }
}

fn framed(size: usize, first: &[u8]) -> Vec<u8> {
    [&u32::try_from(size).unwrap().to_le_bytes()[..], first].concat()
}

#[test]
fn frames_are_refused_as_soon_as_it_shows() {
    assert_eq!(frame::next(&[], MAX), Ok(None));
    assert_eq!(frame::next(&[0, 0, 0], MAX), Ok(None));
    assert_eq!(frame::next(&[0; 4], MAX), Err(FrameError::Empty));
    let (over, limit) = (MAX + 1, MAX);
    assert_eq!(
        frame::next(&framed(over, b""), MAX),
        Err(FrameError::TooLarge { size: over, limit })
    );
    assert_eq!(
        frame::next(&u32::MAX.to_le_bytes(), MAX).unwrap_err().to_string(),
        format!("frame of {} bytes is above the limit of {MAX}", u32::MAX)
    );
    assert_eq!(frame::next(&framed(MAX, b""), MAX), Ok(None));
    assert_eq!(frame::next(&framed(MAX, &[0x10]), MAX), Ok(None));
    assert_eq!(frame::next(&framed(5, &[0]), MAX), Err(FrameError::UnknownKind(0)));
    for byte in [b'/', b':', b'@', b'[', b'`', b'g', 0x0f, 0x11, 0xff] {
        assert_eq!(
            frame::next(&framed(5, &[byte]), MAX),
            Err(FrameError::UnknownKind(byte))
        );
    }
    // Texts keep their own limit, above and below that of messages.
    let limit = MAX_TEXT;
    let size = MAX_TEXT + 1;
    assert_eq!(frame::next(&framed(size, b""), MAX), Ok(None));
    assert_eq!(
        frame::next(&framed(size, b"P"), MAX),
        Err(FrameError::TooLarge { size, limit })
    );
    assert_eq!(frame::next(&framed(MAX_TEXT, b"P"), 1000), Ok(None));
    let (size, limit) = (1001, 1000);
    assert_eq!(
        frame::next(&framed(size, &[0x10]), limit),
        Err(FrameError::TooLarge { size, limit })
    );
}

fn process() -> CollectionEvent<'static> {
    CollectionEvent::Process(ProcessEvent {
        pid: 1,
        name: "sh",
        command_line: None,
        executable_path: None,
        ppid: None,
        start_time: None,
        metadata: Map::default(),
    })
}

fn trigger() -> CollectionEvent<'static> {
    CollectionEvent::TriggerRequest(TriggerRequest {
        request_id: "r",
        collector_type: "t",
        priority: 1,
        payload: b"p",
        metadata: Map::default(),
    })
}

fn draft<'a>(topic: &'a str, payload: Payload<'a>) -> Draft<'a> {
    let now = Timestamp::now();
    Draft {
        id: Uuid::new_v4(),
        topic,
        correlation_metadata: CorrelationMetadata {
            correlation_id: "c",
            parent_correlation_id: None,
            root_correlation_id: "c",
            sequence_number: 0,
            workflow_stage: None,
            correlation_tags: Map::default(),
            created_at: now,
        },
        payload,
        sequence: 7,
        timestamp: now,
    }
}

fn written(draft: &Draft<'_>, max: usize) -> Result<Vec<u8>, Error> {
    let mut out = b"kept".to_vec();
    let result = wire::write(DIALECT, draft, max, DEPTH, &mut out);
    assert_eq!(wire::encoded_len(DIALECT, draft, max, DEPTH), result);
    match result {
        Ok(_) => Ok(out.split_off(4)),
        Err(error) => {
            assert_eq!(out, b"kept", "after {error}");
            Err(error)
        }
    }
}

#[test]
fn a_payload_goes_to_the_domains_that_take_it() {
    let (process, trigger) = (process(), trigger());
    let event = || Payload::Event(&process);
    let request = || Payload::Event(&trigger);
    let raw = || Payload::Control(b"x");
    let refusal = |topic, payload| match written(&draft(topic, payload), MAX) {
        Ok(_) => None,
        Err(Error::Topic(error)) => Some(error.kind),
        Err(other) => panic!("{other}"),
    };
    assert_eq!(refusal("events.a", event()), None);
    assert_eq!(refusal("health.a", event()), None);
    assert_eq!(refusal("control.a", request()), None);
    assert_eq!(refusal("control.a", raw()), None);
    assert_eq!(refusal("health.a", raw()), None);
    assert!(refusal("control.a", event()).unwrap().contains("`events` or `health`"));
    assert!(refusal("events.a", request()).unwrap().contains("`control` only"));
    assert!(refusal("health.a", request()).unwrap().contains("`control` only"));
    assert!(refusal("events.a", raw()).unwrap().contains("`control` or `health`"));
    assert!(refusal("nowhere.a", event()).is_some());
}

#[test]
fn the_body_may_be_exactly_max_frame() {
    let payload = vec![7; 1000];
    let draft = draft("control.a", Payload::Control(&payload));
    let body = written(&draft, MAX).unwrap().len() - PREFIX;
    assert!(written(&draft, body).is_ok());
    for limit in [body - 1, 900] {
        assert_eq!(written(&draft, limit), Err(Error::FrameTooLarge { size: body, limit }));
    }
}

#[test]
fn what_a_reader_would_refuse_is_not_written() {
    let entries = Map(vec![("k", "v"); 4097]);
    let process = process();
    let mut many = draft("events.a", Payload::Event(&process));
    many.correlation_metadata.correlation_tags = entries;
    assert!(written(&many, MAX).unwrap_err().to_string().contains("4097"));
    for (secs, nanos) in [(1 << 63, 0), (0, 1_000_000_000)] {
        let mut late = draft("events.a", Payload::Event(&process));
        late.timestamp = Timestamp { secs, nanos };
        assert!(written(&late, MAX).unwrap_err().to_string().contains("timestamp"));
    }
}

/// A body with this topic, type and payload, whatever the rules say.
fn body(topic: &str, message_type: MessageType, payload: &[u8]) -> Vec<u8> {
    let draft = draft(topic, Payload::Control(payload));
    let message = Message {
        id: draft.id,
        topic,
        correlation_metadata: draft.correlation_metadata,
        payload,
        sequence: draft.sequence,
        timestamp: draft.timestamp,
        message_type,
    };
    let mut out = Vec::new();
    DIALECT.encode(&message, &mut out).unwrap();
    out
}

#[test]
fn types_are_held_against_domains() {
    let encoded = |event: &CollectionEvent<'_>| {
        let mut out = Vec::new();
        DIALECT.encode(event, &mut out).unwrap();
        out
    };
    let (process, trigger) = (encoded(&process()), encoded(&trigger()));
    let verdict = |topic: &str, message_type, payload: &[u8]| {
        let body = body(topic, message_type, payload);
        agree(&body);
        match wire::check(DIALECT, &body, DEPTH) {
            Ok(summary) => Ok(summary.event),
            Err(Refusal::Malformed(_)) => Err("malformed"),
            Err(Refusal::Topic { .. }) => Err("topic"),
            Err(Refusal::Type { .. }) => Err("type"),
        }
    };
    use MessageType::{Control, Event, Heartbeat, Shutdown};
    assert_eq!(verdict("events.a", Event, &process), Ok(Some(EventKind::Process)));
    assert_eq!(verdict("health.a", Event, &process), Ok(Some(EventKind::Process)));
    assert_eq!(verdict("control.a", Event, &process), Err("type"));
    assert_eq!(verdict("events.a", Event, &trigger), Err("type"));
    assert_eq!(verdict("events.a", Event, &[]), Err("malformed"));
    assert_eq!(verdict("EVENTS", Event, &[]), Err("malformed"));
    assert_eq!(verdict("EVENTS", Event, &process), Err("topic"));
    assert_eq!(
        verdict("events.a", Event, &[&process[..], &[0]].concat()),
        Err("malformed")
    );
    assert_eq!(verdict("events.a", Control, b"x"), Err("type"));
    assert_eq!(verdict("health.a", Control, b"x"), Ok(None));
    assert_eq!(verdict("control.a", Control, &trigger), Ok(None));
    assert_eq!(
        verdict("control.trigger.request", Control, &trigger),
        Ok(Some(EventKind::Trigger))
    );
    assert_eq!(verdict("control.trigger.request", Control, &process), Ok(None));
    assert_eq!(
        verdict("control.trigger.request", Control, &[&trigger[..], &[0]].concat()),
        Ok(None)
    );
    for never in [Heartbeat, Shutdown] {
        assert_eq!(verdict("events.a", never, &process), Err("type"));
        assert_eq!(verdict("heartbeat", never, &[]), Err("topic"));
    }
}

#[test]
fn an_error_inside_the_payload_counts_from_the_start_of_the_body() {
    let whole = body("events.a", MessageType::Event, &[9]);
    let at = whole.iter().rposition(|byte| *byte == 9).unwrap();
    let Err(Refusal::Malformed(error)) = wire::check(DIALECT, &whole, DEPTH) else {
        panic!("accepted")
    };
    assert_eq!(whole[error.offset], 9, "{error} instead of {at}");
}

/// Every place of small messages with every value, left out, and doubled: where random mutations hardly ever hit.
#[test]
fn every_byte_with_every_value_is_judged_alike() {
    let parts = Parts {
        texts: ["a", "bé", "c", "d", "e", "f", "g", "h"].map(str::to_owned).to_vec(),
        options: vec![true; 8],
        numbers: vec![7, 300, 1 << 33, 4, 5_000_000_000, 6, 7, 8],
        bytes: vec![1, 2],
        entries: vec![("k".to_owned(), "v".to_owned())],
        value: 1.5,
        kind: 0,
    };
    for kind in 0..6 {
        let parts = Parts { kind, ..parts.clone() };
        let event = parts.event();
        let mut body = Vec::new();
        wire::write(DIALECT, &parts.draft(event.as_ref()), MAX, DEPTH, &mut body).unwrap();
        body.drain(..PREFIX);
        assert!(agree(&body));
        for at in 0..body.len() {
            let (before, rest) = body.split_at(at);
            agree(&[before, &rest[1..]].concat());
            agree(&[before, &rest[..1], rest].concat());
            let mut changed = body.clone();
            for value in 0..=255 {
                changed[at] = value;
                agree(&changed);
            }
        }
    }
}

#[test]
fn a_map_has_at_most_4096_entries_on_every_way_in() {
    let process_with = |entries: u16| {
        let entries_of_two_empty_texts = vec![0; 2 * usize::from(entries)];
        [&[0; 7][..], &[251], &entries.to_le_bytes(), &entries_of_two_empty_texts].concat()
    };
    assert!(agree(&body("events.a", MessageType::Event, &process_with(4096))));
    let many = body("events.a", MessageType::Event, &process_with(4097));
    assert!(!agree(&many));
    let error = wire::read(DIALECT, &many).unwrap_err();
    assert!(
        error.reason.contains("4097") && error.reason.contains("4096"),
        "{error}"
    );
}
