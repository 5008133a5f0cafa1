//! What a peer of the original is to the others: one who is sent what it is subscribed to, until it goes.

use std::sync::Arc;

use crate::broker::connection::Connection;
use crate::broker::shared::Shared;
use crate::queue::DropReason;
use crate::transport::Stream;

/// The peer as a reader; dropping it settles the account and ends the connection, unless that goes on as a native one.
pub(super) struct Reader {
    pub(super) shared: Arc<Shared>,
    pub(super) stream: Arc<Stream>,
    /// `None` until the peer is known to be who it should.
    pub(super) connection: Option<Arc<Connection>>,
    pub(super) hands_over: bool,
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.shared.retire(&connection, 0, |_| DropReason::Disconnected);
        }
        if !self.hands_over {
            self.stream.shut_down();
        }
    }
}
