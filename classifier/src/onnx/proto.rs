//! Protocol buffers, field by field, without copying.

use crate::model::{LoadError, ONNX_FILE};

/// What a field holds: a number, or bytes; fixed-length numbers do not matter here.
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// Takes a field off the front: its number, and what it holds.
///
/// # Errors
///
/// [`LoadError::Malformed`] if that is no field, or one that is cut off.
pub(super) fn field<'a>(rest: &mut &'a [u8]) -> Result<(u64, Value<'a>), LoadError> {
    let key = varint(rest)?;
    let value = match key & 7 {
        0 => Value::Number(varint(rest)?),
        1 => {
            take(rest, 8)?;
            Value::Fixed
        }
        2 => {
            let length = usize::try_from(varint(rest)?).map_err(|_| cut_off())?;
            Value::Bytes(take(rest, length)?)
        }
        5 => {
            take(rest, 4)?;
            Value::Fixed
        }
        _ => return Err(cut_off()),
    };
    Ok((key >> 3, value))
}

/// Every number of a repeated field: one, or many in a row.
///
/// # Errors
///
/// As [`field`].
pub(super) fn numbers(value: &Value<'_>, mut each: impl FnMut(i64)) -> Result<(), LoadError> {
    match *value {
        Value::Number(number) => each(number.cast_signed()),
        Value::Bytes(mut packed) => {
            while !packed.is_empty() {
                each(varint(&mut packed)?.cast_signed());
            }
        }
        Value::Fixed => {}
    }
    Ok(())
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], LoadError> {
    let (head, tail) = rest.split_at_checked(length).ok_or_else(cut_off)?;
    *rest = tail;
    Ok(head)
}

fn varint(rest: &mut &[u8]) -> Result<u64, LoadError> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first().ok_or_else(cut_off)?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(cut_off())
}

fn cut_off() -> LoadError {
    LoadError::malformed(ONNX_FILE, "no protocol buffer")
}

/// Files of the tests.
#[cfg(test)]
pub(super) mod build {
    /// A field with a number.
    pub(in super::super) fn number(field: u64, value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for mut value in [field << 3, value] {
            while value >= 0x80 {
                bytes.push(value as u8 | 0x80);
                value >>= 7;
            }
            bytes.push(value as u8);
        }
        bytes
    }

    /// A field with bytes.
    pub(in super::super) fn message(field: u64, content: &[u8]) -> Vec<u8> {
        let mut bytes = number(field, content.len() as u64);
        bytes[0] |= 2;
        bytes.extend_from_slice(content);
        bytes
    }
}
