//! Sniffing under frames made to mislead: 100,000 of each kind, and never a wrong verdict.

use daemoneye_eventbus_core::event::{CorrelationMetadata, Map, Timestamp};
use daemoneye_eventbus_core::wire::{self, Dialect, Message, MessageType};
use fastrand::Rng;
use uuid::Uuid;

const FRAMES: usize = 100_000;
const PAIR: [Dialect; 2] = [Dialect::Bincode, Dialect::Postcard];

/// What the lengths of texts and payloads are drawn from.
#[derive(Clone, Copy)]
enum Lengths {
    /// One byte in both codecs.
    Small,
    /// One byte in bincode, two in postcard: everything behind them shifts.
    Between,
    /// No payload, hardly any text.
    Empty,
    Any,
}

/// A random message with plausible times. Its texts and payload are bytes that codecs take for tags and continuations.
struct Sample {
    id: u128,
    texts: [String; 5],
    optional: u8,
    entries: usize,
    payload: Vec<u8>,
    numbers: [u64; 2],
    created_at: Timestamp,
    timestamp: Timestamp,
    message_type: MessageType,
}

impl Sample {
    fn new(rng: &mut Rng, lengths: Lengths) -> Self {
        let length = |rng: &mut Rng| match lengths {
            Lengths::Small => rng.usize(0..128),
            Lengths::Between => rng.usize(128..251),
            Lengths::Empty => rng.usize(0..2),
            Lengths::Any => rng.usize(0..400),
        };
        let texts = std::array::from_fn(|_| {
            let length = length(rng);
            // Low control characters read as lengths, options, map counts and types.
            let any = rng.bool();
            (0..length)
                .map(|_| char::from(if any { rng.u8(0..128) } else { rng.u8(0..3) }))
                .collect()
        });
        let payload = match lengths {
            Lengths::Empty => Vec::new(),
            _ => (0..length(rng))
                .map(|_| if rng.bool() { rng.u8(..) } else { rng.u8(248..) })
                .collect(),
        };
        let time = |rng: &mut Rng| Timestamp {
            secs: rng.u64(1_577_836_800..3_976_214_400),
            nanos: if rng.bool() {
                rng.u32(0..1_000_000_000)
            } else {
                rng.u32(0..300)
            },
        };
        let number = |rng: &mut Rng| match rng.u8(0..3) {
            0 => rng.u64(0..128),
            1 => rng.u64(128..65_536),
            _ => rng.u64(..),
        };
        Self {
            id: rng.u128(..),
            texts,
            optional: rng.u8(..),
            entries: rng.usize(0..3),
            payload,
            numbers: [number(rng), number(rng)],
            created_at: time(rng),
            timestamp: time(rng),
            message_type: if rng.bool() {
                MessageType::Event
            } else {
                MessageType::Control
            },
        }
    }

    fn message(&self) -> Message<'_> {
        let [topic, id, root, stage, tag] = &self.texts;
        Message {
            id: Uuid::from_u128(self.id),
            topic,
            correlation_metadata: CorrelationMetadata {
                correlation_id: id,
                parent_correlation_id: (self.optional & 1 == 0).then_some(root),
                root_correlation_id: root,
                sequence_number: self.numbers[0],
                workflow_stage: (self.optional & 2 == 0).then_some(stage),
                correlation_tags: Map(vec![(tag.as_str(), stage.as_str()); self.entries]),
                created_at: self.created_at,
            },
            payload: &self.payload,
            sequence: self.numbers[1],
            timestamp: self.timestamp,
            message_type: self.message_type,
        }
    }

    fn body(&self, dialect: Dialect) -> Vec<u8> {
        let mut out = Vec::new();
        dialect.encode(&self.message(), &mut out).unwrap();
        out
    }
}

fn other(dialect: Dialect) -> Dialect {
    if dialect == Dialect::Bincode {
        Dialect::Postcard
    } else {
        Dialect::Bincode
    }
}

/// How many of these bodies the other codec takes whole too, which is what makes trial decoding alone unsafe.
fn misread_while_told(seed: u64, lengths: Lengths) -> usize {
    let mut rng = Rng::with_seed(seed);
    let mut misread = 0;
    for _ in 0..FRAMES {
        let dialect = PAIR[rng.usize(0..2)];
        let body = Sample::new(&mut rng, lengths).body(dialect);
        assert_eq!(wire::sniff(&body, other(dialect)), Some(dialect), "{body:02x?}");
        misread += usize::from(other(dialect).decode::<Message<'_>>(&body).is_ok());
    }
    misread
}

#[test]
fn messages_of_small_lengths_are_told() {
    assert!(misread_while_told(1, Lengths::Small) > 100);
}

#[test]
fn messages_of_lengths_between_128_and_250_are_told() {
    misread_while_told(2, Lengths::Between);
}

#[test]
fn messages_without_payload_are_told() {
    assert!(misread_while_told(3, Lengths::Empty) > 100);
}

#[test]
fn messages_of_any_length_are_told() {
    misread_while_told(4, Lengths::Any);
}

/// All integers below 128, the times too: the same bytes in both, so there is nothing to tell.
#[test]
fn the_same_bytes_in_both_are_answered_with_the_default() {
    let mut rng = Rng::with_seed(5);
    for _ in 0..FRAMES {
        let mut sample = Sample::new(&mut rng, Lengths::Small);
        sample.numbers = [rng.u64(0..128), rng.u64(0..128)];
        for time in [&mut sample.created_at, &mut sample.timestamp] {
            *time = Timestamp {
                secs: rng.u64(0..128),
                nanos: rng.u32(0..128),
            };
        }
        let body = sample.body(Dialect::Bincode);
        assert_eq!(body, sample.body(Dialect::Postcard));
        let default = PAIR[rng.usize(0..2)];
        assert_eq!(wire::sniff(&body, default), Some(default));
    }
}

#[test]
fn cut_and_lengthened_frames_get_no_verdict() {
    let mut rng = Rng::with_seed(6);
    for round in 0..FRAMES {
        let dialect = PAIR[rng.usize(0..2)];
        let mut body = Sample::new(&mut rng, Lengths::Any).body(dialect);
        if round % 4 == 0 {
            body.extend((0..rng.usize(1..40)).map(|_| 0));
        } else {
            body.truncate(rng.usize(0..body.len()));
        }
        assert_eq!(wire::sniff(&body, dialect), None, "{body:02x?}");
    }
}

/// The head of one frame and the tail of another, of either dialect. A verdict is possible, but only for what is a whole,
/// plausible message of that dialect, and of no other.
#[test]
fn mixed_frames_get_no_wrong_verdict() {
    let mut rng = Rng::with_seed(7);
    let mut verdicts = 0;
    for _ in 0..FRAMES {
        let lengths = [Lengths::Small, Lengths::Between, Lengths::Empty, Lengths::Any][rng.usize(0..4)];
        let (one, two) = (Sample::new(&mut rng, lengths), Sample::new(&mut rng, lengths));
        let (head, tail) = (one.body(PAIR[rng.usize(0..2)]), two.body(PAIR[rng.usize(0..2)]));
        let (head, tail) = (&head[..rng.usize(0..=head.len())], &tail[rng.usize(0..=tail.len())..]);
        let body = [head, tail].concat();
        let Some(verdict) = wire::sniff(&body, Dialect::BincodeV0) else {
            continue;
        };
        verdicts += 1;
        assert!(verdict.decode::<Message<'_>>(&body).is_ok());
        let plausible = |time: Timestamp| (1_577_836_800..3_976_214_400).contains(&time.secs);
        let elsewhere = other(verdict).decode::<Message<'_>>(&body);
        assert!(!elsewhere.is_ok_and(|message| {
            plausible(message.timestamp) && plausible(message.correlation_metadata.created_at)
        }));
    }
    assert!(verdicts < FRAMES / 10, "{verdicts}");
}
