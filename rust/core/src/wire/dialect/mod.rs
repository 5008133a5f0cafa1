//! Dialects: how values become bytes. Adding one touches this folder only.
//!
//! A dialect is a module with the same three functions, generic over serde, and one line in each `match` here. A
//! generation whose *types* differ (an id in place of `CorrelationMetadata`, a field fewer in `EventSubscription`) is an
//! adapter around the serializer of its codec that knows these structs by name; the types themselves stay as they are.
//! Every decoder borrows, refuses trailing bytes, and allocates nothing for an announced length.

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
            Self::Bincode => bincode::NAME,
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|dialect| dialect.name() == name)
    }

    /// Appends the encoding of `value`; on error `out` is as before.
    #[inline]
    pub fn encode<T: Serialize + ?Sized>(self, value: &T, out: &mut Vec<u8>) -> crate::Result<()> {
        match self {
            Self::Bincode => bincode::encode(value, out),
        }
    }

    /// How many bytes [`encode`](Self::encode) would append; the same errors.
    #[inline]
    pub fn encoded_len<T: Serialize + ?Sized>(self, value: &T) -> crate::Result<usize> {
        match self {
            Self::Bincode => bincode::encoded_len(value),
        }
    }

    /// Decodes `bytes` whole: trailing bytes are refused.
    #[inline]
    pub fn decode<'de, T: Deserialize<'de>>(self, bytes: &'de [u8]) -> Result<T, DecodeError> {
        match self {
            Self::Bincode => bincode::decode(bytes),
        }
    }
}
