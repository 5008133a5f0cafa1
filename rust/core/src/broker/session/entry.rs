//! From an accepted connection to who speaks: a native client, which says `CONNECT`, or a peer of the original, which says what it
//! likes or nothing at all.
//!
//! Nothing is sent before the first frame, one `ERR` excepted; every wait for the peer has a deadline ([`super::handshake_reader`]);
//! nothing is kept for it but its first frame.

use std::sync::Arc;
use std::time::Instant;

use super::clock::unfinished_frame;
use super::handshake_reader::{HandshakeReader, ReadFailure};
use super::ingest::add;
use super::with_read;
use crate::broker::connection_limits::OriginalPermit;
use crate::broker::read_room::Claim;
use crate::broker::shared::Shared;
use crate::broker::statistics::Refusal;
use crate::error::Error;
use crate::transport::{Readable, Stream};
use crate::wire;
use crate::wire::frame::{self, Kind, PREFIX};
use crate::wire::text::{Code, Connect, ErrText, FromBroker, FromClient};

/// Why there will be no session.
pub(super) enum Fault {
    /// It closed the connection.
    Closed,
    Answer(Box<ErrText>),
    /// There are as many peers of the original as may be.
    Full,
    /// Others wait for the room that its frame takes.
    BlocksOthers,
    /// There is no memory for what it says.
    NoMemory(Error),
    /// The system cannot watch the connection for something to read.
    CannotWatch(std::io::Error),
}

impl Fault {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self::Answer(Box::new(ErrText::new(code, message)))
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Answer(Box::new(ErrText::from(&error)))
    }
}

/// Bytes of a peer who is not known yet.
pub(super) struct Entry {
    pub(super) stream: Arc<Stream>,
    pub(super) readable: Readable,
    pub(super) pending: Vec<u8>,
    pub(super) claim: Claim,
    pub(super) since: Instant,
}

/// Who speaks.
pub(super) enum Newcomer {
    Native(Entry, Box<Connect>),
    /// What it has said, if anything, is still in the entry.
    Original(Entry, OriginalPermit),
}

enum First {
    Connect(Box<Connect>),
    Original,
}

/// Finds out who has come; refuses whoever may not stay.
pub(super) async fn identify(shared: &Arc<Shared>, stream: Arc<Stream>) -> Option<Newcomer> {
    let readable = match stream.readable() {
        Ok(readable) => readable,
        Err(cause) => {
            refuse(shared, &stream, Fault::CannotWatch(cause));
            return None;
        }
    };
    let mut entry = Entry {
        readable,
        stream,
        pending: Vec::new(),
        claim: Claim::new(shared.room_of(false)),
        since: Instant::now(),
    };
    let found = entry.first(shared).await.and_then(|first| match first {
        First::Connect(connect) => Ok((Some(connect), None)),
        First::Original => shared
            .connection_limits
            .acquire_original(entry.stream.peer().uid)
            .map(|permit| (None, Some(permit)))
            .ok_or(Fault::Full),
    });
    match found {
        Ok((Some(connect), _)) => Some(Newcomer::Native(entry, connect)),
        Ok((None, Some(permit))) => Some(Newcomer::Original(entry, permit)),
        Ok((None, None)) => None,
        Err(fault) => {
            refuse(shared, &entry.stream, fault);
            None
        }
    }
}

impl Entry {
    /// The first frame of the peer, whole: `CONNECT`, which is taken, or one of the original's, which is left. One that says nothing at
    /// all is the original's too.
    async fn first(&mut self, shared: &Shared) -> Result<First, Fault> {
        let (originals, limit) = (shared.config.serves_originals(), shared.config.handshake_timeout);
        let mut reader = HandshakeReader::new(limit);
        loop {
            // The first byte of the first body says who speaks, before the rest is there.
            if !originals && frame::is_message(&self.pending) {
                return Err(Fault::new(
                    Code::Protocol,
                    "a message came before CONNECT; connect first",
                ));
            }
            let max_frame = if originals { shared.config.max_frame } else { 0 };
            if let Some((kind, body)) = frame::next(&self.pending, max_frame).map_err(Error::from)? {
                let first = judge(shared, kind, body)?;
                let len = PREFIX + body.len();
                if matches!(first, First::Connect(_)) {
                    self.pending.drain(..len);
                }
                return Ok(first);
            }
            match reader.read(&self.stream, &self.readable, &mut self.claim).await {
                Ok(len) => {
                    let added = with_read(len, |data| add(&shared.headroom, &mut self.pending, data));
                    added.map_err(Fault::NoMemory)?;
                }
                Err(ReadFailure::TimedOut) if originals && self.pending.is_empty() => return Ok(First::Original),
                Err(ReadFailure::TimedOut) => {
                    let message = format!("nothing whole came within {limit:?}");
                    return Err(Fault::new(Code::HandshakeTimeout, message));
                }
                Err(ReadFailure::BlocksOthers) => return Err(Fault::BlocksOthers),
                Err(ReadFailure::Closed) => return Err(Fault::Closed),
            }
            if !self.claim.cover(&self.pending) {
                self.claim.granted().await;
            }
        }
    }
}

fn judge(shared: &Shared, kind: Kind, body: &[u8]) -> Result<First, Fault> {
    let config = &shared.config;
    match kind {
        Kind::Text => match FromClient::parse(body)? {
            FromClient::Connect(connect) => return Ok(First::Connect(Box::new(connect))),
            FromClient::Ping | FromClient::Pong | FromClient::PingProof(_) if config.serves_originals() => {}
            _ => {
                return Err(Fault::new(
                    Code::Protocol,
                    "the first frame is not CONNECT; connect first",
                ));
            }
        },
        Kind::Message if wire::verdict(body).is_some() => {}
        Kind::Message => {
            return Err(Fault::new(
                Code::Decode,
                "what came before CONNECT is a message of no dialect of the original; connect first",
            ));
        }
        Kind::AuthText if config.original_auth => {}
        Kind::AuthText => {
            return Err(Fault::new(
                Code::Protocol,
                "authentication text of the original came before CONNECT, and original_auth is off",
            ));
        }
    }
    Ok(First::Original)
}

/// Ends the attempt of a peer who comes no further.
pub(super) fn refuse(shared: &Shared, stream: &Stream, fault: Fault) {
    let (reason, err) = match fault {
        Fault::Closed => return shared.counters.note(Refusal::HandshakeIncomplete),
        Fault::Answer(err) => (Refusal::of(err.code), err),
        Fault::BlocksOthers => (
            Refusal::UnfinishedFrame,
            Box::new(ErrText::new(Code::FrameTimeout, unfinished_frame())),
        ),
        Fault::NoMemory(error) => (Refusal::NoMemory, Box::new(ErrText::new(Code::Busy, error.to_string()))),
        Fault::CannotWatch(cause) => (
            Refusal::Accept,
            Box::new(ErrText::new(
                Code::Busy,
                format!("the system cannot watch another connection: {cause}; try again later"),
            )),
        ),
        Fault::Full => (
            Refusal::BusyOriginal,
            Box::new(ErrText::new(
                Code::Busy,
                "all connections of max_original_peers are in use; say CONNECT, close one, or raise it",
            )),
        ),
    };
    turn_away(shared, stream, reason, *err);
}

/// Counts and logs a connection that is refused, and tells the peer why if the kernel takes that at once. Nothing was written before, so
/// it has room for one `ERR`.
pub(in crate::broker) fn turn_away(shared: &Shared, stream: &Stream, reason: Refusal, err: ErrText) {
    if let Some(suppressed) = shared.counters.note_and_log(reason) {
        let peer = stream.peer();
        tracing::warn!(
            target: "daemoneye_eventbus::broker",
            reason = reason.name(),
            uid = peer.uid,
            pid = peer.pid,
            suppressed,
            "connection refused: {}",
            err.message
        );
    }
    let frame = FromBroker::Err(err).frame();
    // If it cannot be told, the end of the connection says it.
    let _ = stream.try_write(&[std::io::IoSlice::new(&frame)]);
}
