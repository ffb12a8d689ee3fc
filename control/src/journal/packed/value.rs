//! Values in few bytes: any serde value, with the names of fields and variants as numbers.
//!
//! | first byte | then | value |
//! |---|---|---|
//! | 0 | | nothing (`None`, unit) |
//! | 1, 2 | | false, true |
//! | 3 | number | a whole number |
//! | 4 | number `n` | the whole number `-1-n` |
//! | 5 | 8 bytes | a 64-bit float, little endian |
//! | 6 | 4 bytes | a 32-bit float |
//! | 7 | 4 bytes | a 64-bit float that a 32-bit one holds exactly |
//! | 8 | number, bytes | a text of that many bytes of UTF-8 |
//! | 9 | values, 15 | a list |
//! | 10 | keys with values, 0 | a map: a key is 1 and a value, or the number of a name plus 2 |
//! | 11 | number, value | a variant: a name and what it carries |
//! | 12 | number | a variant that carries nothing |
//! | 64 to 127 | | the whole numbers 0 to 63 |
//! | 128 to 191 | bytes | a text of 0 to 63 bytes |
//!
//! Numbers are LEB128: seven bits a byte, lowest first, the eighth set where another byte follows.

mod decode;
mod encode;

pub(super) use decode::{Undecodable, decode, number};
pub(super) use encode::{Names, encode, put_number};

const NOTHING: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const WHOLE: u8 = 3;
const NEGATIVE: u8 = 4;
const DOUBLE: u8 = 5;
const SINGLE: u8 = 6;
const SHORT_DOUBLE: u8 = 7;
const TEXT: u8 = 8;
const LIST: u8 = 9;
const MAP: u8 = 10;
const VARIANT: u8 = 11;
const BARE_VARIANT: u8 = 12;
const END_OF_LIST: u8 = 15;
const SMALL_WHOLE: u8 = 64;
const SHORT_TEXT: u8 = 128;

/// Values that fit into their first byte, and lengths that do.
const SMALL: u8 = 64;

const END_OF_MAP: u64 = 0;
const KEY_IS_VALUE: u64 = 1;
const FIRST_NAME: u64 = 2;
