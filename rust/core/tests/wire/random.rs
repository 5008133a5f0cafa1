//! Random messages there and back, mutated, cut, and split.

use daemoneye_eventbus_core::event::{
    CollectionEvent, CorrelationMetadata, FilesystemEvent, Map, NetworkEvent, PerformanceEvent, ProcessEvent,
    Timestamp, TriggerRequest,
};
use daemoneye_eventbus_core::wire::frame::{self, Kind, PREFIX};
use daemoneye_eventbus_core::wire::{self, Dialect, Draft, MessageType, Payload};
use proptest::prelude::*;
use uuid::Uuid;

use crate::{DEPTH, MAX, agree};

/// What a message is made of, owned.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
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

/// Those whose every value can be written.
pub(crate) fn dialect() -> impl Strategy<Value = Dialect> {
    prop::sample::select(Dialect::CONNECTIONS)
}

pub(crate) fn parts() -> impl Strategy<Value = Parts> {
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
    pub(crate) fn event(&self) -> Option<CollectionEvent<'_>> {
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
            4 => self.trigger(),
            _ => return None,
        })
    }

    pub(crate) fn trigger(&self) -> CollectionEvent<'_> {
        CollectionEvent::TriggerRequest(TriggerRequest {
            request_id: self.text(0),
            collector_type: self.text(1),
            priority: u8::try_from(self.numbers[0] & 0xff).unwrap(),
            payload: &self.bytes,
            metadata: self.map(),
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

    pub(crate) fn draft<'a>(&'a self, event: Option<&'a CollectionEvent<'a>>) -> Draft<'a> {
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_written_is_read_unchanged(parts in parts(), dialect in dialect()) {
        let event = parts.event();
        let draft = parts.draft(event.as_ref());
        let mut out = b"before".to_vec();
        let size = wire::write(dialect, &draft, MAX, DEPTH, &mut out).unwrap();
        prop_assert_eq!(out.len(), 6 + size);
        prop_assert_eq!(wire::encoded_len(dialect, &draft, MAX, DEPTH).unwrap(), size);
        let (kind, body) = frame::next(&out[6..], MAX).unwrap().unwrap();
        prop_assert_eq!((kind, body.len()), (Kind::Message, size - PREFIX));
        prop_assert!(agree(dialect, body));

        let (message, read) = wire::read(dialect, body).unwrap();
        prop_assert_eq!(&read, &event);
        prop_assert_eq!(&message.correlation_metadata, &draft.correlation_metadata);
        prop_assert_eq!((message.id, message.sequence, message.timestamp), (draft.id, draft.sequence, draft.timestamp));
        prop_assert_eq!((message.message_type, message.topic), (parts.message_type(), draft.topic));

        // The same bytes as the generic encoder.
        let mut payload = Vec::new();
        match &event {
            Some(event) => dialect.encode(event, &mut payload).unwrap(),
            None => payload.clone_from(&parts.bytes),
        }
        prop_assert_eq!(message.payload, payload.as_slice());
        let mut generic = Vec::new();
        dialect.encode(&message, &mut generic).unwrap();
        prop_assert!(generic == body);
    }

    #[test]
    fn checking_and_reading_agree_on_mutated_bodies(
        parts in parts(),
        dialect in dialect(),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..4),
    ) {
        let event = parts.event();
        let mut body = Vec::new();
        wire::write(dialect, &parts.draft(event.as_ref()), MAX, DEPTH, &mut body).unwrap();
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
            agree(dialect, &body);
        }
    }

    #[test]
    fn every_strict_prefix_is_malformed(parts in parts(), dialect in dialect(), cut in any::<prop::sample::Index>()) {
        let event = parts.event();
        let mut body = Vec::new();
        wire::write(dialect, &parts.draft(event.as_ref()), MAX, DEPTH, &mut body).unwrap();
        let body = &body[PREFIX..];
        let cut = &body[..cut.index(body.len())];
        prop_assert!(!agree(dialect, cut));
        // The place named is where an item begins: cut there, the same one is missing.
        let offset = wire::read(dialect, cut).unwrap_err().offset;
        prop_assert_eq!(wire::read(dialect, &cut[..offset]).unwrap_err().offset, offset);
        prop_assert!(!agree(dialect, &[body, &[0]].concat()));
    }

    #[test]
    fn the_first_wrong_byte_of_a_text_is_named(
        before in "[a-z]{0,300}",
        text in "[a-z]{1,300}",
        at in any::<prop::sample::Index>(),
        dialect in prop::sample::select(Dialect::ALL),
    ) {
        let event = NetworkEvent {
            connection_id: before.as_str(),
            source_address: text.as_str(),
            destination_address: "",
            protocol: "",
            metadata: Map::default(),
        };
        let mut bytes = Vec::new();
        dialect.encode(&event, &mut bytes).unwrap();
        let at = bytes.len() - 3 - text.len() + at.index(text.len());
        bytes[at] = 0xff;
        prop_assert_eq!(dialect.decode::<NetworkEvent<&str, Map<'_>>>(&bytes).unwrap_err().offset, at);
    }

    #[test]
    fn random_bytes_are_judged_alike(body in prop::collection::vec(any::<u8>(), 0..200), dialect in dialect()) {
        agree(dialect, &body);
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
    for (kind, dialect) in (0..6).flat_map(|kind| Dialect::CONNECTIONS.iter().map(move |dialect| (kind, *dialect))) {
        let parts = Parts { kind, ..parts.clone() };
        let event = parts.event();
        let mut body = Vec::new();
        wire::write(dialect, &parts.draft(event.as_ref()), MAX, DEPTH, &mut body).unwrap();
        body.drain(..PREFIX);
        assert!(agree(dialect, &body));
        for at in 0..body.len() {
            let (before, rest) = body.split_at(at);
            agree(dialect, &[before, &rest[1..]].concat());
            agree(dialect, &[before, &rest[..1], rest].concat());
            let mut changed = body.clone();
            for value in 0..=255 {
                changed[at] = value;
                agree(dialect, &changed);
            }
        }
    }
}
