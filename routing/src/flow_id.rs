//! The name of one routed request, given to the client and used as the key of its flow document.
//!
//! A flow id has the shape of a ULID (26 characters of Crockford base 32, 128 bits, sorts by time), but
//! its 80 low bits are not drawn per request. They say who made it, so that making one needs neither
//! randomness nor an allocation nor anything shared between workers:
//!
//! | bits | meaning |
//! |---|---|
//! | 48 | milliseconds since the Unix epoch |
//! | 16 | sequence number within that millisecond |
//! | 16 | worker |
//! | 48 | drawn once per process |
//!
//! Ids of one worker rise strictly, even when the clock stands still or goes backwards. An id is a name,
//! not a secret: whoever has seen one can guess others.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::units::UnixMillis;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const MILLIS_MAX: u64 = (1 << 48) - 1;
const RANDOM_MASK: u64 = (1 << 48) - 1;

/// One flow's name: 128 bits, written as 26 characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(u128);

impl FlowId {
    /// Characters in the written form.
    pub const LEN: usize = 26;
    /// Characters at the start of the written form that hold nothing but the time.
    pub const TIME_LEN: usize = 10;

    /// The id with these 128 bits.
    pub const fn from_bits(bits: u128) -> FlowId {
        FlowId(bits)
    }

    /// The 128 bits.
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// When the flow began, to the millisecond (later than the clock said if that had gone backwards).
    pub const fn at(self) -> UnixMillis {
        UnixMillis((self.0 >> 80) as u64)
    }

    /// The worker that made it.
    pub const fn worker(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// The written form as ASCII, for a header value without an allocation.
    pub fn encode(self) -> [u8; FlowId::LEN] {
        let mut text = [0; FlowId::LEN];
        let mut rest = self.0;
        for place in text.iter_mut().rev() {
            *place = ALPHABET[(rest & 31) as usize];
            rest >>= 5;
        }
        text
    }
}

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.encode();
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// Why a text is no flow id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseFlowIdError {
    /// Not [`FlowId::LEN`] bytes long.
    #[error("a flow id has 26 characters, this has {0} bytes")]
    Length(usize),
    /// A character outside Crockford's base 32.
    #[error("byte {0} of the flow id is not a base 32 digit (0-9, A-Z without I, L, O, U)")]
    Digit(usize),
    /// 26 digits can spell 130 bits; ids have 128, so the first digit is at most 7.
    #[error("the flow id is out of range: its first digit is above 7")]
    Range,
}

impl FromStr for FlowId {
    type Err = ParseFlowIdError;

    /// Accepts lower case too, as ids get copied from where case is lost.
    fn from_str(text: &str) -> Result<FlowId, ParseFlowIdError> {
        let bytes = text.as_bytes();
        if bytes.len() != FlowId::LEN {
            return Err(ParseFlowIdError::Length(bytes.len()));
        }
        let mut bits: u128 = 0;
        for (at, byte) in bytes.iter().enumerate() {
            let digit = digit(*byte).ok_or(ParseFlowIdError::Digit(at))?;
            if at == 0 && digit > 7 {
                return Err(ParseFlowIdError::Range);
            }
            bits = bits << 5 | u128::from(digit);
        }
        Ok(FlowId(bits))
    }
}

const fn digit(byte: u8) -> Option<u8> {
    Some(match byte.to_ascii_uppercase() {
        b @ b'0'..=b'9' => b - b'0',
        b @ b'A'..=b'H' => b - b'A' + 10,
        b @ b'J'..=b'K' => b - b'J' + 18,
        b @ b'M'..=b'N' => b - b'M' + 20,
        b @ b'P'..=b'T' => b - b'P' + 22,
        b @ b'V'..=b'Z' => b - b'V' + 27,
        _ => return None,
    })
}

impl Serialize for FlowId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FlowId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FlowId, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Makes one worker's flow ids.
#[derive(Debug)]
pub struct FlowIds {
    millis: u64,
    sequence: u16,
    /// Worker and process, as they stand in the low 64 bits of every id.
    maker: u64,
}

impl FlowIds {
    /// Ids of `worker` in the process that drew `process_random` (of which 48 bits are used). Two makers
    /// alive at once must differ in one of the two.
    pub const fn new(worker: u16, process_random: u64) -> FlowIds {
        FlowIds { millis: 0, sequence: 0, maker: (worker as u64) << 48 | process_random & RANDOM_MASK }
    }

    /// The next id. A clock that stands still advances the sequence number; one that goes backwards is
    /// not followed; a sequence that runs out (65 536 ids in one millisecond) borrows from the next
    /// millisecond.
    pub fn next(&mut self, now: UnixMillis) -> FlowId {
        let now = now.get().min(MILLIS_MAX);
        if now > self.millis {
            self.millis = now;
            self.sequence = 0;
        } else if let Some(sequence) = self.sequence.checked_add(1) {
            self.sequence = sequence;
        } else {
            self.millis += 1;
            self.sequence = 0;
        }
        FlowId(u128::from(self.millis) << 80 | u128::from(self.sequence) << 64 | u128::from(self.maker))
    }
}

#[cfg(test)]
mod tests;
