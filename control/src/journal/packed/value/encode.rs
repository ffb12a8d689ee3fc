//! Writing values.

use std::collections::HashMap;
use std::fmt;

use serde::ser::{self, Serialize};

use super::{
    BARE_VARIANT, DOUBLE, END_OF_LIST, END_OF_MAP, FALSE, FIRST_NAME, KEY_IS_VALUE, LIST, MAP, NEGATIVE,
    NOTHING, SHORT_DOUBLE, SHORT_TEXT, SINGLE, SMALL, SMALL_WHOLE, TEXT, TRUE, VARIANT, WHOLE,
};

/// Names of fields and variants that have been given numbers, in the order of the numbers.
///
/// All come from the program's text, so there are a few hundred at most.
pub(in super::super) struct Names {
    all: Vec<&'static str>,
    numbers: HashMap<&'static str, u32>,
    /// Numbers by where the text lies in memory: most lookups end here.
    recent: Box<[Recent; 1 << RECENT_BITS]>,
}

#[derive(Clone, Copy)]
struct Recent {
    address: usize,
    length: usize,
    number: u32,
}

const RECENT_BITS: u32 = 10;
const NONE: Recent = Recent { address: 0, length: 0, number: 0 };

impl Names {
    pub(in super::super) fn new() -> Names {
        Names { all: Vec::new(), numbers: HashMap::new(), recent: Box::new([NONE; 1 << RECENT_BITS]) }
    }

    /// Forgets all numbers.
    pub(in super::super) fn clear(&mut self) {
        self.all.clear();
        self.numbers.clear();
        self.recent.fill(NONE);
    }

    /// How many there are.
    pub(in super::super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Those from number `first` on.
    pub(in super::super) fn since(&self, first: usize) -> &[&'static str] {
        &self.all[first..]
    }

    fn number(&mut self, name: &'static str) -> u64 {
        let (address, length) = (name.as_ptr().addr(), name.len());
        let at = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - RECENT_BITS);
        let recent = &mut self.recent[at as usize];
        if (recent.address, recent.length) != (address, length) {
            let number = *self.numbers.entry(name).or_insert_with(|| {
                self.all.push(name);
                self.all.len() as u32 - 1
            });
            *recent = Recent { address, length, number };
        }
        u64::from(recent.number)
    }
}

/// Appends a value.
///
/// # Errors
/// If it holds bytes, a 128-bit number, or what refuses to be serialised; part of it has been appended then.
pub(in super::super) fn encode(
    value: &impl Serialize,
    names: &mut Names,
    out: &mut Vec<u8>,
) -> Result<(), Unencodable> {
    value.serialize(&mut Encoder { names, out })
}

/// Appends a number.
pub(in super::super) fn put_number(mut number: u64, out: &mut Vec<u8>) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A value that has no form here.
#[derive(Debug)]
pub(in super::super) struct Unencodable(String);

impl fmt::Display for Unencodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unencodable {}

impl ser::Error for Unencodable {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Unencodable(message.to_string())
    }
}

struct Encoder<'a> {
    names: &'a mut Names,
    out: &'a mut Vec<u8>,
}

impl Encoder<'_> {
    fn name(&mut self, name: &'static str, offset: u64) {
        let number = self.names.number(name);
        put_number(number + offset, self.out);
    }

    fn field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Unencodable> {
        self.name(key, FIRST_NAME);
        value.serialize(self)
    }

    fn open(&mut self, kind: u8) -> Result<&mut Self, Unencodable> {
        self.out.push(kind);
        Ok(self)
    }

    fn open_variant(&mut self, name: &'static str, kind: u8) -> Result<&mut Self, Unencodable> {
        self.out.push(VARIANT);
        self.name(name, 0);
        self.open(kind)
    }
}

impl ser::Serializer for &mut Encoder<'_> {
    type Ok = ();
    type Error = Unencodable;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fn serialize_bool(self, value: bool) -> Result<(), Unencodable> {
        self.out.push(if value { TRUE } else { FALSE });
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), Unencodable> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), Unencodable> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), Unencodable> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<(), Unencodable> {
        if let Ok(whole) = u64::try_from(value) {
            return self.serialize_u64(whole);
        }
        self.out.push(NEGATIVE);
        put_number(!value as u64, self.out);
        Ok(())
    }

    fn serialize_u8(self, value: u8) -> Result<(), Unencodable> {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), Unencodable> {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<(), Unencodable> {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<(), Unencodable> {
        if value < u64::from(SMALL) {
            self.out.push(SMALL_WHOLE + value as u8);
        } else {
            self.out.push(WHOLE);
            put_number(value, self.out);
        }
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), Unencodable> {
        self.out.push(SINGLE);
        self.out.extend_from_slice(&value.to_le_bytes());
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Unencodable> {
        let short = value as f32;
        if f64::from(short).to_bits() == value.to_bits() {
            self.out.push(SHORT_DOUBLE);
            self.out.extend_from_slice(&short.to_le_bytes());
        } else {
            self.out.push(DOUBLE);
            self.out.extend_from_slice(&value.to_le_bytes());
        }
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Unencodable> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Unencodable> {
        if value.len() < usize::from(SMALL) {
            self.out.push(SHORT_TEXT + value.len() as u8);
        } else {
            self.out.push(TEXT);
            put_number(value.len() as u64, self.out);
        }
        self.out.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), Unencodable> {
        Err(ser::Error::custom("bytes have no form"))
    }

    fn serialize_none(self) -> Result<(), Unencodable> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unencodable> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Unencodable> {
        self.out.push(NOTHING);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Unencodable> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Unencodable> {
        self.out.push(BARE_VARIANT);
        self.name(variant, 0);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Unencodable> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Unencodable> {
        self.out.push(VARIANT);
        self.name(variant, 0);
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Unencodable> {
        self.open(LIST)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Unencodable> {
        self.open(LIST)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Unencodable> {
        self.open(LIST)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self, Unencodable> {
        self.open_variant(variant, LIST)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Unencodable> {
        self.open(MAP)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Unencodable> {
        self.open(MAP)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self, Unencodable> {
        self.open_variant(variant, MAP)
    }
}

/// The traits for lists differ in names only.
macro_rules! list {
    ($($of:ident $step:ident)*) => {$(
        impl ser::$of for &mut Encoder<'_> {
            type Ok = ();
            type Error = Unencodable;

            fn $step<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unencodable> {
                value.serialize(&mut **self)
            }

            fn end(self) -> Result<(), Unencodable> {
                self.out.push(END_OF_LIST);
                Ok(())
            }
        }
    )*};
}

list!(SerializeSeq serialize_element SerializeTuple serialize_element);
list!(SerializeTupleStruct serialize_field SerializeTupleVariant serialize_field);

macro_rules! fields {
    ($($of:ident)*) => {$(
        impl ser::$of for &mut Encoder<'_> {
            type Ok = ();
            type Error = Unencodable;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Unencodable> {
                self.field(key, value)
            }

            fn end(self) -> Result<(), Unencodable> {
                put_number(END_OF_MAP, self.out);
                Ok(())
            }
        }
    )*};
}

fields!(SerializeStruct SerializeStructVariant);

impl ser::SerializeMap for &mut Encoder<'_> {
    type Ok = ();
    type Error = Unencodable;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unencodable> {
        put_number(KEY_IS_VALUE, self.out);
        key.serialize(&mut **self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unencodable> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Unencodable> {
        put_number(END_OF_MAP, self.out);
        Ok(())
    }
}
