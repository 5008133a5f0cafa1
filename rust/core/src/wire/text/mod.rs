//! Control texts: `VERB` or `VERB {json}`. One struct per verb and direction; unknown JSON fields are ignored.
//!
//! Each struct renders itself as a whole frame and is parsed from a body; nothing here does I/O. Verbs of a newer peer are
//! kept as `Unknown`, so that they can be answered; everything else that is not as it should be is a protocol error that
//! names the verb.

mod broker;
mod client;
mod code;
mod detail;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::frame::{FrameError, MAX_TEXT, PREFIX};
use crate::error::{Error, Result};
use crate::printable::printable;

pub use broker::{Bye, Dropped, ErrText, FromBroker, Info, OkText};
pub use client::{Auth, Congestion, Connect, FromClient, Id, MAX_CLIENT_NAME, Overflow, Sub};
pub use code::Code;
pub use detail::{Client, Detail, Page, Stats};

/// The protocol that this build speaks, and the highest.
pub const PROTOCOL: u32 = 1;

/// No verb of the protocol needs more than 5 levels.
const MAX_NESTING: usize = 32;
/// What is kept of an unknown verb, in bytes.
const MAX_VERB: usize = 64;

/// A body taken apart: the verb, and the text behind the one space.
struct Parts<'a> {
    verb: &'a str,
    object: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(body: &'a [u8]) -> Result<Self> {
        if body.len() > MAX_TEXT {
            return Err(FrameError::TextTooLarge { size: body.len() }.into());
        }
        if !body.first().is_some_and(u8::is_ascii_uppercase) {
            return Err(Error::Protocol("control text does not begin with a verb".to_owned()));
        }
        let text = std::str::from_utf8(body)
            .map_err(|error| Error::Protocol(format!("control text is not UTF-8 from byte {}", error.valid_up_to())))?;
        Ok(match text.split_once(' ') {
            Some((verb, object)) => Self {
                verb,
                object: Some(object),
            },
            None => Self {
                verb: text,
                object: None,
            },
        })
    }

    /// The object of a verb that needs one.
    fn object<T: Deserialize<'a>>(&self) -> Result<T> {
        match self.object {
            Some(object) => self.parse(object),
            None => Err(self.refuse("needs one space and a JSON object")),
        }
    }

    /// The object of a verb that may stand alone.
    fn object_or_default<T: Deserialize<'a> + Default>(&self) -> Result<T> {
        self.object
            .map_or_else(|| Ok(T::default()), |object| self.parse(object))
    }

    /// `value`, for a verb that takes no object; one is ignored, since a newer peer may send it.
    fn without_object<T>(&self, value: T) -> Result<T> {
        #[derive(Default, Deserialize)]
        struct Nothing {}
        self.object_or_default::<Nothing>().map(|_| value)
    }

    fn parse<T: Deserialize<'a>>(&self, object: &'a str) -> Result<T> {
        if !object.starts_with('{') {
            return Err(self.refuse("takes one space and a JSON object"));
        }
        if too_deep(object) {
            return Err(self.refuse(&format!("nests deeper than the limit of {MAX_NESTING}")));
        }
        serde_json::from_str(object).map_err(|error| self.refuse(&error.to_string()))
    }

    fn refuse(&self, what: &str) -> Error {
        Error::Protocol(format!("{}: {}", self.verb, printable(what)))
    }

    fn unknown(&self) -> String {
        let mut end = self.verb.len().min(MAX_VERB);
        while !self.verb.is_char_boundary(end) {
            end -= 1;
        }
        self.verb.get(..end).unwrap_or_default().to_owned()
    }
}

/// Whether brackets outside of strings nest too deep; ignored fields are not limited by the parser.
fn too_deep(json: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    json.bytes().any(|byte| {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            return false;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > MAX_NESTING
    })
}

/// A whole frame: prefix, verb, and the object if there is one. Refused is what no reader takes: a map with too many entries.
fn render(verb: &str, object: Option<&impl Serialize>) -> Result<Vec<u8>> {
    let mut out = vec![0; PREFIX];
    out.extend_from_slice(verb.as_bytes());
    if let Some(object) = object {
        out.push(b' ');
        serde_json::to_writer(&mut out, object).map_err(|error| Error::Protocol(format!("{verb}: {error}")))?;
    }
    let size = u32::try_from(out.len().saturating_sub(PREFIX)).unwrap_or(u32::MAX);
    if let Some(prefix) = out.first_chunk_mut::<PREFIX>() {
        *prefix = size.to_le_bytes();
    }
    Ok(out)
}

/// The same for texts without maps of a caller, which cannot be refused.
fn frame(verb: &str, object: Option<&impl Serialize>) -> Vec<u8> {
    render(verb, object).unwrap_or_default()
}

/// Refuses a frame that the other side would refuse.
fn check_size(frame: Vec<u8>) -> Result<Vec<u8>> {
    let size = frame.len().saturating_sub(PREFIX);
    if size > MAX_TEXT {
        return Err(FrameError::TextTooLarge { size }.into());
    }
    Ok(frame)
}
