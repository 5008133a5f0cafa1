//! From a path to a connection on which the broker has answered: dial, CONNECT, INFO, and both proofs where a token is set.

use std::io;
use std::sync::Arc;

use super::config::ClientConfig;
use super::read_buffer::append_read;
use crate::error::Error;
use crate::limits::LARGEST_FRAME;
use crate::printable::printable;
use crate::transport::{self, Address, DialError, Peer, Readable, Retry, Stream};
use crate::wire::auth::{self, Role};
use crate::wire::frame::{self, FrameError, Kind, PREFIX};
use crate::wire::text::{self, Auth, Connect, FromBroker, FromClient, Info, PROTOCOL};

const TOKEN_REQUIRED: &str =
    "the broker asks for a token and this client has none; set ClientConfig.token to the broker's";
const TOKEN_NOT_REQUIRED: &str =
    "the broker does not ask for the token that this client has, so that it proves nothing; set BrokerConfig.token too";
const PROOF_UNKNOWN: &str = "the broker asks for a proof of a kind that this client does not know, or without the nonce that it takes; \
     use the broker's version of this package, or check who listens there";
const CHECK_PATH_OR_PEER: &str = "check the path; for a broker of the original, set peer=\"original\"";
const PROOF_MISSING: &str = "the broker did not prove that it holds our token; check who listens there";

/// A connection after its handshake, with the bytes that came behind that.
pub(super) struct Established {
    pub(super) stream: Arc<Stream>,
    pub(super) readable: Readable,
    pub(super) info: Info,
    pub(super) leftover: Vec<u8>,
}

/// How far a handshake has come, for whoever gives it up.
#[derive(Default)]
pub(super) struct Progress {
    /// Frames that came before the broker's answer to CONNECT.
    pub(super) skipped: u64,
    /// CONNECT is answered, and our proof of the token is sent.
    is_proving: bool,
}

impl Progress {
    /// What the broker has left without an answer.
    pub(super) const fn unanswered(&self) -> &'static str {
        if self.is_proving {
            "the broker answered CONNECT, and not our proof of the token: after wrong ones it takes its time; check the token, or \
             raise connect_timeout"
        } else {
            "something accepted the connection and did not answer CONNECT; if it is a broker of the original, \
             set peer=\"original\""
        }
    }
}

pub(super) async fn connect(
    address: &Address,
    config: &ClientConfig,
    progress: &mut Progress,
) -> Result<Established, DialError> {
    let stream = Arc::new(dial(address, config)?);
    let readable = stream
        .readable()
        .map_err(|error| Retry::Yes.because(Error::io("watching the connection", &error)))?;
    let mut texts = TextStream {
        address,
        stream,
        readable,
        buf: Vec::new(),
    };
    let nonce = match &config.token {
        Some(_) => Some(auth::nonce().map_err(|error| Retry::OnceConnected.because(error))?),
        None => None,
    };
    texts
        .send(&FromClient::Connect(Connect {
            protocol: PROTOCOL,
            min_protocol: None,
            client: config.client.clone(),
            dialect: config.dialect.name().to_owned(),
            congestion: config.congestion,
            overflow: config.broker_overflow,
            queue_messages: config.broker_queue_messages,
            queue_bytes: config.broker_queue_bytes,
            max_frame: Some(config.max_frame as u64),
            nonce: nonce.clone(),
        }))
        .await?;
    let info = loop {
        match texts.receive(config.max_frame).await? {
            Some(FromBroker::Info(info)) => break *info,
            Some(FromBroker::Bye(_)) => {
                return Err(Retry::Yes.because(Error::ConnectionLost("the broker is stopping".to_owned())));
            }
            _ => progress.skipped += 1,
        }
    };
    if info.protocol != PROTOCOL || info.dialect != config.dialect.name() {
        return Err(not_a_broker(Error::Protocol(format!(
            "the broker answered with protocol {} and dialect {}, asked were {PROTOCOL} and {}",
            info.protocol,
            printable(&info.dialect),
            config.dialect.name()
        ))));
    }
    match (&config.token, nonce, info.nonce.as_deref(), info.auth.as_str()) {
        (None, _, _, "none") => {}
        (Some(token), Some(own), Some(theirs), "token") => {
            let proof = token.proof(Role::Client, &own, theirs);
            progress.is_proving = true;
            texts.send(&FromClient::Auth(Auth { proof })).await?;
            let proved = loop {
                if let Some(FromBroker::Ok(ok)) = texts.receive(config.max_frame).await? {
                    break ok.proof;
                }
            };
            if !proved.is_some_and(|proof| token.verify(Role::Broker, &own, theirs, &proof)) {
                return Err(Retry::No.because(Error::AuthenticationFailed(PROOF_MISSING)));
            }
        }
        // A token on one side only, or a broker that will not prove itself: never go on without.
        (None, .., "token") => return Err(Retry::No.because(Error::AuthenticationFailed(TOKEN_REQUIRED))),
        (Some(_), .., "none") => return Err(Retry::No.because(Error::AuthenticationFailed(TOKEN_NOT_REQUIRED))),
        _ => return Err(Retry::No.because(Error::AuthenticationFailed(PROOF_UNKNOWN))),
    }
    Ok(Established {
        stream: texts.stream,
        readable: texts.readable,
        info,
        leftover: texts.buf,
    })
}

#[cfg(unix)]
pub(super) fn dial(address: &Address, config: &ClientConfig) -> Result<Stream, DialError> {
    match &config.server_uids {
        Some(uids) => Stream::dial(address, uids),
        None => match Peer::own_uid() {
            // The error lists whom we trust: root once.
            0 => Stream::dial(address, &[0]),
            own => Stream::dial(address, &[own, 0]),
        },
    }
}

#[cfg(windows)]
pub(super) fn dial(address: &Address, config: &ClientConfig) -> Result<Stream, DialError> {
    use crate::transport::{Sid, own_sid};

    if let Some(sids) = &config.server_sids {
        return Stream::dial(address, sids);
    }
    let own = own_sid().map_err(|cause| Retry::OnceConnected.because(Error::io("asking who we are", &cause)))?;
    let known = |text| Sid::parse("server_sids", text).map_err(|error| Retry::No.because(error));
    Stream::dial(
        address,
        &[own.clone(), known(Sid::SYSTEM)?, known(Sid::ADMINISTRATORS)?],
    )
}

/// A connection during its handshake: control texts, one at a time.
struct TextStream<'a> {
    address: &'a Address,
    stream: Arc<Stream>,
    readable: Readable,
    buf: Vec<u8>,
}

impl TextStream<'_> {
    /// A write error is not judged here: an ERR that explains it may be waiting to be read.
    async fn send(&self, text: &FromClient) -> Result<(), DialError> {
        let frame = text.frame();
        let mut rest = frame.as_slice();
        while !rest.is_empty() {
            match self.stream.try_write(&[io::IoSlice::new(rest)]) {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.stream.writable().await.is_err() {
                        return Ok(());
                    }
                }
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// The next text; `None` for a message, which nobody asked for yet.
    async fn receive(&mut self, max_frame: usize) -> Result<Option<FromBroker>, DialError> {
        loop {
            let found = frame::next(&self.buf, max_frame)
                .map_err(|error| no_frame(self.address, &self.stream, error, CHECK_PATH_OR_PEER))?;
            if let Some((kind, body)) = found {
                let text = if kind == Kind::Message {
                    None
                } else {
                    Some(FromBroker::parse(body).map_err(not_a_broker)?)
                };
                let len = PREFIX + body.len();
                self.buf.drain(..len);
                if let Some(FromBroker::Err(err)) = text {
                    return Err(refused(err));
                }
                return Ok(text);
            }
            let mut chunk = [0; 4096];
            match self.readable.read_with(|| self.stream.try_read(&mut chunk)).await {
                Ok(0) => return Err(hung_up()),
                Ok(n) => append_read(&mut self.buf, chunk.get(..n).unwrap_or_default())
                    .map_err(|error| Retry::Yes.because(error))?,
                Err(error) => return Err(read_failed(&error)),
            }
        }
    }
}

/// The peer does not speak this protocol: the path is wrong, or another program has it while the broker is away.
const fn not_a_broker(error: Error) -> DialError {
    Retry::OnceConnected.because(error)
}

/// The same, seen by what came in place of a frame. One that is only above our own limit may be a broker's.
pub(super) fn no_frame(address: &Address, stream: &Stream, found: FrameError, advice: &str) -> DialError {
    if matches!(found, FrameError::TooLarge { size, .. } if size <= LARGEST_FRAME) {
        return not_a_broker(found.into());
    }
    let why = format!("its answer is none of the bus ({found}); {advice}");
    not_a_broker(transport::no_broker(address.path(), stream.peer().pid, &why))
}

pub(super) fn hung_up() -> DialError {
    Retry::Yes.because(Error::ConnectionLost("the broker closed the connection".to_owned()))
}

pub(super) fn read_failed(cause: &io::Error) -> DialError {
    Retry::Yes.because(Error::io("reading from the broker", cause))
}

/// The broker's `ERR`, which says whether another try may help.
pub(super) fn refused(err: text::ErrText) -> DialError {
    let retry = if err.code.is_final() { Retry::No } else { Retry::Yes };
    retry.because(err.into_error(Peer::own_uid()))
}
