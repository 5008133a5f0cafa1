//! How a session ends: with a goodbye behind what is queued, with a reason in place of it, because the peer is gone, or because the system
//! does not let it be written to.
//!
//! Guarantee: whichever it is, every message that matched is delivered or counted as lost, for the reason of each subscription.

use std::sync::Arc;

use bytes::Bytes;

use super::final_read::FinalReadStep;
use super::{Session, Stage, Stop, with_read};
use crate::broker::statistics::Refusal;
use crate::error::Error;
use crate::queue::DropReason;
use crate::transport::is_gone;
use crate::wire::text::{Bye, Code, ErrText, FromBroker};

impl Session {
    /// An operator wants this client disconnected. One that is leaving already has been told why, or has said goodbye itself; it is sent
    /// nothing but that.
    pub(super) fn disconnect_as_requested(&mut self) {
        if self.stage == Stage::Open {
            self.cut(Code::DisconnectedByOperator, "an operator has disconnected this client");
        } else {
            self.end_with(None);
        }
    }

    /// Drops what is queued, except a frame that is half written.
    fn end_with(&mut self, last: Option<Bytes>) {
        let dropped = self.connection.queue.end_with(last, |id| self.why_lost(id));
        self.lost_at_end += self.shared.undelivered(dropped);
    }

    /// Says goodbye behind what is queued.
    pub(super) fn leave(&mut self, bye: Bye) {
        let frame = Bytes::from(FromBroker::Bye(bye).frame());
        let readers = self.shared.change_readers();
        self.connection.queue.change(|_| {
            readers.leave(&self.connection.sink);
            ((), Some(frame))
        });
        self.connection.queue.finish();
        self.begin_leaving();
    }

    /// Says why, and ends. What is queued is dropped, except a frame that is half written.
    pub(super) fn cut(&mut self, code: Code, message: &str) {
        self.cut_for(Refusal::of(code), code, message);
    }

    /// The same for bytes against the protocol.
    pub(super) fn cut_by(&mut self, error: &Error) {
        let ErrText { code, message, .. } = ErrText::from(error);
        self.cut(code, &message);
    }

    pub(super) fn cut_for(&mut self, reason: Refusal, code: Code, message: &str) {
        if self.stage != Stage::Open {
            return;
        }
        self.tell_refusals();
        self.log_end(reason, format_args!("connection cut: {message}"));
        let frame = Bytes::from(FromBroker::Err(ErrText::new(code, message)).frame());
        self.shared.change_readers().leave(&self.connection.sink);
        self.end_with(Some(frame));
        self.begin_leaving();
    }

    fn begin_leaving(&mut self) {
        self.stage = Stage::Leaving;
        self.pending = Vec::new();
        self.meter = None;
        self.claim.give_back();
        self.shared.quiesce(&self.connection);
        self.start_write_timeout();
    }

    /// Sees to it that a session does not go on without being written to. What the peer has sent before is still read and routed.
    pub(super) fn check_writing(&mut self) {
        if self.connection.write_error().is_none() {
            return;
        }
        if self.stage == Stage::Leaving {
            self.stage = Stage::Ended;
        }
        if self.stage != Stage::Open {
            return;
        }
        self.hang_up();
        let connection = Arc::clone(&self.connection);
        let Some(error) = connection.write_error() else {
            return;
        };
        if !is_gone(error) && self.stop != Some(Stop::Turn) {
            // The peer would wait for ever for what is lost to it; the end of the connection makes it dial again.
            self.log_end(
                reason_of(error),
                format_args!("connection ended: the system does not let it be written to: {error}"),
            );
            self.stage = Stage::Ended;
        } else if self.stage == Stage::Leaving {
            self.stage = Stage::Ended;
        }
    }

    /// Counts why a connection ends, and logs it if it is time.
    fn log_end(&self, reason: Refusal, message: std::fmt::Arguments<'_>) {
        if let Some(suppressed) = self.shared.counters.note_and_log(reason) {
            tracing::warn!(
                target: "daemoneye_eventbus::broker",
                reason = reason.name(),
                client = %self.connection.name,
                uid = self.connection.peer.uid,
                pid = self.connection.peer.pid,
                suppressed,
                "{message}"
            );
        }
    }

    /// The peer is gone: its subscriptions end now. What it has sent before is still read and routed. Unless something stops that, what the
    /// kernel has of it is read before the account is settled: an UNSUB or BYE in it makes what is lost `closed` instead of `disconnected`.
    pub(super) fn hang_up(&mut self) {
        if !self.connection.queue.is_closed() {
            self.shared.change_readers().leave(&self.connection.sink);
            self.connection.queue.break_off();
        }
        self.writable = None;
        while self.reads()
            && !self.connection.queue.is_empty()
            && let FinalReadStep::Read(len) = self.final_read.step(&self.connection.stream)
        {
            with_read(len, |data| self.take(data));
        }
        if self.stop != Some(Stop::Turn) {
            let dropped = self.connection.queue.discard(|id| self.why_lost(id));
            self.lost_at_end += self.shared.undelivered(dropped);
        }
    }

    /// What a subscription has not got, when the connection ends.
    pub(super) fn why_lost(&self, id: u64) -> DropReason {
        if self.subscriptions.contains_key(&id) {
            DropReason::Disconnected
        } else {
            DropReason::Closed
        }
    }
}

/// What ends a connection whose peer is there and cannot be written to. The queue has no memory for what it must tell; anything else is the
/// system's.
fn reason_of(error: &std::io::Error) -> Refusal {
    match error.raw_os_error() {
        None => Refusal::NoMemory,
        Some(_) => Refusal::WriteFailed,
    }
}
