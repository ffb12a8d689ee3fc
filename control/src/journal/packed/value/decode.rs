//! Reading values. The bytes may be anything.

use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::{
    BARE_VARIANT, DOUBLE, END_OF_LIST, END_OF_MAP, FALSE, FIRST_NAME, KEY_IS_VALUE, LIST, MAP, NEGATIVE,
    NOTHING, SHORT_DOUBLE, SHORT_TEXT, SINGLE, SMALL, SMALL_WHOLE, TEXT, TRUE, VARIANT, WHOLE,
};

/// Levels of lists, maps and variants in a value.
const MAX_DEPTH: u32 = 256;

/// Why bytes are no value, or not the one that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum Undecodable {
    #[error("it ends too early")]
    Short,
    #[error("more follows behind its end")]
    Long,
    #[error("no value begins with the byte {0}")]
    Kind(u8),
    #[error("a number has more than 64 bits")]
    Number,
    #[error("a text is not UTF-8")]
    Text,
    #[error("a name is not known")]
    Name,
    #[error("it nests deeper than {MAX_DEPTH} levels")]
    Depth,
    #[error("{0}")]
    Content(String),
}

impl de::Error for Undecodable {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Undecodable::Content(message.to_string())
    }
}

/// The value that `bytes` are, all of them.
pub(in super::super) fn decode<'de, T: de::Deserialize<'de>>(
    bytes: &'de [u8],
    names: &'de [&'de str],
) -> Result<T, Undecodable> {
    let mut decoder = Decoder { rest: bytes, names, depth: 0 };
    let value = T::deserialize(&mut decoder)?;
    if decoder.rest.is_empty() { Ok(value) } else { Err(Undecodable::Long) }
}

/// Takes a number from the front of `bytes`.
pub(in super::super) fn number(bytes: &mut &[u8]) -> Result<u64, Undecodable> {
    let mut number = 0u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(Undecodable::Short)?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return Err(Undecodable::Number);
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Undecodable::Number)
}

struct Decoder<'de> {
    rest: &'de [u8],
    names: &'de [&'de str],
    depth: u32,
}

impl<'de> Decoder<'de> {
    fn peek(&self) -> Result<u8, Undecodable> {
        self.rest.first().copied().ok_or(Undecodable::Short)
    }

    fn kind(&mut self) -> Result<u8, Undecodable> {
        let (kind, rest) = self.rest.split_first().ok_or(Undecodable::Short)?;
        self.rest = rest;
        Ok(*kind)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Undecodable> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Undecodable::Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn text(&mut self, length: u64) -> Result<&'de str, Undecodable> {
        let length = usize::try_from(length).map_err(|_| Undecodable::Short)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Undecodable::Short)?;
        self.rest = rest;
        str::from_utf8(taken).map_err(|_| Undecodable::Text)
    }

    fn name(&self, number: u64) -> Result<&'de str, Undecodable> {
        let name = usize::try_from(number).ok().and_then(|number| self.names.get(number));
        name.copied().ok_or(Undecodable::Name)
    }

    fn deeper<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Undecodable>,
    ) -> Result<T, Undecodable> {
        if self.depth == MAX_DEPTH {
            return Err(Undecodable::Depth);
        }
        self.depth += 1;
        let result = work(self);
        self.depth -= 1;
        result
    }

    /// A list whose first byte has been taken. What the visitor leaves is passed over.
    fn list<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Undecodable> {
        self.deeper(|decoder| {
            let mut list = List { decoder, ended: false };
            let value = visitor.visit_seq(&mut list)?;
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(value)
        })
    }

    fn map<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Undecodable> {
        self.deeper(|decoder| {
            let mut map = Map { decoder, ended: false };
            let value = visitor.visit_map(&mut map)?;
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(value)
        })
    }
}

impl<'de> Deserializer<'de> for &mut Decoder<'de> {
    type Error = Undecodable;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Undecodable> {
        match self.kind()? {
            NOTHING => visitor.visit_unit(),
            FALSE => visitor.visit_bool(false),
            TRUE => visitor.visit_bool(true),
            WHOLE => visitor.visit_u64(number(&mut self.rest)?),
            NEGATIVE => {
                let magnitude = i64::try_from(number(&mut self.rest)?).map_err(|_| Undecodable::Number)?;
                visitor.visit_i64(!magnitude)
            }
            DOUBLE => visitor.visit_f64(f64::from_le_bytes(self.take()?)),
            SINGLE => visitor.visit_f32(f32::from_le_bytes(self.take()?)),
            SHORT_DOUBLE => visitor.visit_f64(f32::from_le_bytes(self.take()?).into()),
            TEXT => {
                let length = number(&mut self.rest)?;
                visitor.visit_borrowed_str(self.text(length)?)
            }
            LIST => self.list(visitor),
            MAP => self.map(visitor),
            VARIANT => {
                let name = number(&mut self.rest)?;
                let name = self.name(name)?;
                self.deeper(|decoder| visitor.visit_map(OneEntry { name: Some(name), decoder }))
            }
            BARE_VARIANT => {
                let name = number(&mut self.rest)?;
                visitor.visit_borrowed_str(self.name(name)?)
            }
            small @ SMALL_WHOLE..SHORT_TEXT => visitor.visit_u64(u64::from(small - SMALL_WHOLE)),
            short @ SHORT_TEXT.. if short < SHORT_TEXT + SMALL => {
                visitor.visit_borrowed_str(self.text(u64::from(short - SHORT_TEXT))?)
            }
            other => Err(Undecodable::Kind(other)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Undecodable> {
        if self.peek()? == NOTHING {
            self.kind()?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Undecodable> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Undecodable> {
        let kind = self.kind()?;
        if !matches!(kind, VARIANT | BARE_VARIANT) {
            return Err(Undecodable::Kind(kind));
        }
        let name = number(&mut self.rest)?;
        let name = self.name(name)?;
        self.deeper(|decoder| visitor.visit_enum(OneVariant { name, carries: kind == VARIANT, decoder }))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}

struct List<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    ended: bool,
}

impl<'de> SeqAccess<'de> for List<'_, 'de> {
    type Error = Undecodable;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Undecodable> {
        if !self.ended && self.decoder.peek()? == END_OF_LIST {
            self.decoder.kind()?;
            self.ended = true;
        }
        if self.ended { Ok(None) } else { seed.deserialize(&mut *self.decoder).map(Some) }
    }
}

struct Map<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    ended: bool,
}

impl<'de> MapAccess<'de> for Map<'_, 'de> {
    type Error = Undecodable;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Undecodable> {
        if self.ended {
            return Ok(None);
        }
        match number(&mut self.decoder.rest)? {
            END_OF_MAP => {
                self.ended = true;
                Ok(None)
            }
            KEY_IS_VALUE => seed.deserialize(&mut *self.decoder).map(Some),
            name => {
                let name = self.decoder.name(name - FIRST_NAME)?;
                seed.deserialize(de::value::BorrowedStrDeserializer::new(name)).map(Some)
            }
        }
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Undecodable> {
        seed.deserialize(&mut *self.decoder)
    }
}

/// A variant, to whoever does not know that it is one.
struct OneEntry<'a, 'de> {
    name: Option<&'de str>,
    decoder: &'a mut Decoder<'de>,
}

impl<'de> MapAccess<'de> for OneEntry<'_, 'de> {
    type Error = Undecodable;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Undecodable> {
        let name = self.name.take();
        name.map(|name| seed.deserialize(de::value::BorrowedStrDeserializer::new(name))).transpose()
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Undecodable> {
        seed.deserialize(&mut *self.decoder)
    }
}

struct OneVariant<'a, 'de> {
    name: &'de str,
    carries: bool,
    decoder: &'a mut Decoder<'de>,
}

impl<'de> EnumAccess<'de> for OneVariant<'_, 'de> {
    type Error = Undecodable;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Undecodable> {
        let name: de::value::StrDeserializer<'_, Undecodable> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for OneVariant<'_, 'de> {
    type Error = Undecodable;

    fn unit_variant(self) -> Result<(), Undecodable> {
        if self.carries {
            <IgnoredAny as de::Deserialize>::deserialize(self.decoder)?;
        }
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Undecodable> {
        if self.carries { seed.deserialize(self.decoder) } else { Err(Undecodable::Kind(BARE_VARIANT)) }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Undecodable> {
        if self.carries {
            self.decoder.deserialize_any(visitor)
        } else {
            Err(Undecodable::Kind(BARE_VARIANT))
        }
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Undecodable> {
        self.tuple_variant(0, visitor)
    }
}
