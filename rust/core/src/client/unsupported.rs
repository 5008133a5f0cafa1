//! What a broker of the original cannot do for its clients, in words for whoever asks it to.
use crate::error::Error;

/// Why nothing can be published there.
pub(super) fn no_publishing() -> Error {
    Error::PublishNotSupported(
        "a broker of the original reads nothing that its clients send, so it would be lost; publish through a native broker"
            .to_owned(),
    )
}

/// Why there are no statistics.
pub(super) fn no_statistics() -> Error {
    Error::Protocol(
        "a broker of the original cannot be asked for its statistics; local_statistics() has this side's".to_owned(),
    )
}
