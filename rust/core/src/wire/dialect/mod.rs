//! Dialects: how values become bytes. Adding one touches this folder only.

mod bincode;

use serde::{Deserialize, Serialize};

use crate::error::DecodeError;

/// The encodings that the bus speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// bincode 2 `config::standard()`: the default between native peers.
    Bincode,
}

impl Dialect {
    pub const ALL: &'static [Self] = &[Self::Bincode];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Bincode => "bincode",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|dialect| dialect.name() == name)
    }

    /// Appends the encoding of `value`.
    pub fn encode<T: Serialize + ?Sized>(self, _value: &T, _out: &mut Vec<u8>) -> crate::Result<()> {
        todo!()
    }

    pub fn encoded_len<T: Serialize + ?Sized>(self, _value: &T) -> crate::Result<usize> {
        todo!()
    }

    /// Decodes `bytes` whole: trailing bytes are refused.
    pub fn decode<'de, T: Deserialize<'de>>(self, _bytes: &'de [u8]) -> Result<T, DecodeError> {
        todo!()
    }
}
