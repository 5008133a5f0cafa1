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
    #[error("control text of {size} bytes is above the limit of {MAX_TEXT}")]
    TextTooLarge { size: usize },
    #[error("empty frame")]
    Empty,
    #[error("unknown frame kind {0:#04x}")]
    UnknownKind(u8),
}

impl From<FrameError> for Error {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::TooLarge { size, limit } => Self::FrameTooLarge { size, limit },
            FrameError::TextTooLarge { size } => Self::TextTooLarge { size, limit: MAX_TEXT },
            other => Self::Protocol(other.to_string()),
        }
    }
}

impl Kind {
    #[inline]
    pub(super) const fn of(first: u8) -> Option<Self> {
        match first {
            0x10 => Some(Self::Message),
            b'A'..=b'Z' => Some(Self::Text),
            b'0'..=b'9' | b'a'..=b'f' => Some(Self::AuthText),
            _ => None,
        }
    }
}

/// Bytes of the first frame of `buf`, prefix included, as its sender says; `None` while that has not come.
#[inline]
pub fn claimed_len(buf: &[u8]) -> Option<usize> {
    let size = u32::from_le_bytes(*buf.first_chunk::<PREFIX>()?);
    Some(usize::try_from(size).unwrap_or(usize::MAX).saturating_add(PREFIX))
}

/// Whether the first frame of `buf` is a message, as its first byte says; false while that has not come.
pub fn is_message(buf: &[u8]) -> bool {
    buf.get(PREFIX).copied().and_then(Kind::of) == Some(Kind::Message)
}

/// The frames of `run`, all of them whole: each with its prefix, and its body alone.
#[inline]
pub fn split(run: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = run;
    std::iter::from_fn(move || {
        let (frame, behind) = rest.split_at_checked(claimed_len(rest)?)?;
        rest = behind;
        Some((frame, frame.get(PREFIX..)?))
    })
}

/// The first frame of `buf`: its kind and its body (the whole frame is `PREFIX + body.len()` bytes), or `None` while bytes
/// are missing. Refuses as soon as the prefix (and for sizes between `max_frame` and [`MAX_TEXT`] the first byte) shows it.
#[inline]
pub fn next(buf: &[u8], max_frame: usize) -> Result<Option<(Kind, &[u8])>, FrameError> {
    let Some((prefix, rest)) = buf.split_first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    // A size that this machine cannot count is above every limit.
    let size = usize::try_from(u32::from_le_bytes(*prefix)).unwrap_or(usize::MAX);
    if size == 0 {
        return Err(FrameError::Empty);
    }
    if size > max_frame.max(MAX_TEXT) {
        return Err(too_large(size, max_frame, rest.first().copied()));
    }
    let Some(first) = rest.first() else {
        return Ok(None);
    };
    let kind = Kind::of(*first).ok_or(FrameError::UnknownKind(*first))?;
    match kind {
        Kind::Message if size > max_frame => Err(FrameError::TooLarge { size, limit: max_frame }),
        Kind::Text | Kind::AuthText if size > MAX_TEXT => Err(FrameError::TextTooLarge { size }),
        _ => Ok(rest.get(..size).map(|body| (kind, body))),
    }
}

/// For a frame above every limit: names the one that applies to its kind, if that is known, since each is raised in another way.
#[cold]
pub(super) fn too_large(size: usize, max_frame: usize, first: Option<u8>) -> FrameError {
    let limit = match first.and_then(Kind::of) {
        Some(Kind::Text | Kind::AuthText) => return FrameError::TextTooLarge { size },
        Some(Kind::Message) => max_frame,
        None => max_frame.max(MAX_TEXT),
    };
    FrameError::TooLarge { size, limit }
}
