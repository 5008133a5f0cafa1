//! From one dialect to another, for a reader that speaks another than the publisher.
use super::frame::PREFIX;
use super::{Dialect, Draft, Payload, envelope, read};
use crate::error::{Error, Result};

/// The whole frame (prefix and body) that says in `to` what `body` says in `from`, the event in the payload included. Other
/// payloads are kept as they are. What `to` cannot express is an error, and `from == to` is a copy that checks nothing. The
/// size may differ: whoever has a limit compares the result.
pub fn translate(from: Dialect, to: Dialect, body: &[u8]) -> Result<Vec<u8>> {
    let mut frame = vec![0; PREFIX];
    if from == to {
        frame.extend_from_slice(body);
    } else {
        let (message, event) = read(from, body)?;
        let draft = Draft {
            id: message.id,
            topic: message.topic,
            correlation_metadata: message.correlation_metadata,
            payload: event.as_ref().map_or(Payload::Control(message.payload), Payload::Event),
            sequence: message.sequence,
            timestamp: message.timestamp,
        };
        envelope::encode(to, &draft, message.message_type, &mut frame)?;
    }
    let size = frame.len().saturating_sub(PREFIX);
    let prefix = u32::try_from(size).map_err(|_| Error::FrameTooLarge {
        size,
        limit: usize::try_from(u32::MAX).unwrap_or(usize::MAX),
    })?;
    for (byte, of_prefix) in frame.iter_mut().zip(prefix.to_le_bytes()) {
        *byte = of_prefix;
    }
    Ok(frame)
}
