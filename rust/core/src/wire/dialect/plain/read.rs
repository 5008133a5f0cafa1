//! The reader: what serde asks for is read from the bytes, in that order.
use std::marker::PhantomData;

use serde::de::value::U32Deserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

use super::{Codec, Field, ReadError};

/// What fields that are not there are read from: to this family of codecs zero bytes are whatever is empty, zero or none,
/// and no field of ours needs more of them to be so.
static ABSENT: [u8; 16] = [0; 16];

/// A place in the input.
pub(super) struct Reader<'de, C> {
    pub(super) rest: &'de [u8],
    /// Where the item last begun begins, as the number of bytes from there to the end.
    pub(super) item: usize,
    codec: PhantomData<C>,
}

impl<'de, C: Codec> Reader<'de, C> {
    pub(super) fn new(bytes: &'de [u8]) -> Self {
        Self {
            rest: bytes,
            item: bytes.len(),
            codec: PhantomData,
        }
    }

    fn begin(&mut self) {
        self.item = self.rest.len();
    }

    fn take(&mut self, wanted: usize) -> Result<&'de [u8], ReadError> {
        let (taken, rest) = self.rest.split_at_checked(wanted).ok_or_else(|| {
            let more = wanted.saturating_sub(self.rest.len());
            ReadError::custom(format_args!("{more} more bytes announced than there are"))
        })?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, ReadError> {
        self.begin();
        self.take(1).map(|taken| taken.first().copied().unwrap_or_default())
    }

    fn integer<T>(&mut self, read: impl FnOnce(&[u8]) -> Result<(T, usize), String>) -> Result<T, ReadError> {
        self.begin();
        let (value, used) = read(self.rest).map_err(ReadError::custom)?;
        self.rest = self.rest.get(used..).unwrap_or_default();
        Ok(value)
    }

    fn length(&mut self) -> Result<usize, ReadError> {
        let length = self.integer(C::u64)?;
        usize::try_from(length).map_err(|_| ReadError::custom("length is above what this machine can address"))
    }

    fn bytes(&mut self) -> Result<&'de [u8], ReadError> {
        let length = self.length()?;
        self.take(length)
    }

    fn text(&mut self) -> Result<&'de str, ReadError> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|error| ReadError {
            to_end: bytes
                .len()
                .checked_add(self.rest.len())
                .and_then(|from_start| from_start.checked_sub(error.valid_up_to())),
            reason: "text is not UTF-8".to_owned(),
        })
    }
}

impl<'de, C: Codec> Deserializer<'de> for &mut Reader<'de, C> {
    type Error = ReadError;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let _ = visitor;
        Err(ReadError::custom("no type of the bus is written like this"))
    }

    // The types of the bus have none of these.
    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u16 u128 f32 char unit unit_struct identifier ignored_any
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.byte()? {
            0 => visitor.visit_bool(false),
            1 => visitor.visit_bool(true),
            found => Err(ReadError::custom(format_args!("bool {found} is neither 0 nor 1"))),
        }
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_u8(self.byte()?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_u32(self.integer(C::u32)?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_u64(self.integer(C::u64)?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.begin();
        let bytes = self.take(size_of::<f64>())?;
        visitor.visit_f64(f64::from_le_bytes(bytes.try_into().map_err(ReadError::custom)?))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_borrowed_bytes(self.bytes()?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.byte()? {
            0 => visitor.visit_none(),
            1 => visitor.visit_some(self),
            found => Err(ReadError::custom(format_args!("option tag {found} is neither 0 nor 1"))),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let left = self.length()?;
        visitor.visit_seq(Items { reader: self, left })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_seq(Items {
            reader: self,
            left: len,
        })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let left = self.length()?;
        visitor.visit_map(Items { reader: self, left })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_seq(Fields {
            first: self.rest,
            reader: self,
            name,
            fields: fields.iter(),
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_enum(self)
    }
}

/// The elements of a list, or the entries of a map.
struct Items<'r, 'de, C> {
    reader: &'r mut Reader<'de, C>,
    left: usize,
}

impl<'de, C: Codec> Items<'_, 'de, C> {
    fn next<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

impl<'de, C: Codec> SeqAccess<'de> for Items<'_, 'de, C> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        self.next(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de, C: Codec> MapAccess<'de> for Items<'_, 'de, C> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        self.next(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        seed.deserialize(&mut *self.reader)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The fields of a struct, those that are not there included.
struct Fields<'r, 'de, C> {
    reader: &'r mut Reader<'de, C>,
    name: &'static str,
    fields: std::slice::Iter<'static, &'static str>,
    /// The input from the struct's first field on.
    first: &'de [u8],
}

impl<'de, C: Codec> SeqAccess<'de> for Fields<'_, 'de, C> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let Some(field) = self.fields.next() else {
            return Ok(None);
        };
        match C::field(self.name, field) {
            Field::Written => seed.deserialize(&mut *self.reader),
            Field::Absent | Field::Forgotten => seed.deserialize(&mut Reader::<C>::new(&ABSENT)),
            Field::LikeFirst => seed.deserialize(&mut Reader::<C>::new(self.first)),
        }
        .map(Some)
    }
}

impl<'de, C: Codec> EnumAccess<'de> for &mut Reader<'de, C> {
    type Error = ReadError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), ReadError> {
        let index: U32Deserializer<ReadError> = self.integer(C::u32)?.into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

impl<'de, C: Codec> VariantAccess<'de> for &mut Reader<'de, C> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_tuple(fields.len(), visitor)
    }
}
