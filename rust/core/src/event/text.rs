//! Owned text that never allocates from a peer's number.
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, Visitor};
use serde::ser::{Error as _, Serializer};
use serde::{Deserialize, Serialize};

use super::map::{Entries, MAX_ENTRIES, too_many};

/// A `String` whose decoder first borrows the bytes that are there, then copies them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Text(pub String);

/// The bytes of a text in a frame that was checked, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Utf8<'a>(pub &'a [u8]);

impl<'a> Utf8<'a> {
    /// As text. Validates every byte again, so not for the hot path.
    pub fn text(self) -> &'a str {
        std::str::from_utf8(self.0).unwrap_or_default()
    }
}

impl<'a> From<&'a str> for Utf8<'a> {
    #[inline]
    fn from(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

impl AsRef<[u8]> for Utf8<'_> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Utf8<'a> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&str>::deserialize(deserializer).map(|text| Self(text.as_bytes()))
    }
}

/// An owned map in wire order. A repeated key is kept here; readers let the last one win.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextMap(pub Vec<(Text, Text)>);

impl std::ops::Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl From<String> for Text {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl<'de> Deserialize<'de> for Text {
    /// Asks for borrowed text, never for an owned `String`: a decoder makes room for the announced length of the latter.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Text, E> {
        Ok(Text(value.to_owned()))
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Text, E> {
        Ok(Text(value))
    }
}

impl Serialize for TextMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.len() > MAX_ENTRIES {
            return Err(S::Error::custom(too_many(self.0.len())));
        }
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl<'de> Deserialize<'de> for TextMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_map(Entries::<(Text, Text)>(PhantomData))
            .map(Self)
    }
}
