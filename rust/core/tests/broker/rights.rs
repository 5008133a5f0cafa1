//! Rules and rates, as a client written against the protocol alone meets them, and what a reader in the broker's process is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use daemoneye_eventbus_core::broker::{BrokerConfig, Per, PortOptions, RateLimit, Rule};
use daemoneye_eventbus_core::event::{EventSubscription, SourceCaps, Text};
use daemoneye_eventbus_core::queue::{Content, Limits, Overflow, Popped, Queue, Wake};
use daemoneye_eventbus_core::wire::text::Code;

use crate::support::{Bus, Client, Frame, NEW, control, frame, frames, guarded, sequence};

fn rule(publish: &[&str], subscribe: &[&str], allow: bool) -> Rule {
    let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
    Rule {
        uids: None,
        sids: None,
        tokens: None,
        publish: texts(publish),
        subscribe: texts(subscribe),
        allow,
    }
}

fn with_rules(rules: Vec<Rule>) -> Bus {
    Bus::with(BrokerConfig {
        rules,
        ..BrokerConfig::default()
    })
}

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

fn local(bus: &Bus, patterns: &[&str]) -> (impl Sized + use<>, Arc<Queue>) {
    let port = bus.broker.port(PortOptions::default()).unwrap();
    let subscription = EventSubscription {
        subscriber_id: Text("s".to_owned()),
        capabilities: SourceCaps::default(),
        event_filter: None,
        correlation_filter: None,
        topic_patterns: Some(patterns.iter().map(|&text| Text(text.to_owned())).collect()),
        enable_wildcards: true,
        include_control: true,
    };
    let limits = Limits {
        messages: 10_000,
        bytes: 1 << 20,
    };
    let held = port
        .subscribe(&subscription, limits, Overflow::DropOldest, Arc::new(Nobody))
        .unwrap();
    let queue = Arc::clone(&held.queue);
    ((port, held), queue)
}

fn pop(queue: &Queue) -> Popped {
    let start = Instant::now();
    loop {
        if let Ok(popped) = queue.pop() {
            return popped;
        }
        assert!(start.elapsed() < Duration::from_secs(5), "nothing came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_may_not_be_published_is_told_and_its_neighbours_pass() {
    guarded(|| {
        let bus = with_rules(vec![rule(&["events.file.#"], &[], false)]);
        let mut client = bus.connect();
        client.subscribe(1, &["events.#"]);
        let bytes = [
            frames(NEW, 0..3),
            frames("events.file.new", 3..6),
            frame(NEW, 6),
            frame("events.file.new", 7),
        ];
        client.send(&bytes.concat());
        let (mut got, mut refused) = (Vec::new(), 0);
        while got.len() < 4 || refused < 4 {
            match client.next() {
                Frame::Message(frame) => got.push(sequence(&frame)),
                Frame::Text(daemoneye_eventbus_core::wire::text::FromBroker::Err(err)) => {
                    assert_eq!(
                        (err.code, err.topic.as_deref()),
                        (Code::Rights, Some("events.file.new"))
                    );
                    assert!([Some(5), Some(7)].contains(&err.sequence));
                    refused += err.count.unwrap_or(1);
                }
                other => panic!("expected messages and refusals, got {other:?}"),
            }
        }
        assert_eq!((got, refused), (vec![0, 1, 2, 6], 4));
        let statistics = bus.broker.statistics();
        assert_eq!(
            (statistics.refused["rights"], statistics.bus.messages_published),
            (4, 4)
        );
    });
}

fn refused_sub(client: &mut Client, id: u64, pattern: &str) {
    client.text(&format!(
        r#"SUB {{"id":{id},"topic_patterns":["events.a.b","{pattern}"]}}"#
    ));
    let err = client.err();
    assert_eq!((err.code, err.id), (Code::Rights, Some(id)), "{pattern}");
    assert!(err.message.contains(pattern));
}

#[test]
fn a_subscription_is_refused_for_one_topic_of_it() {
    guarded(|| {
        let bus = with_rules(vec![rule(&[], &["events.#"], true), rule(&[], &["#"], false)]);
        let mut client = bus.connect();
        for pattern in ["#", "control.#", "health.x", "+.a", "*"] {
            refused_sub(&mut client, 1, pattern);
        }
        client.subscribe(1, &["events.#"]);
        client.send(&control("control.x", 1));
        client.send(&frame(NEW, 2));
        assert_eq!(
            client.flush().iter().map(|frame| sequence(frame)).collect::<Vec<_>>(),
            [2]
        );
    });
}

#[test]
fn readers_of_this_process_are_told_who_published() {
    guarded(|| {
        let bus = Bus::new();
        let (_held, queue) = local(&bus, &["#"]);
        let (mut one, first) = bus.connect_with("");
        let (mut two, second) = bus.connect_with(r#","congestion":"block""#);
        for (client, info) in [(&mut one, &first), (&mut two, &second)] {
            client.send(&[frames(NEW, 0..100), control("control.x", 100)].concat());
            client.flush();
            for _ in 0..101 {
                let sender = pop(&queue).sender.unwrap();
                assert_eq!(
                    (sender.client_id, sender.pid),
                    (info.client_id, Some(std::process::id()))
                );
            }
        }
    });
}

#[test]
fn a_publisher_that_waits_is_read_as_fast_as_its_rate() {
    guarded(|| {
        let bus = Bus::with(BrokerConfig {
            rate_limits: vec![RateLimit {
                per: Per::Client,
                messages_per_second: Some(200.0),
                bytes_per_second: None,
                connects_per_second: None,
                burst: 0.1,
            }],
            ping_interval: Duration::from_millis(100),
            ping_timeout: Duration::from_millis(300),
            frame_timeout: Duration::from_millis(200),
            ..BrokerConfig::default()
        });
        let mut client = bus.connect_with(r#","congestion":"block""#).0;
        let mut other = bus.connect();
        other.subscribe(1, &["events.#"]);
        let start = Instant::now();
        // The last is cut in two: time in which the broker does not read counts for nothing.
        let bytes = frames(NEW, 0..221);
        client.send(&bytes[..bytes.len() - 5]);
        let mut got = Vec::new();
        while got.len() < 220 {
            match other.next() {
                Frame::Message(frame) => got.push(sequence(&frame)),
                Frame::Text(_) => other.text("PONG"),
                Frame::End => panic!("the reader was cut"),
            }
        }
        let lasted = start.elapsed();
        assert!((0.9..3.0).contains(&lasted.as_secs_f64()), "{lasted:?}");
        assert_eq!(got, (0..220).collect::<Vec<_>>());
        client.send(&bytes[bytes.len() - 5..]);
        client.flush_all();
        assert_eq!(bus.broker.statistics().refused.values().sum::<u64>(), 0);
    });
}

#[test]
fn peers_of_the_original_are_under_the_same_rules_and_rates() {
    guarded(|| {
        let bus = Bus::with(BrokerConfig {
            rules: vec![rule(&["events.secret.#"], &["control.#"], false)],
            rate_limits: vec![RateLimit {
                per: Per::Client,
                messages_per_second: Some(1.0),
                bytes_per_second: None,
                connects_per_second: None,
                burst: 2.0,
            }],
            original_patterns: vec!["events.#".to_owned(), "control.#".to_owned()],
            ..BrokerConfig::default()
        });
        let (_held, queue) = local(&bus, &["events.#"]);
        let mut peer = bus.dial();
        peer.send(&frame("events.secret.x", 1));
        peer.send(&frames(NEW, 2..6));
        // It is told nothing; the counters are.
        assert_eq!(peer.flush(), Vec::<Vec<u8>>::new());
        let refused = bus.broker.statistics().refused;
        assert_eq!((refused["rights"], refused["rate_limit"]), (1, 2));
        for wanted in [2, 3] {
            let popped = pop(&queue);
            let sender = popped.sender.unwrap();
            assert_eq!(sender.pid, Some(std::process::id()));
            let Content::Frames(bytes) = popped.content else {
                panic!("a frame")
            };
            assert_eq!(sequence(&bytes), wanted);
        }
        // Of the broker's own patterns it gets what it may subscribe.
        let mut native = bus.connect();
        native.send(&control("control.collector", 7));
        let seen = frame(NEW, 8);
        native.send(&seen);
        assert_eq!(peer.first(), seen);
    });
}

#[test]
fn a_rule_that_says_nothing_or_cannot_be_met_is_refused() {
    let refused = |change: &dyn Fn(&mut Rule)| {
        let mut rule = rule(&["events.#"], &[], true);
        change(&mut rule);
        let config = BrokerConfig {
            rules: vec![rule],
            ..BrokerConfig::default()
        };
        config.validate().is_err()
    };
    assert!(!refused(&|_| ()));
    assert!(refused(&|rule| rule.publish.clear()));
    assert!(refused(&|rule| rule.uids = Some(Vec::new())));
    assert!(refused(&|rule| rule.tokens = Some(Vec::new())));
    assert!(refused(&|rule| rule.tokens = Some(vec!["unknown".to_owned()])));
    assert!(refused(&|rule| rule.publish = vec!["#.x".to_owned()]));
    assert!(refused(&|rule| rule.subscribe = vec!["a..b".to_owned()]));
}

/// `limit` with each of its rates set to `rate` in turn.
fn with_rate(limit: RateLimit, rate: f64) -> [RateLimit; 3] {
    let rate = Some(rate);
    [
        RateLimit {
            messages_per_second: rate,
            ..limit
        },
        RateLimit {
            bytes_per_second: rate,
            ..limit
        },
        RateLimit {
            connects_per_second: rate,
            ..limit
        },
    ]
}

#[test]
fn a_rate_that_limits_nothing_or_cannot_be_kept_is_refused() {
    let limit = RateLimit {
        per: Per::Uid,
        messages_per_second: Some(1.0),
        bytes_per_second: None,
        connects_per_second: None,
        burst: 1.0,
    };
    let verdict = |rate_limits: &[RateLimit]| {
        let config = BrokerConfig {
            rate_limits: rate_limits.to_vec(),
            ..BrokerConfig::default()
        };
        match config.validate() {
            Ok(()) => None,
            Err(daemoneye_eventbus_core::Error::Invalid { field, .. }) => Some(field),
            Err(other) => panic!("expected a refusal, got {other:?}"),
        }
    };
    let client = RateLimit {
        per: Per::Client,
        ..limit
    };
    let connects = |per| RateLimit {
        per,
        connects_per_second: Some(1.0),
        ..limit
    };
    assert_eq!(verdict(&[limit, client]), None);
    assert_eq!(verdict(&[connects(Per::Uid)]), None);
    for wrong in [
        vec![RateLimit {
            messages_per_second: None,
            ..limit
        }],
        vec![connects(Per::Client)],
        vec![limit, client, limit],
        vec![client, client],
    ] {
        assert_eq!(verdict(&wrong), Some("rate_limit"), "{wrong:?}");
    }
    for rate in [0.001, 1e12] {
        for limit in with_rate(limit, rate) {
            assert_eq!(verdict(&[limit]), None, "{limit:?}");
        }
    }
    for rate in [-1.0, 0.0, 0.000_999, 1.001e12, f64::INFINITY, f64::NAN] {
        for limit in with_rate(limit, rate) {
            assert_eq!(verdict(&[limit]), Some("rate_limit"), "{limit:?}");
        }
    }
    for burst in [0.05, 3600.0] {
        assert_eq!(verdict(&[RateLimit { burst, ..limit }]), None, "{burst}");
    }
    for burst in [-1.0, 0.0, 0.0499, 3600.1, f64::NAN] {
        assert_eq!(verdict(&[RateLimit { burst, ..limit }]), Some("rate_limit"), "{burst}");
    }
}
