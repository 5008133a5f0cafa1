//! Brokers that are to prove a token, and what a client makes of those that do not.

use std::sync::Arc;
use std::time::Duration;

use daemoneye_eventbus_core::Error;
use daemoneye_eventbus_core::client::{ClientConfig, Link, Reader, State};
use daemoneye_eventbus_core::queue::Wake;
use daemoneye_eventbus_core::wire::auth::{Role, Token};
use daemoneye_eventbus_core::wire::text::{FromBroker, FromClient, Info, OkText};

use crate::support::{ScriptedBroker, TestWaker, broker_info, next_text};

const NONCE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn token() -> Token {
    Token::new(b"token of at least sixteen bytes".to_vec())
}

fn open(broker: &ScriptedBroker, token: Option<Token>) -> (Link, Arc<TestWaker>) {
    let config = ClientConfig {
        token,
        ..ClientConfig::default()
    };
    open_with(broker, config)
}

fn open_with(broker: &ScriptedBroker, config: ClientConfig) -> (Link, Arc<TestWaker>) {
    let waker = Arc::new(TestWaker::default());
    let host: Arc<dyn Wake> = Arc::<TestWaker>::clone(&waker);
    let link = Link::open(broker.place.address.clone(), config, Reader::Link, host).unwrap();
    (link, waker)
}

/// What becomes of a link whose broker answers CONNECT and then, if it is asked, AUTH.
fn handshake_outcome(
    token: Option<Token>,
    info: Info,
    prove: impl Fn(&str, &str) -> Option<String>,
) -> (State, Option<Error>) {
    let broker = ScriptedBroker::new();
    let asks = token.is_some() && info.auth == "token" && info.nonce.is_some();
    let (link, waker) = open(&broker, token);
    let client = broker.accept();
    let mut read = Vec::new();
    let FromClient::Connect(connect) = next_text(&broker, &client, &mut read) else {
        panic!("CONNECT is first")
    };
    broker.send(&client, &FromBroker::Info(Box::new(info)).frame());
    if asks {
        let FromClient::Auth(auth) = next_text(&broker, &client, &mut read) else {
            panic!("AUTH is next")
        };
        assert_eq!(link.state(), State::Connecting);
        let nonce = connect.nonce.unwrap();
        assert!(self::token().verify(Role::Client, &nonce, NONCE, &auth.proof));
        let ok = OkText {
            proof: prove(&nonce, &auth.proof),
            ..OkText::default()
        };
        broker.send(&client, &FromBroker::Ok(ok).frame());
    }
    waker.until("decided", || link.state() != State::Connecting);
    (link.state(), link.cause())
}

fn info_with_token() -> Info {
    Info {
        nonce: Some(NONCE.to_owned()),
        auth: "token".to_owned(),
        ..broker_info(30.0)
    }
}

#[test]
fn a_client_with_a_token_stays_with_no_broker_that_does_not_prove_it() {
    type Prove = fn(&str, &str) -> Option<String>;
    let right = |nonce: &str, _: &str| Some(token().proof(Role::Broker, nonce, NONCE));
    assert_eq!(
        handshake_outcome(Some(token()), info_with_token(), right),
        (State::Connected, None)
    );
    let wrong: [(&str, Prove); 5] = [
        ("none", |_, _| None),
        ("no hash", |_, _| Some("yes".to_owned())),
        ("of the client, sent back", |_, own| Some(own.to_owned())),
        ("of another token", |nonce, _| {
            Some(Token::new(b"another of sixteen bytes".to_vec()).proof(Role::Broker, nonce, NONCE))
        }),
        ("of another connection", |_, _| {
            Some(token().proof(Role::Broker, NONCE, NONCE))
        }),
    ];
    for (what, prove) in wrong {
        let (state, cause) = handshake_outcome(Some(token()), info_with_token(), prove);
        assert_eq!(state, State::Closed, "{what}");
        assert!(
            matches!(cause, Some(Error::AuthenticationFailed(_))),
            "{what}: {cause:?}"
        );
    }
}

#[test]
fn a_token_on_one_side_alone_connects_nobody() {
    let without_nonce = Info {
        nonce: None,
        ..info_with_token()
    };
    let of_another_kind = || Info {
        auth: "certificate".to_owned(),
        ..info_with_token()
    };
    for (token, info, why) in [
        (Some(token()), broker_info(30.0), "does not ask for the token"),
        (Some(token()), without_nonce, "without the nonce"),
        (
            Some(token()),
            of_another_kind(),
            "a kind that this client does not know",
        ),
        (None, of_another_kind(), "a kind that this client does not know"),
        (None, info_with_token(), "this client has none"),
    ] {
        let (state, cause) = handshake_outcome(token, info, |_, _| None);
        assert_eq!(state, State::Closed);
        let Some(Error::AuthenticationFailed(text)) = cause else {
            panic!("{cause:?}")
        };
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn who_leaves_the_proof_without_an_answer_is_not_told_to_have_left_connect_so() {
    let broker = ScriptedBroker::new();
    let config = ClientConfig {
        token: Some(token()),
        connect_timeout: Duration::from_millis(300),
        ..ClientConfig::default()
    };
    let (link, waker) = open_with(&broker, config);
    let client = broker.accept();
    let mut read = Vec::new();
    assert!(matches!(next_text(&broker, &client, &mut read), FromClient::Connect(_)));
    broker.send(&client, &FromBroker::Info(Box::new(info_with_token())).frame());
    assert!(matches!(next_text(&broker, &client, &mut read), FromClient::Auth(_)));
    waker.until("given up", || link.state() == State::Closed);
    let Some(Error::ConnectTimeout { cause, .. }) = link.cause() else {
        panic!("{:?}", link.cause())
    };
    assert!(cause.contains("our proof of the token"), "{cause}");
}

#[test]
fn who_answers_with_another_protocol_or_dialect_than_was_asked_is_no_broker() {
    let newer = Info {
        protocol: 2,
        ..broker_info(30.0)
    };
    let other = Info {
        dialect: "postcard".to_owned(),
        ..broker_info(30.0)
    };
    for info in [newer, other] {
        let (state, cause) = handshake_outcome(None, info, |_, _| None);
        assert_eq!(state, State::Closed);
        assert!(matches!(cause, Some(Error::Protocol(_))), "{cause:?}");
    }
}
