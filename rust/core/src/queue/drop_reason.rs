//! Why a message is lost, and the word for it in statistics and on the wire.

/// Why a matched message did not reach its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// The reader's queue was full and its policy dropped.
    Overflow,
    /// All queues together were above `total_queue_bytes`.
    Budget,
    /// The frame is above the reader's `max_frame`.
    TooLarge,
    /// The subscription or connection was closed by its owner with this pending.
    Closed,
    /// The connection broke or was cut with this pending.
    Disconnected,
    /// The broker said so (`DROPPED`): lost in its queue for this connection.
    AtBroker,
    /// There was no memory to keep it.
    NoMemory,
}

impl DropReason {
    pub const ALL: [Self; 7] = [
        Self::Overflow,
        Self::Budget,
        Self::TooLarge,
        Self::Closed,
        Self::Disconnected,
        Self::AtBroker,
        Self::NoMemory,
    ];

    /// The word for it in statistics and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Budget => "total_queue_bytes",
            Self::NoMemory => "no_memory",
            Self::TooLarge => "max_frame",
            Self::Closed => "closed",
            Self::Disconnected => "disconnected",
            Self::AtBroker => "broker",
        }
    }
}
