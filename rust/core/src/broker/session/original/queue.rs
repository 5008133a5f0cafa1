//! The queue of a peer of the original: made when it is known who the peer is, and made anew when it turns out to speak another dialect,
//! or to read no messages.
//!
//! Guarantee: what is dropped with a queue stays in the account of the peer.

use std::sync::Arc;
use std::time::Instant;

use super::Original;
use super::reading::Reading;
use crate::broker::connection::{Connection, OriginalPatterns, OriginalTerms, Terms};
use crate::broker::router::Interest;
use crate::broker::shared::{Phase, Shared};
use crate::broker::statistics::Totals;
use crate::topic::Pattern;

/// The body that the original's single reads take whole.
const MAX_BODY: usize = 192 * 1024;
/// The one subscription of such a peer.
const ONLY: u64 = 0;

/// Has a peer of the original sent what it is to be sent, if it reads.
pub(in crate::broker) fn subscribe(shared: &Shared, connection: &Connection, held: &OriginalPatterns) {
    if !held.is_subscribed {
        return;
    }
    let interest = Interest {
        patterns: held.patterns.clone(),
        filters: None,
        // It has no other way to ask for them than a pattern.
        include_control: true,
    };
    shared
        .change_readers()
        .subscribe(&connection.sink, ONLY, interest, None);
}

impl Original {
    /// Makes the queue; from now on the peer is sent what it is subscribed to, as far as it may subscribe that. `token`: the name of the
    /// one it has proved.
    pub(super) fn join(&mut self, token: Option<&str>) {
        self.rights = self.shared.rights(&self.stream.user(), token);
        if let Some(rights) = &self.rights {
            let may = |pattern: &Pattern| rights.refuse_subscription(std::slice::from_ref(pattern)).is_none();
            self.patterns.lock().patterns.retain(may);
        }
        let connection = self.connect_queue(Totals::default());
        subscribe(&self.shared, &connection, &self.patterns.lock());
        self.shared.register(&connection);
        self.reader.connection = Some(connection);
    }

    fn connect_queue(&self, past: Totals) -> Arc<Connection> {
        let config = &self.shared.config;
        let terms = Terms {
            name: String::new(),
            dialect: self.dialect.unwrap_or(config.original_dialect),
            max_frame: config.max_frame.min(MAX_BODY),
            limits: config.queue_limits(None, None),
            overflow: config.overflow,
        };
        let original = OriginalTerms {
            id: self.id,
            waker: Arc::clone(&self.waker),
            patterns: Arc::clone(&self.patterns),
            past,
            client_state: Arc::clone(&self.client_state),
            rights: self.rights.clone(),
        };
        Connection::original(
            &self.shared.router,
            &self.shared.budget,
            config.stall_timeout,
            Arc::clone(&self.stream),
            terms,
            original,
        )
    }

    /// The peer turned out to speak another dialect than it was spoken to in: what waits for it in that one is of no use to it.
    pub(super) fn check_dialect(&mut self) {
        let Some(old) = &self.reader.connection else { return };
        if self.dialect.is_none_or(|dialect| dialect == old.sink.dialect) || old.queue.is_partial() {
            return;
        }
        self.reader.connection = Some(self.renew_queue(old));
    }

    /// Drops what waits for the peer and begins anew, subscribed unless it would read nothing of it.
    fn renew_queue(&self, old: &Connection) -> Arc<Connection> {
        let mut held = self.patterns.lock();
        held.is_subscribed = self.reading != Reading::AnswersOnly;
        let past = self.shared.end_queue(old);
        let connection = self.connect_queue(past);
        subscribe(&self.shared, &connection, &held);
        self.shared.replace(old, &connection);
        connection
    }

    /// Whether it makes a difference that it leaves something unread.
    pub(super) fn reading_matters(&self) -> bool {
        !self.clear && self.shared.phase() == Phase::Running
    }

    /// It has checked its connection and not read the answer: a broker, that would take a message for the next one.
    pub(super) fn check_reading(&mut self, now: Instant) {
        let due = self.reading.due(self.shared.config.stall_timeout);
        if !self.reading_matters() || due.is_none_or(|due| now < due) {
            return;
        }
        self.reading = Reading::AnswersOnly;
        let peer = self.stream.peer();
        tracing::info!(
            target: "daemoneye_eventbus::broker",
            client = %self.id,
            uid = peer.uid,
            pid = peer.pid,
            "a peer of the original reads nothing but answers, as a broker does that has dialled; it is sent no messages"
        );
        if let Some(old) = &self.reader.connection {
            self.reader.connection = Some(self.renew_queue(old));
        }
    }

    /// It has read everything, and has asked for nothing since.
    pub(super) fn note_reading(&mut self) {
        let before = std::mem::replace(&mut self.reading, Reading::Continuous);
        if before == Reading::AnswersOnly
            && let Some(connection) = &self.reader.connection
        {
            let mut held = self.patterns.lock();
            held.is_subscribed = true;
            subscribe(&self.shared, connection, &held);
        }
    }
}
