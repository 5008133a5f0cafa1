//! String maps as they are met on the wire: entries in the order given, never sized by a peer's number.
use serde::{Deserialize, Serialize};

/// The most entries one metadata map may have on this bus.
pub const MAX_ENTRIES: usize = 4096;

/// The entries of a map, borrowed, in wire order. A repeated key is kept here; readers let the last one win.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Map<'a>(pub Vec<(&'a str, &'a str)>);

/// Decodes a map by walking over it: every entry checked, none kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Walk;

impl Serialize for Map<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Map<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        todo!()
    }
}

impl<'de> Deserialize<'de> for Walk {
    fn deserialize<D: serde::Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        todo!()
    }
}
