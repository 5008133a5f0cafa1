//! Frames: `u32` little-endian length, then the body. Splits a byte stream in place; allocates nothing.
use crate::error::Error;

/// Bytes of the length prefix.
pub const PREFIX: usize = 4;
/// Control texts may always be this large, whatever `max_frame` says.
pub const MAX_TEXT: usize = 64 * 1024;
pub const DEFAULT_MAX_FRAME: usize = 1024 * 1024;

/// What the first byte of a body says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Message,
    Text,
    AuthText,
}

/// Why a stream cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("frame of {size} bytes is above the limit of {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("empty frame")]
    Empty,
    #[error("unknown frame kind {0:#04x}")]
    UnknownKind(u8),
}

impl From<FrameError> for Error {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::TooLarge { size, limit } => Self::FrameTooLarge { size, limit },
            other => Self::Protocol(other.to_string()),
        }
    }
}

/// The first frame of `buf`: its kind and its body (the whole frame is `PREFIX + body.len()` bytes), or `None` while bytes
/// are missing. Refuses as soon as the prefix (and for sizes between `max_frame` and [`MAX_TEXT`] the first byte) shows it.
pub fn next(_buf: &[u8], _max_frame: usize) -> Result<Option<(Kind, &[u8])>, FrameError> {
    todo!()
}
