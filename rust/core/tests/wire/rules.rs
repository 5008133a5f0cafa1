//! What goes where, how large it may be, and where an error stands.

use daemoneye_eventbus_core::error::Error;
use daemoneye_eventbus_core::event::{
    CollectionEvent, CorrelationMetadata, EventKind, FilesystemEvent, Map, ProcessEvent, Timestamp, TriggerRequest,
};
use daemoneye_eventbus_core::wire::frame::{self, FrameError, MAX_TEXT, PREFIX};
use daemoneye_eventbus_core::wire::{self, Draft, Message, MessageType, Payload, Refusal};
use uuid::Uuid;

use crate::{DEPTH, DIALECT, MAX, agree};

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
    let size = MAX_TEXT + 1;
    assert_eq!(frame::next(&framed(size, b""), MAX), Ok(None));
    assert_eq!(
        frame::next(&framed(size, b"P"), MAX),
        Err(FrameError::TextTooLarge { size })
    );
    // What is above both is told its own.
    for (max_frame, size) in [(MAX, MAX + 1), (1000, MAX_TEXT + 1)] {
        for text in [b"P", b"7"] {
            assert_eq!(
                frame::next(&framed(size, text), max_frame),
                Err(FrameError::TextTooLarge { size })
            );
        }
        let limit = max_frame;
        assert_eq!(
            frame::next(&framed(size, &[0x10]), max_frame),
            Err(FrameError::TooLarge { size, limit })
        );
    }
    let told = Error::from(FrameError::TextTooLarge { size }).to_string();
    assert!(
        told.contains(&MAX_TEXT.to_string()) && !told.contains("max_frame"),
        "{told}"
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
        agree(DIALECT, &body);
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

#[test]
fn a_map_has_at_most_4096_entries_on_every_way_in() {
    let process_with = |entries: u16| {
        let entries_of_two_empty_texts = vec![0; 2 * usize::from(entries)];
        [&[0; 7][..], &[251], &entries.to_le_bytes(), &entries_of_two_empty_texts].concat()
    };
    assert!(agree(
        DIALECT,
        &body("events.a", MessageType::Event, &process_with(4096))
    ));
    let many = body("events.a", MessageType::Event, &process_with(4097));
    assert!(!agree(DIALECT, &many));
    let error = wire::read(DIALECT, &many).unwrap_err();
    assert!(
        error.reason.contains("4097") && error.reason.contains("4096"),
        "{error}"
    );
}

#[test]
fn lengths_are_counted_right_where_integers_grow() {
    const EDGES: [u64; 8] = [0, 250, 251, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX];
    let longest = "x".repeat(0x1_0001);
    for edge in EDGES {
        let event = CollectionEvent::Filesystem(FilesystemEvent {
            path: "p",
            event_type: "e",
            size: Some(edge),
            metadata: Map::default(),
        });
        let mut message = draft("events.filesystem.x", Payload::Event(&event));
        message.sequence = edge;
        message.timestamp = Timestamp {
            secs: edge.min(i64::MAX.unsigned_abs()),
            nanos: u32::try_from(edge.min(999_999_999)).unwrap(),
        };
        message.correlation_metadata.sequence_number = edge;
        written(&message, MAX).unwrap();
    }
    for length in [0, 1, 250, 251, 0xffff, 0x1_0000, 0x1_0001] {
        let text = longest.get(..length).unwrap();
        let event = CollectionEvent::Process(ProcessEvent {
            pid: u32::try_from(length).unwrap(),
            name: text,
            command_line: Some(text),
            executable_path: None,
            ppid: Some(250),
            start_time: None,
            metadata: Map(vec![(text, "value"), ("key", text)]),
        });
        let mut message = draft("events.process.x", Payload::Event(&event));
        message.correlation_metadata.workflow_stage = Some(text);
        written(&message, MAX).unwrap();
        let bytes = text.as_bytes();
        written(&draft("control.x.y", Payload::Control(bytes)), MAX).unwrap();
    }
}
