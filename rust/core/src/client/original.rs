//! A broker of the original at the other end: it reads no client, has no subscriptions on the wire, and sends what its own program
//! told it to.
//!
//! Model: a connection is there when it was dialled, or, with a token, when the broker has answered the proof. From then on this side
//! sends nothing but `PONG`; what arrives is matched and filtered here, in whatever dialect it comes, and delivered in the
//! configured one. The supervisor reads, not the host: the broker waits 5 s for its `PONG`, however busy the host's event loop is.

use std::borrow::Cow;
use std::io::{ErrorKind, IoSlice};
use std::sync::Arc;

use super::config::ClientConfig;
use super::handshake;
use super::inbound::{ControlEvent, Inbound};
use super::read_buffer::append_read;
use super::shared::Shared;
use crate::error::{Error, Result};
use crate::transport::{Address, DialError, Readable, Retry, Stream};
use crate::wire;
use crate::wire::auth::ORIGINAL_REQUEST;
use crate::wire::frame::PREFIX;
use crate::wire::original::{self, OriginalFrame};

const READ: usize = 64 * 1024;

/// A connection to an original broker, and what it has sent already.
pub(super) struct Dialled {
    pub(super) stream: Arc<Stream>,
    pub(super) readable: Readable,
    pub(super) leftover: Vec<u8>,
}

/// `first`: there was no connection before this.
pub(super) async fn connect(address: &Address, config: &ClientConfig, first: bool) -> Result<Dialled, DialError> {
    let retry = |action, cause| Retry::Yes.because(Error::io(action, &cause));
    let stream = Arc::new(handshake::dial(address, config)?);
    let readable = stream
        .readable()
        .map_err(|cause| retry("watching the connection", cause))?;
    let mut dialled = Dialled {
        stream,
        readable,
        leftover: Vec::new(),
    };
    if let Some(token) = &config.token {
        // The order that the original's broker accepts; the original's client sends the other, which that broker refuses.
        let text = format!("{}:{ORIGINAL_REQUEST}", token.original_proof());
        let prefix = u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
        let frame = [&prefix, text.as_bytes()].concat();
        // A new connection takes as much at once, as soon as the runtime knows it.
        loop {
            let sent = match dialled.stream.try_write(&[IoSlice::new(&frame)]) {
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock => dialled.stream.writable().await,
                Err(error) => Err(error),
            };
            sent.map_err(|cause| retry("sending the proof of the token", cause))?;
        }
        dialled.pong(address, config.max_frame, first).await?;
    }
    Ok(dialled)
}

impl Dialled {
    /// Waits for the answer to the proof; whoever did not accept it closes without a word.
    async fn pong(&mut self, address: &Address, max_frame: usize, first: bool) -> Result<(), DialError> {
        loop {
            let found = original::next(&self.leftover, max_frame)
                .map_err(|error| handshake::no_frame(address, &self.stream, error, "check the path"))?;
            if let Some(body) = found {
                let (answered, len) = (
                    OriginalFrame::classify(body) == OriginalFrame::Pong,
                    PREFIX + body.len(),
                );
                self.leftover.drain(..len);
                if answered {
                    return Ok(());
                }
                continue;
            }
            let mut chunk = [0; 4096];
            match self.readable.read_with(|| self.stream.try_read(&mut chunk)).await {
                Ok(0) => return Err(proof_rejected(first)),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Err(proof_rejected(first)),
                Ok(n) => append_read(&mut self.leftover, chunk.get(..n).unwrap_or_default())
                    .map_err(|error| Retry::Yes.because(error))?,
                Err(error) => return Err(handshake::read_failed(&error)),
            }
        }
    }
}

/// After the first connection it may as well be a broker that stops.
const fn proof_rejected(first: bool) -> DialError {
    let retry = if first { Retry::No } else { Retry::Yes };
    retry.because(Error::AuthenticationFailed(
        "the broker ended the connection at our proof; give both sides the same token",
    ))
}

/// Reads a live connection until it is lost.
pub(super) async fn maintain(shared: &Arc<Shared>, stream: &Arc<Stream>, readable: &Readable) {
    let mut chunk = vec![0; READ];
    loop {
        if !shared.connection.lock().is_of(stream) {
            return;
        }
        let blocked = shared.write_pongs();
        tokio::select! {
            () = shared.notify.notified() => {}
            writable = stream.writable(), if blocked => {
                drop(writable);
                shared.outbox.lock().disarm();
            }
            got = readable.read_with(|| stream.try_read(&mut chunk)) => {
                let connection = shared.connection.lock();
                if !connection.is_of(stream) {
                    return;
                }
                match got {
                    Ok(0) => return shared.connection_lost(connection, shared.closed_without_reason(), false),
                    Ok(n) => shared.feed(connection, chunk.get(..n).unwrap_or_default()),
                    Err(error) => return shared.connection_lost(connection, shared.read_failed(&error), false),
                }
            }
        }
        if blocked {
            shared.outbox.lock().disarm();
        }
    }
}

impl Inbound {
    /// The broker knows no subscriptions: what is subscribed here is matched here.
    pub(super) fn confirm_all(&mut self) {
        self.invalidate_routes();
        self.subscriptions.confirm_all();
    }

    /// Takes whole frames off the front of `data`; gives how many bytes were used. What is no message, or one that no native client
    /// could have published, is counted and skipped.
    pub(super) fn ingest_original(&mut self, data: &[u8], events: &mut Vec<ControlEvent>) -> Result<usize> {
        let mut at = 0;
        while let Some(body) = original::next(data.get(at..).unwrap_or_default(), self.max_frame)? {
            let frame = data.get(at..at + PREFIX + body.len()).unwrap_or_default();
            at += frame.len();
            match OriginalFrame::classify(body) {
                OriginalFrame::Ping => events.push(ControlEvent::Ping),
                OriginalFrame::Pong => {}
                OriginalFrame::Message if self.deliver_original(frame, body).is_some() => {}
                _ => self.decode_errors += 1,
            }
        }
        Ok(at)
    }

    fn deliver_original(&mut self, frame: &[u8], body: &[u8]) -> Option<()> {
        let original_dialect = wire::learn(&mut self.original_dialect, body, self.dialect)?;
        let frame = if original_dialect == self.dialect {
            Cow::Borrowed(frame)
        } else {
            Cow::Owned(wire::translate(original_dialect, self.dialect, body).ok()?)
        };
        let summary = wire::check(self.dialect, frame.get(PREFIX..)?, &mut self.topics).ok()?;
        let route = self.route(summary.topic);
        let is_event = summary.event.is_some();
        let receivers = route
            .iter()
            .filter(|inbox| is_event || inbox.subscription.include_control);
        self.deliver_filtered(&frame, receivers);
        Some(())
    }
}

impl Shared {
    /// Writes the answers that the kernel has not taken yet. True if it must be waited for.
    fn write_pongs(&self) -> bool {
        let mut outbox = self.outbox.lock();
        self.write_and_wake(&mut outbox) == super::outbox::Sent::Blocked
    }
}
