//! From `CONNECT` to a session: `INFO`, and the proof of a token where one is set.
//!
//! Whoever fails the proof gets one uniform answer, later with each failure of its uid.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::entry::{Entry, Fault, refuse};
use super::final_read::FinalRead;
use super::handshake_reader::HandshakeReader;
use super::{Session, Stage, blocks, with_read};
use crate::broker::config::BrokerConfig;
use crate::broker::connection::{Connection, Terms};
use crate::broker::connection_limits::ConnectionPermit;
use crate::broker::read_room::Claim;
use crate::broker::route::Outlet;
use crate::broker::shared::Shared;
use crate::broker::statistics::Refusal;
use crate::queue::{DropReason, Limits, Wake};
use crate::wire::Dialect;
use crate::wire::auth::{self, Role};
use crate::wire::frame::{self, Kind, PREFIX};
use crate::wire::text::{Code, Connect, ErrText, FromBroker, FromClient, Info, MAX_CLIENT_NAME, OkText, PROTOCOL};

/// Agrees with a peer who has said `CONNECT` on how to talk.
pub(super) async fn greet(
    shared: Arc<Shared>,
    entry: Entry,
    connect: Connect,
    permit: ConnectionPermit,
) -> Option<Session> {
    let agreed = match agree(&shared, connect) {
        Ok(agreed) => agreed,
        Err(fault) => {
            refuse(&shared, &entry.stream, fault);
            return None;
        }
    };
    let session = Session::open(&shared, entry, agreed, permit);
    session.authenticate().await
}

/// What `CONNECT` and the broker's limits come to.
struct Agreed {
    connect: Connect,
    dialect: Dialect,
    max_frame: usize,
    /// Ours; every INFO has one, whether anything is proved with it or not.
    nonce: String,
    /// Both nonces, where a proof is asked for.
    nonces: Option<(String, String)>,
}

fn agree(shared: &Shared, connect: Connect) -> Result<Agreed, Fault> {
    let lowest = connect.min_protocol.unwrap_or(connect.protocol);
    if connect.protocol < 1 || lowest > PROTOCOL {
        let mut err = ErrText::new(
            Code::UnsupportedVersion,
            format!("this broker speaks protocol {PROTOCOL}; use a client of that version"),
        );
        err.highest = Some(PROTOCOL);
        return Err(Fault::Answer(Box::new(err)));
    }
    let dialect = Dialect::for_connection(&connect.dialect)
        .map_err(|known| Fault::new(Code::UnsupportedDialect, format!("this broker speaks {known}")))?;
    if connect.client.len() > MAX_CLIENT_NAME {
        return Err(Fault::new(
            Code::Protocol,
            format!("CONNECT: client is longer than {MAX_CLIENT_NAME} bytes; shorten it"),
        ));
    }
    let most = shared.config.max_frame;
    let max_frame = connect
        .max_frame
        .map_or(most, |asked| usize::try_from(asked).unwrap_or(usize::MAX).min(most));
    let nonce = auth::nonce()?;
    let asks = !shared.config.tokens.is_empty();
    let nonces = asks.then(|| (connect.nonce.clone().unwrap_or_default(), nonce.clone()));
    Ok(Agreed {
        connect,
        dialect,
        max_frame,
        nonce,
        nonces,
    })
}

impl Agreed {
    fn info(&self, config: &BrokerConfig, limits: Limits, client_id: Uuid) -> Info {
        Info {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            client_id,
            dialect: self.dialect.name().to_owned(),
            max_frame: self.max_frame as u64,
            queue_messages: limits.messages as u64,
            queue_bytes: limits.bytes as u64,
            max_patterns_per_client: config.max_patterns_per_client as u64,
            max_filter_terms: config.max_filter_terms as u64,
            max_topic_depth: config.max_topic_depth as u64,
            ping_interval: config.ping_interval.as_secs_f64(),
            nonce: Some(self.nonce.clone()),
            auth: if self.nonces.is_some() { "token" } else { "none" }.to_owned(),
            taken: true,
        }
    }
}

/// A session between `INFO` and its proof.
struct Unproven {
    session: Session,
    nonces: Option<(String, String)>,
}

impl Session {
    /// Makes the queue; `INFO` is the first thing in it.
    fn open(shared: &Arc<Shared>, entry: Entry, agreed: Agreed, permit: ConnectionPermit) -> Unproven {
        let config = &shared.config;
        let connect = &agreed.connect;
        let limits = config.queue_limits(connect.queue_messages, connect.queue_bytes);
        let terms = Terms {
            name: connect.client.clone(),
            dialect: agreed.dialect,
            max_frame: agreed.max_frame,
            limits,
            overflow: connect.overflow,
        };
        let connection = Connection::new(
            &shared.router,
            &shared.budget,
            config.stall_timeout,
            Arc::clone(&entry.stream),
            terms,
            shared.spin.sent_to(entry.stream.peer().pid),
        );
        let room: Arc<dyn Wake> = Arc::clone(&connection.waker) as _;
        let block = blocks(connect.congestion);
        let session = Self {
            block,
            readable: entry.readable,
            stage: Stage::Open,
            pending: entry.pending,
            claim: entry.claim,
            stop: None,
            waiting: None,
            waits_with: 0,
            lost_at_end: 0,
            ingest: super::Ingest::new(shared.config.max_topic_depth),
            rights: shared.rights(&connection.stream.user(), None),
            meter: shared
                .rates
                .meter(&config.rate_limits, connection.peer.uid, block, &room),
            room,
            refusals: None,
            subscriptions: hashbrown::HashMap::new(),
            clock: super::Clock::new(),
            sent_when_heard: 0,
            writable: None,
            read_this_turn: 0,
            spent_this_turn: Duration::ZERO,
            final_read: FinalRead::default(),
            _permit: permit,
            connection,
            shared: Arc::clone(shared),
        };
        let info = agreed.info(config, limits, session.connection.id);
        // Whoever has read its INFO can be found.
        if agreed.nonces.is_none() {
            shared.register(&session.connection);
        }
        session
            .connection
            .queue
            .answer(Bytes::from(FromBroker::Info(Box::new(info)).frame()));
        session.connection.flush();
        Unproven {
            session,
            nonces: agreed.nonces,
        }
    }
}

impl Unproven {
    /// Asks for the proof where one is due; whoever has passed is in the registry.
    async fn authenticate(self) -> Option<Session> {
        let Self { mut session, nonces } = self;
        if let Some((theirs, ours)) = nonces {
            let Some((proof, token)) = session.proof(&theirs, &ours).await else {
                if session.stage != Stage::Open {
                    session.connection.flush();
                    return None;
                }
                let uid = session.connection.peer.uid;
                tokio::time::sleep(session.shared.failed_proofs.note(uid)).await;
                session.refuse_proof();
                return None;
            };
            session.rights = session
                .shared
                .rights(&session.connection.stream.user(), token.as_deref());
            session.shared.register(&session.connection);
            let ok = OkText {
                proof: Some(proof),
                ..OkText::default()
            };
            session.connection.queue.answer(Bytes::from(FromBroker::Ok(ok).frame()));
        }
        if session.block {
            // From here on it may wait for full queues.
            session.claim = Claim::new(session.shared.room_of(true));
        }
        // What came together with the first frames.
        super::batch::run(|| session.take(&[]));
        Some(session)
    }
}

impl Session {
    /// Our proof and the token's name, if theirs holds. Without memory for what it says the session is cut, and no failure of its proof.
    async fn proof(&mut self, theirs: &str, ours: &str) -> Option<(String, Option<String>)> {
        let mut reader = HandshakeReader::new(self.shared.config.handshake_timeout);
        let said = loop {
            let asked = frame::next(&self.pending, 0).ok()?;
            if let Some((kind, body)) = asked {
                let text = (kind == Kind::Text).then(|| FromClient::parse(body).ok()).flatten();
                let len = PREFIX + body.len();
                self.pending.drain(..len);
                match text? {
                    FromClient::Auth(said) => break said,
                    _ => return None,
                }
            }
            let heard = reader
                .read(&self.connection.stream, &self.readable, &mut self.claim)
                .await;
            let len = heard.ok()?;
            with_read(len, |data| self.keep(data));
            if self.stage != Stage::Open {
                return None;
            }
            if !self.claim.cover(&self.pending) {
                self.claim.granted().await;
            }
        };
        let token = auth::find_token(&self.shared.config.tokens, |token| {
            token.verify(Role::Client, theirs, ours, &said.proof)
        })?;
        let name = token.name().map(str::to_owned);
        Some((token.proof(Role::Broker, theirs, ours), name))
    }

    fn refuse_proof(&self) {
        let peer = self.connection.peer;
        if let Some(suppressed) = self.shared.counters.note_and_log(Refusal::AuthenticationFailed) {
            tracing::warn!(
                target: "daemoneye_eventbus::broker",
                reason = Refusal::AuthenticationFailed.name(),
                uid = peer.uid,
                pid = peer.pid,
                suppressed,
                "connection refused: no proof of the token, or a wrong one"
            );
        }
        let err = ErrText::new(Code::AuthenticationFailed, "authentication failed");
        let frame = Bytes::from(FromBroker::Err(err).frame());
        self.connection
            .queue
            .end_with(Some(frame), |_| DropReason::Disconnected);
        self.connection.flush();
    }
}
