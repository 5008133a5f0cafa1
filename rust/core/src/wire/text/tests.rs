use super::*;
use crate::event::map::MAX_ENTRIES;
use crate::event::{EventFilter, EventSubscription, Text, TextMap};

fn client(body: &str) -> Result<FromClient> {
    FromClient::parse(body.as_bytes())
}

fn refusal(body: &str) -> String {
    match client(body) {
        Err(Error::Protocol(text)) => text,
        other => panic!("{body:?} gave {other:?}"),
    }
}

/// The body of a rendered frame, its prefix checked.
fn body(frame: &[u8]) -> &[u8] {
    let (prefix, body) = frame.split_first_chunk::<PREFIX>().unwrap();
    assert_eq!(usize::try_from(u32::from_le_bytes(*prefix)).unwrap(), body.len());
    body
}

#[test]
fn every_verb_of_a_client_comes_back() {
    let subscription = EventSubscription {
        subscriber_id: Text::from("s"),
        event_filter: Some(EventFilter {
            pids: vec![1, u32::MAX],
            ..EventFilter::default()
        }),
        topic_patterns: Some(vec![Text::from("events.#")]),
        ..EventSubscription::default()
    };
    for verb in [
        FromClient::Connect(Connect {
            queue_bytes: Some(1 << 40),
            congestion: Congestion::Block,
            overflow: Overflow::DropNewest,
            ..Connect::default()
        }),
        FromClient::Auth(Auth { proof: "ab".into() }),
        FromClient::Sub(Box::new(Sub::new(3, subscription))),
        FromClient::Unsub(Id { id: u64::MAX }),
        FromClient::Stats(Stats {
            id: 1,
            ..Stats::default()
        }),
        FromClient::Stats(Stats {
            id: 2,
            detail: true,
            clients: true,
            after: Some(uuid::Uuid::from_u128(3)),
        }),
        FromClient::Ping,
        FromClient::PingProof("00ff".into()),
        FromClient::Pong,
        FromClient::Taken,
        FromClient::Bye,
        FromClient::Unknown("LATER".into()),
    ] {
        assert_eq!(FromClient::parse(body(&verb.try_frame().unwrap())), Ok(verb));
    }
}

#[test]
fn every_verb_of_a_broker_comes_back() {
    let info = Info {
        protocol: 1,
        version: "0.1.0".into(),
        client_id: uuid::Uuid::from_u128(7),
        dialect: "bincode".into(),
        max_frame: 1 << 20,
        queue_messages: 1,
        queue_bytes: 2,
        max_patterns_per_client: 3,
        max_filter_terms: 4,
        max_topic_depth: 8,
        ping_interval: 30.0,
        nonce: None,
        auth: "none".into(),
        taken: true,
    };
    let statistics = crate::event::EventBusStatistics {
        messages_published: u64::MAX,
        ..Default::default()
    };
    let ok = |id, statistics| OkText {
        id,
        statistics,
        ..OkText::default()
    };
    let told = OkText {
        detail: Some(Box::new(Detail {
            dropped: [("overflow".to_owned(), 3)].into(),
            connections: 4,
            ..Detail::default()
        })),
        clients: Some(vec![Client {
            id: uuid::Uuid::from_u128(5),
            name: "\u{1}".into(),
            uid: Some(0),
            pid: None,
            dialect: "bincode".into(),
            peer: "native".into(),
            subscriptions: 1,
            queued_messages: 2,
            queued_bytes: 3,
            delivered: 4,
            dropped: [("overflow".to_owned(), 1)].into(),
            published: 5,
        }]),
        more: true,
        ..ok(Some(9), Some(statistics))
    };
    for verb in [
        FromBroker::Info(Box::new(info)),
        FromBroker::Ok(ok(Some(1), None)),
        FromBroker::Ok(ok(Some(2), Some(statistics))),
        FromBroker::Ok(told),
        FromBroker::Err(ErrText::new(Code::UnknownVerb, "no")),
        FromBroker::Dropped(Dropped {
            subscriptions: [(1, 2), (u64::MAX, 1)].into(),
            reason: "overflow".into(),
        }),
        FromBroker::Ping,
        FromBroker::Pong,
        FromBroker::Bye(Bye::default()),
        FromBroker::Bye(Bye {
            reason: Some("shutdown".into()),
        }),
    ] {
        assert_eq!(FromBroker::parse(body(&verb.try_frame().unwrap())), Ok(verb));
    }
    assert_eq!(body(&FromBroker::Bye(Bye::default()).frame()), b"BYE");
}

#[test]
fn what_may_be_left_out_has_its_default() {
    let Ok(FromClient::Connect(connect)) = client(r#"CONNECT {"protocol":1,"later":[{}]}"#) else {
        panic!("refused")
    };
    assert_eq!(connect, Connect::default());
    let Ok(FromClient::Sub(sub)) = client(r#"SUB {"id":5,"capabilities":{"event_types":["process"]}}"#) else {
        panic!("refused")
    };
    assert!(sub.enable_wildcards && !sub.include_control && sub.topic_patterns.is_none());
    assert_eq!(client("PING {}"), Ok(FromClient::Ping));
    assert_eq!(client(r#"BYE {"reason":"x"}"#), Ok(FromClient::Bye));
    let code = FromBroker::parse(br#"ERR {"code":"from_the_future"}"#);
    assert!(matches!(
        code,
        Ok(FromBroker::Err(ErrText {
            code: Code::Unknown,
            ..
        }))
    ));
}

#[test]
fn bad_texts_name_their_verb() {
    assert!(refusal("CONNECT").starts_with("CONNECT: needs"));
    assert!(refusal("CONNECT {}").contains("protocol"));
    assert!(refusal("CONNECT  {}").starts_with("CONNECT: takes one space"));
    assert!(refusal("CONNECT [1]").starts_with("CONNECT: takes"));
    assert!(refusal("UNSUB {\"id\":-1}").starts_with("UNSUB: "));
    assert!(refusal("UNSUB {\"id\":1} x").starts_with("UNSUB: "));
    assert!(refusal("PING 1").starts_with("PING: "));
    assert!(FromClient::parse(b"SUB \xff").is_err());
    let bomb = format!("STATS {{\"id\":1,\"x\":{}", "[".repeat(60_000));
    assert!(refusal(&bomb).contains("deeper"));
    let quoted = format!("STATS {{\"id\":1,\"x\":\"\\\"{}\"}}", "[".repeat(1000));
    assert!(client(&quoted).is_ok());
    let long = vec![b'A'; MAX_TEXT + 1];
    assert!(matches!(
        FromClient::parse(&long),
        Err(Error::TextTooLarge { size, .. }) if size == MAX_TEXT + 1
    ));
}

#[test]
fn unknown_verbs_are_kept_short_and_whole() {
    assert_eq!(client("GET / HTTP/1.1"), Ok(FromClient::Unknown("GET".into())));
    let Ok(FromClient::Unknown(verb)) = client(&format!("A{}", "é".repeat(500))) else {
        panic!("refused")
    };
    assert_eq!(verb.len(), 63);
}

#[test]
fn a_subscription_too_large_for_a_text_is_refused_at_the_sender() {
    let pattern = "events.process.new".repeat(10);
    let patterns = vec![Text::from(pattern.as_str()); MAX_TEXT / pattern.len() + 1];
    let sub = FromClient::Sub(Box::new(Sub {
        topic_patterns: Some(patterns),
        ..Sub::default()
    }));
    assert!(matches!(
        sub.try_frame(),
        Err(Error::TextTooLarge { size, .. }) if size > MAX_TEXT
    ));
}

#[test]
#[cfg_attr(miri, ignore = "thousands of entries take minutes there")]
fn a_subscription_whose_filter_no_reader_takes_is_refused_at_the_sender() {
    let with = |count: usize| {
        let entries = (0..count).map(|number| (Text::from(format!("{number}")), Text::from("")));
        let filter = EventFilter {
            metadata_filters: TextMap(entries.collect()),
            ..EventFilter::default()
        };
        FromClient::Sub(Box::new(Sub {
            event_filter: Some(filter),
            ..Sub::default()
        }))
    };
    assert!(with(MAX_ENTRIES).try_frame().is_ok());
    let error = with(MAX_ENTRIES + 1).try_frame().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("map of 4097 entries is above the limit of 4096"),
        "{error}"
    );
}

#[test]
fn errors_that_cross_the_wire_come_back_as_their_kind() {
    for error in [
        Error::BrokerBusy("full".into()),
        Error::PermissionRefused {
            uid: 7,
            reason: "not you".into(),
            topic: Some("events.a".into()),
        },
        Error::AuthenticationFailed(super::code::TOKEN_REJECTED),
        Error::Protocol("bad".into()),
        Error::SubscriptionClosed("s".into()),
        Error::SubscriptionRefused {
            reason: "many".into(),
            limit: 5,
        },
        Error::Topic(crate::error::TopicError {
            topic: "x".into(),
            kind: "k".into(),
        }),
        Error::Pattern(crate::error::PatternError {
            pattern: "x".into(),
            kind: "k".into(),
        }),
    ] {
        assert_eq!(ErrText::from(&error).into_error(7), error);
        assert_eq!(ErrText::from(&error).code, error.code());
    }
}
