//! The frames of the original, which has no tags: what one is, is found by looking.
//!
//! Either side of the original may send them: a client that dialled us, a broker that dialled us, a broker that we dialled.
use super::auth::{ORIGINAL_REQUEST, is_nonce};
use super::frame::{self, FrameError, Kind, MAX_TEXT, PREFIX};

/// What a frame of the original is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginalFrame<'a> {
    Ping,
    Pong,
    /// The proof of a token, in either order (`PING:HEX`, or `HEX:` and anything): the 64 hex digits.
    Proof(&'a str),
    /// Begins like a message; whether it is one is for a dialect to say.
    Message,
    /// A native verb: the peer is no original, or no longer.
    Connect,
    /// A payload without envelope, which the original's broker sends by `route_one_to_one`. May be empty.
    BarePayload,
}

impl<'a> OriginalFrame<'a> {
    pub fn classify(body: &'a [u8]) -> Self {
        match body {
            b"PING" => Self::Ping,
            b"PONG" => Self::Pong,
            [0x10, ..] => Self::Message,
            [b'C', b'O', b'N', b'N', b'E', b'C', b'T', ..] => Self::Connect,
            _ => proof(body).map_or(Self::BarePayload, Self::Proof),
        }
    }
}

fn proof(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok().filter(|text| text.len() <= MAX_TEXT)?;
    let (before, behind) = text.split_once(':')?;
    if before == ORIGINAL_REQUEST {
        return Some(behind);
    }
    is_nonce(before).then_some(before)
}

/// The first frame of `buf`, whatever it is (the whole frame is `PREFIX + body.len()` bytes), or `None` while bytes are missing. A
/// message may have `max_frame` bytes, anything else [`MAX_TEXT`] too.
pub fn next(buf: &[u8], max_frame: usize) -> Result<Option<&[u8]>, FrameError> {
    let Some((prefix, rest)) = buf.split_first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    let size = usize::try_from(u32::from_le_bytes(*prefix)).unwrap_or(usize::MAX);
    let first = rest.first().copied();
    if size > max_frame.max(MAX_TEXT) || size > max_frame && first.and_then(Kind::of) == Some(Kind::Message) {
        return Err(frame::too_large(size, max_frame, first));
    }
    Ok(rest.get(..size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_what_it_looks_like() {
        let hex = "54169902e229d87a48e6656c4bc4f5f318c70971e7a1d1795d059dd97aa46623";
        let (ours, theirs) = (format!("{hex}:anything"), format!("PING:{hex}"));
        let cases: [(&[u8], OriginalFrame<'_>); 11] = [
            (b"PING", OriginalFrame::Ping),
            (b"PONG", OriginalFrame::Pong),
            (b"PING ", OriginalFrame::BarePayload),
            (b"\x10xyz", OriginalFrame::Message),
            (b"CONNECT {}", OriginalFrame::Connect),
            (b"direct-bytes", OriginalFrame::BarePayload),
            (b"", OriginalFrame::BarePayload),
            (b"abc:PING", OriginalFrame::BarePayload),
            (ours.as_bytes(), OriginalFrame::Proof(hex)),
            (theirs.as_bytes(), OriginalFrame::Proof(hex)),
            (b"PING:", OriginalFrame::Proof("")),
        ];
        for (body, expected) in cases {
            assert_eq!(OriginalFrame::classify(body), expected, "{body:?}");
        }
    }

    #[test]
    fn frames_are_split_whatever_they_are() {
        assert_eq!(next(&[0, 0, 0, 0], 10), Ok(Some(&[][..])));
        assert_eq!(next(&[2, 0, 0, 0, 0xff], 10), Ok(None));
        assert_eq!(next(&[1, 0, 0, 0, 0xff, 7], 10), Ok(Some(&[0xff][..])));
        assert!(next(&[0, 0, 2, 0], 10).is_err());
        assert_eq!(next(&[11, 0, 0, 0, b'x'], 10), Ok(None));
        let too_large = FrameError::TooLarge { size: 11, limit: 10 };
        assert_eq!(next(&[11, 0, 0, 0, 0x10], 10), Err(too_large));
    }
}
