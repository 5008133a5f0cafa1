//! The writer: values as serde names them, in order; integers by the bincode crate.
use std::fmt::{self, Display};
use std::ops::Range;

use bincode::config;
use bincode::enc::Encode;
use serde::Serialize;
use serde::ser::{Error as _, Impossible, SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple, Serializer};

use super::super::plain::{Codec, Field};
use super::FirstGeneration;
use crate::error::{Error, Result};

/// Appends the encoding of `value`; on error perhaps a part of it.
pub(super) fn value<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    value
        .serialize(&mut Writer(out))
        .map_err(|WriteError(reason)| Error::invalid("value", reason))
}

#[derive(Debug)]
struct WriteError(String);

impl Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WriteError {}

impl serde::ser::Error for WriteError {
    fn custom<T: Display>(reason: T) -> Self {
        Self(reason.to_string())
    }
}

type WriteResult = Result<(), WriteError>;

/// No type of the bus needs this.
fn unsupported<T>() -> Result<T, WriteError> {
    Err(WriteError::custom("no type of the bus is written like this"))
}

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn number(&mut self, number: impl Encode) -> WriteResult {
        bincode::encode_into_std_write(number, self.0, config::standard())
            .map(|_| ())
            .map_err(WriteError::custom)
    }

    fn length(&mut self, length: Option<usize>) -> WriteResult {
        match length {
            Some(length) => self.number(length),
            None => Err(WriteError::custom("the length of a list or map must be known")),
        }
    }
}

impl<'w, 'a> Serializer for &'w mut Writer<'a> {
    type Ok = ();
    type Error = WriteError;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Impossible<(), WriteError>;
    type SerializeTupleVariant = Impossible<(), WriteError>;
    type SerializeMap = Self;
    type SerializeStruct = Fields<'w, 'a>;
    type SerializeStructVariant = Impossible<(), WriteError>;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, value: bool) -> WriteResult {
        self.number(value)
    }

    fn serialize_i8(self, _: i8) -> WriteResult {
        unsupported()
    }

    fn serialize_i16(self, _: i16) -> WriteResult {
        unsupported()
    }

    fn serialize_i32(self, _: i32) -> WriteResult {
        unsupported()
    }

    fn serialize_i64(self, _: i64) -> WriteResult {
        unsupported()
    }

    fn serialize_u8(self, value: u8) -> WriteResult {
        self.number(value)
    }

    fn serialize_u16(self, _: u16) -> WriteResult {
        unsupported()
    }

    fn serialize_u32(self, value: u32) -> WriteResult {
        self.number(value)
    }

    fn serialize_u64(self, value: u64) -> WriteResult {
        self.number(value)
    }

    fn serialize_f32(self, _: f32) -> WriteResult {
        unsupported()
    }

    fn serialize_f64(self, value: f64) -> WriteResult {
        self.number(value)
    }

    fn serialize_char(self, _: char) -> WriteResult {
        unsupported()
    }

    fn serialize_str(self, value: &str) -> WriteResult {
        self.serialize_bytes(value.as_bytes())
    }

    fn serialize_bytes(self, value: &[u8]) -> WriteResult {
        self.length(Some(value.len()))?;
        self.0.extend_from_slice(value);
        Ok(())
    }

    fn serialize_none(self) -> WriteResult {
        self.number(0_u8)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> WriteResult {
        self.number(1_u8)?;
        value.serialize(self)
    }

    fn serialize_unit(self) -> WriteResult {
        unsupported()
    }

    fn serialize_unit_struct(self, _name: &'static str) -> WriteResult {
        unsupported()
    }

    fn serialize_unit_variant(self, _name: &'static str, index: u32, _variant: &'static str) -> WriteResult {
        self.number(index)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> WriteResult {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
        value: &T,
    ) -> WriteResult {
        self.number(index)?;
        value.serialize(self)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Self, WriteError> {
        self.length(length)?;
        Ok(self)
    }

    fn serialize_tuple(self, _length: usize) -> Result<Self, WriteError> {
        Ok(self)
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeTupleStruct, WriteError> {
        unsupported()
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeTupleVariant, WriteError> {
        unsupported()
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Self, WriteError> {
        self.length(length)?;
        Ok(self)
    }

    fn serialize_struct(self, name: &'static str, _length: usize) -> Result<Fields<'w, 'a>, WriteError> {
        Ok(Fields {
            writer: self,
            name,
            first: None,
        })
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeStructVariant, WriteError> {
        unsupported()
    }
}

impl SerializeSeq for &mut Writer<'_> {
    type Ok = ();
    type Error = WriteError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> WriteResult {
        value.serialize(&mut **self)
    }

    fn end(self) -> WriteResult {
        Ok(())
    }
}

impl SerializeTuple for &mut Writer<'_> {
    type Ok = ();
    type Error = WriteError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> WriteResult {
        value.serialize(&mut **self)
    }

    fn end(self) -> WriteResult {
        Ok(())
    }
}

impl SerializeMap for &mut Writer<'_> {
    type Ok = ();
    type Error = WriteError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> WriteResult {
        key.serialize(&mut **self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> WriteResult {
        value.serialize(&mut **self)
    }

    fn end(self) -> WriteResult {
        Ok(())
    }
}

/// The fields of a struct. Those that this generation does not have are written too, looked at, and taken back.
struct Fields<'w, 'a> {
    writer: &'w mut Writer<'a>,
    name: &'static str,
    /// Where the first field was written.
    first: Option<Range<usize>>,
}

impl SerializeStruct for Fields<'_, '_> {
    type Ok = ();
    type Error = WriteError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> WriteResult {
        let start = self.writer.0.len();
        value.serialize(&mut *self.writer)?;
        let first = self.first.get_or_insert(start..self.writer.0.len()).clone();
        let written = self.writer.0.get(start..).unwrap_or_default();
        let rule = match FirstGeneration::field(self.name, key) {
            Field::Written => return Ok(()),
            Field::Forgotten => None,
            // Whatever is empty, zero or none is zero bytes in this codec, and nothing else is.
            Field::Absent if written.iter().all(|byte| *byte == 0) => None,
            Field::Absent => Some("must be left empty"),
            Field::LikeFirst if Some(written) == self.writer.0.get(first) => None,
            Field::LikeFirst => Some("must be the same as the first field"),
        };
        self.writer.0.truncate(start);
        match rule {
            None => Ok(()),
            Some(rule) => Err(WriteError(format!(
                "{}.{key} is not in bincode-v0, so it {rule}; or use another dialect",
                self.name
            ))),
        }
    }

    fn end(self) -> WriteResult {
        Ok(())
    }
}
