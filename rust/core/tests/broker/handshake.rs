//! From dialling to INFO: who gets in, with what, and who does not.

use std::time::{Duration, Instant};

use daemoneye_eventbus_core::broker::BrokerConfig;
use daemoneye_eventbus_core::wire::auth::{Role, Token, nonce};
use daemoneye_eventbus_core::wire::text::{Code, FromBroker};

use crate::support::{Bus, Client, Frame, NEW, frame, frame_of, guarded};

#[test]
fn info_tells_what_holds_for_the_connection() {
    guarded(|| {
        let bus = Bus::new();
        let (_client, info) = bus.connect_with(r#","queue_messages":10,"queue_bytes":1000000000,"max_frame":5000"#);
        assert_eq!(
            (info.protocol, info.auth.as_str(), info.nonce.is_some()),
            (1, "none", true)
        );
        assert_eq!(
            (info.queue_messages, info.queue_bytes, info.max_frame),
            (10, 8 << 20, 5000)
        );
        assert_eq!(info.dialect, "bincode");
        let clients = bus.broker.clients();
        assert_eq!((clients[0].id, clients[0].name.as_str()), (info.client_id, "test"));
        assert_eq!(clients[0].pid, Some(std::process::id()));
    });
}

#[test]
fn a_protocol_of_the_future_is_refused_and_one_that_can_step_back_is_not() {
    guarded(|| {
        let bus = Bus::new();
        let mut client = bus.dial();
        client.text(r#"CONNECT {"protocol":255}"#);
        let err = client.err();
        assert_eq!((err.code, err.highest), (Code::UnsupportedVersion, Some(1)));
        client.ended();
        let mut client = bus.dial();
        client.text(r#"CONNECT {"protocol":255,"min_protocol":1,"unknown":[1,2]}"#);
        assert!(matches!(client.next(), Frame::Text(FromBroker::Info(info)) if info.protocol == 1));
        assert_eq!(bus.refused("unsupported_version"), 1);
    });
}

#[test]
fn what_is_no_connect_is_cut() {
    guarded(|| {
        let bus = Bus::with(BrokerConfig {
            original_peers: false,
            ..BrokerConfig::default()
        });
        let cases: [(Vec<u8>, Code); 7] = [
            (
                crate::support::text_frame(r#"CONNECT {"protocol":1,"dialect":"klingon"}"#),
                Code::UnsupportedDialect,
            ),
            (
                crate::support::text_frame(r#"SUB {"id":1,"topic_patterns":["events.#"]}"#),
                Code::Protocol,
            ),
            (crate::support::text_frame("CONNECT {"), Code::Protocol),
            (frame(NEW, 1), Code::Protocol),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), Code::FrameTooLarge),
            (vec![0, 0, 0, 0], Code::Protocol),
            (vec![4, 0, 0, 0, 0xff, 1, 2, 3], Code::Protocol),
        ];
        for (bytes, code) in cases {
            let mut client = bus.dial();
            client.send(&bytes);
            client.cut(code);
        }
        bus.settled(|statistics| statistics.connections == 0);
        let mut good = bus.connect();
        good.flush();
        good.text(r#"CONNECT {"protocol":1}"#);
        good.cut(Code::Protocol);
    });
}

#[test]
fn the_silent_one_is_cut_at_the_deadline_and_keeps_nobody_waiting() {
    guarded(|| {
        let deadline = Duration::from_secs(1);
        let bus = Bus::with(BrokerConfig {
            handshake_timeout: deadline,
            original_peers: false,
            ..BrokerConfig::default()
        });
        let start = Instant::now();
        let mut silent = bus.dial();
        let mut slow = bus.dial();
        slow.send(&[9, 0]);
        bus.connect().flush();
        assert_eq!(bus.broker.statistics().refused["handshake_timeout"], 0);
        silent.cut(Code::HandshakeTimeout);
        slow.cut(Code::HandshakeTimeout);
        assert!(start.elapsed() >= deadline);
        bus.settled(|statistics| statistics.refused["handshake_timeout"] == 2 && statistics.connections == 0);
    });
}

/// Two of these take all the room for frames that are not whole.
const FRAME: usize = 512 * 1024;

fn with_room_for_two(handshake_timeout: Duration) -> Bus {
    Bus::with(BrokerConfig {
        max_frame: FRAME,
        total_queue_bytes: 1 << 20,
        handshake_timeout,
        ..BrokerConfig::default()
    })
}

fn begin(mut client: Client) -> Client {
    client.send(&frame_of(NEW, 0, FRAME)[..FRAME / 2]);
    client
}

#[test]
fn a_frame_that_is_begun_before_connect_takes_nobody_his_room_for_long() {
    guarded(|| {
        let bus = with_room_for_two(Duration::from_secs(60));
        let mut publisher = bus.connect();
        let _begun = [begin(bus.dial()), begin(bus.dial())];
        bus.settled(|now| now.unfinished_bytes > FRAME as u64);
        publisher.send(&frame_of(NEW, 1, FRAME));
        publisher.flush();
        assert_eq!(bus.broker.statistics().bus.messages_published, 1);
        let refused = bus.broker.statistics().refused;
        assert!(refused["unfinished_frame"] > 0 && refused["handshake_timeout"] == 0);
    });
}

#[test]
fn who_waits_for_room_before_connect_is_not_late_for_that() {
    guarded(|| {
        let bus = with_room_for_two(Duration::from_millis(400));
        // They have the room for half a second, two at a time.
        let _begun: Vec<_> = std::iter::repeat_with(|| begin(bus.connect())).take(4).collect();
        bus.settled(|now| now.unfinished_bytes > FRAME as u64);
        let mut original = bus.dial();
        original.send(&frame_of(NEW, 1, FRAME));
        let now = bus.settled(|now| now.bus.messages_published == 1);
        assert_eq!(now.refused["handshake_timeout"], 0);
    });
}

#[test]
fn places_are_limited_and_free_again_at_once() {
    guarded(|| {
        let bus = Bus::with(BrokerConfig {
            max_connections: 2,
            // Whoever had to wait to be told would give up before.
            handshake_timeout: Duration::from_secs(60),
            ..BrokerConfig::default()
        });
        let first = bus.connect();
        let _second = bus.connect();
        bus.dial().cut(Code::Busy);
        drop(first);
        bus.settled(|statistics| statistics.connections == 1);
        bus.connect().flush();
    });
}

fn with_tokens(tokens: &[&str]) -> Bus {
    Bus::with(BrokerConfig {
        tokens: tokens
            .iter()
            .map(|token| Token::new(token.as_bytes().to_vec()))
            .collect(),
        ..BrokerConfig::default()
    })
}

/// Connects up to INFO; gives both nonces.
fn challenged(bus: &Bus) -> (Client, String, String) {
    let theirs = nonce().unwrap();
    let (client, info) = bus.connect_with(&format!(r#","nonce":"{theirs}""#));
    assert_eq!(info.auth, "token");
    (client, theirs, info.nonce.unwrap())
}

#[test]
fn both_sides_prove_the_token() {
    guarded(|| {
        let bus = with_tokens(&["old old old old old old old old", "new new new new new new new new"]);
        for token in ["old old old old old old old old", "new new new new new new new new"] {
            let token = Token::new(token.into());
            let (mut client, theirs, ours) = challenged(&bus);
            client.text(&format!(
                r#"AUTH {{"proof":"{}"}}"#,
                token.proof(Role::Client, &theirs, &ours)
            ));
            let proof = client.ok().proof.unwrap();
            assert!(token.verify(Role::Broker, &theirs, &ours, &proof));
            client.subscribe(1, &["events.#"]);
            client.send(&frame(NEW, 1));
            client.message();
            client.text(r#"AUTH {"proof":"00"}"#);
            client.cut(Code::Protocol);
        }
    });
}

#[test]
fn without_proof_there_is_one_uniform_answer() {
    guarded(|| {
        let bus = with_tokens(&["a secret that nobody has guessed!"]);
        let token = Token::new("a secret that nobody has guessed!".into());
        let (_, old_theirs, old_ours) = challenged(&bus);
        let replayed = token.proof(Role::Client, &old_theirs, &old_ours);
        let mut answers = std::collections::BTreeSet::new();
        for proof in ["", "00", &replayed, &"é".repeat(9000)] {
            let (mut client, ..) = challenged(&bus);
            client.text(&format!(r#"AUTH {{"proof":"{proof}"}}"#));
            answers.insert(format!("{:?}", client.err()));
            client.ended();
        }
        for bytes in [
            frame(NEW, 1),
            crate::support::text_frame(r#"SUB {"id":1,"topic_patterns":["events.#"]}"#),
        ] {
            let (mut client, ..) = challenged(&bus);
            client.send(&bytes);
            answers.insert(format!("{:?}", client.err()));
            client.ended();
        }
        // Its own proof back, and no nonce at all.
        let (mut client, theirs, ours) = challenged(&bus);
        client.text(&format!(
            r#"AUTH {{"proof":"{}"}}"#,
            token.proof(Role::Broker, &theirs, &ours)
        ));
        answers.insert(format!("{:?}", client.err()));
        let (mut client, info) = bus.connect_with("");
        client.text(&format!(
            r#"AUTH {{"proof":"{}"}}"#,
            token.proof(Role::Client, "", &info.nonce.unwrap())
        ));
        answers.insert(format!("{:?}", client.err()));
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert!(answers.iter().all(|answer| answer.contains("AuthenticationFailed")));
        let statistics = bus.settled(|statistics| statistics.refused["authentication_failed"] >= 8);
        assert_eq!(statistics.bus.messages_published, 0);
        assert!(bus.broker.clients().is_empty());
    });
}

/// What [`another_uid_is_refused_before_a_byte_is_read`] runs as somebody else; does nothing on its own.
#[test]
fn as_somebody_else() {
    let Ok(path) = std::env::var("BUS_TEST_PATH") else {
        return;
    };
    let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
    let mut said = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut said).unwrap();
    assert_eq!(
        FromBroker::parse(&said[4..])
            .map(|text| matches!(text, FromBroker::Err(err) if err.code == Code::NotPermitted)),
        Ok(true)
    );
}

#[test]
fn another_uid_is_refused_before_a_byte_is_read() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    guarded(|| {
        let bus = Bus::new();
        let directory = bus.address.path().parent().unwrap();
        let open = |path: &std::path::Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let program = directory.join("somebody");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        open(&program, 0o755);
        open(directory, 0o755);
        open(bus.address.path(), 0o666);
        let mut somebody = std::process::Command::new(&program);
        somebody
            .args(["--exact", "handshake::as_somebody_else"])
            .env("BUS_TEST_PATH", bus.address.path());
        match somebody.uid(65_534).gid(65_534).output() {
            // Only root can become somebody else.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            output => {
                let output = output.unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
                let statistics = bus.broker.statistics();
                assert_eq!(
                    (statistics.refused["not_permitted"], statistics.refused_uids[&65_534]),
                    (1, 1)
                );
                bus.connect().flush();
            }
        }
    });
}
