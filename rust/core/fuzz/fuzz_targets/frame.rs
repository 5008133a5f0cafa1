//! The frame reader: the same frames however a stream is split, none above the limit, no error that more bytes would undo. Only what a
//! frame above every limit is told depends on whether its first byte has come, which says whose limit that is.
#![no_main]

use daemoneye_eventbus_core::wire::frame::{self, FrameError, Kind, MAX_TEXT, PREFIX};
use libfuzzer_sys::fuzz_target;

type Frames = (Vec<(Kind, Vec<u8>)>, Option<FrameError>);

fn read(stream: &[u8], pieces: impl Iterator<Item = usize>, max_frame: usize) -> Frames {
    let (mut buffer, mut found, mut rest) = (Vec::new(), Vec::new(), stream);
    for piece in pieces.chain([usize::MAX]) {
        let (now, later) = rest.split_at(piece.min(rest.len()));
        rest = later;
        buffer.extend_from_slice(now);
        let mut start = 0;
        loop {
            match frame::next(&buffer[start..], max_frame) {
                Ok(Some((kind, body))) => {
                    let limit = if kind == Kind::Message { max_frame } else { MAX_TEXT };
                    assert!(!body.is_empty() && body.len() <= limit);
                    found.push((kind, body.to_vec()));
                    start += PREFIX + body.len();
                }
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
        buffer.drain(..start);
    }
    (found, None)
}

/// The frames, and the error without the limit that it names if every limit is exceeded.
fn alike((found, error): Frames, max_frame: usize) -> Frames {
    let most = max_frame.max(MAX_TEXT);
    let error = error.map(|error| match error {
        FrameError::TextTooLarge { size } | FrameError::TooLarge { size, .. } if size > most => {
            FrameError::TooLarge { size, limit: most }
        }
        error => error,
    });
    (found, error)
}

fuzz_target!(|data: &[u8]| {
    let Some(([limit, count], rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let max_frame = [64, 1024, MAX_TEXT - 1, MAX_TEXT, MAX_TEXT + 1, 1 << 20][usize::from(limit % 6)];
    let (cuts, stream) = rest.split_at(usize::from(count % 32).min(rest.len()));
    let whole = alike(read(stream, std::iter::empty(), max_frame), max_frame);
    let cut = read(stream, cuts.iter().map(|cut| usize::from(*cut)), max_frame);
    assert_eq!(whole, alike(cut, max_frame));
    let bytewise = read(stream, std::iter::repeat_n(1, stream.len()), max_frame);
    assert_eq!(whole, alike(bytewise, max_frame));
});
