//! Where the running kernel keeps a field: a reader of the types it publishes about itself.

use std::fs::File;
use std::io::Read;

/// Where the kernel publishes its types.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
/// A kernel's types take about 6 MB.
const MAX_BYTES: u64 = 128 << 20;
const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
/// How deep unnamed structures are looked into.
const MAX_DEPTH: u32 = 8;

/// Why an offset is not known.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BtfError {
    #[error("the kernel does not publish its types ({VMLINUX}: {0})")]
    Absent(String),
    #[error("the kernel's types cannot be read")]
    Malformed,
    #[error("this kernel's {0} has no {1}")]
    NoMember(&'static str, &'static str),
}

/// The kernel's types.
pub(crate) struct Types {
    bytes: Vec<u8>,
    /// Where each type begins; number 1 is the first.
    types: Vec<usize>,
    strings: usize,
}

impl Types {
    /// Those of the running kernel.
    pub(crate) fn running() -> Result<Self, BtfError> {
        let mut bytes = Vec::new();
        File::open(VMLINUX)
            .and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes))
            .map_err(|error| BtfError::Absent(error.to_string()))?;
        Self::parse(bytes).ok_or(BtfError::Malformed)
    }

    fn parse(bytes: Vec<u8>) -> Option<Self> {
        if word(&bytes, 0)? as u16 != MAGIC {
            return None;
        }
        let head = word(&bytes, 4)? as usize;
        let first = head.checked_add(word(&bytes, 8)? as usize)?;
        let end = first.checked_add(word(&bytes, 12)? as usize)?;
        let strings = head.checked_add(word(&bytes, 16)? as usize)?;
        let mut types = vec![0];
        let mut at = first;
        while at < end {
            types.push(at);
            let info = word(&bytes, at + 4)?;
            let members = (info & 0xffff) as usize;
            at += 12
                + match info >> 24 & 0x1f {
                    1 | 14 | 17 => 4,
                    3 => 12,
                    4 | 5 | 15 | 19 => members * 12,
                    6 | 13 => members * 8,
                    0 | 2 | 7..=12 | 16 | 18 => 0,
                    _ => return None,
                };
        }
        Some(Self { bytes, types, strings })
    }

    /// The byte at which `member` begins in `structure`; members of unnamed structures inside it are its own.
    pub(crate) fn offset(&self, structure: &'static str, member: &'static str) -> Result<u32, BtfError> {
        self.types
            .iter()
            .skip(1)
            .filter(|at| self.kind(**at) == Some(KIND_STRUCT) && self.is_named(**at, structure))
            .find_map(|at| self.member(*at, member, MAX_DEPTH))
            .map(|bits| bits / 8)
            .ok_or(BtfError::NoMember(structure, member))
    }

    fn kind(&self, at: usize) -> Option<u32> {
        Some(word(&self.bytes, at + 4)? >> 24 & 0x1f)
    }

    fn is_named(&self, at: usize, name: &str) -> bool {
        let Some(offset) = word(&self.bytes, at) else { return false };
        let name = name.as_bytes();
        let found = self.bytes.get(self.strings + offset as usize..).unwrap_or_default();
        found.starts_with(name) && found.get(name.len()) == Some(&0)
    }

    /// Bits from the start of the structure at `at`.
    fn member(&self, at: usize, name: &str, depth: u32) -> Option<u32> {
        let info = word(&self.bytes, at + 4)?;
        let has_bit_fields = info >> 31 == 1;
        for index in 0..(info & 0xffff) as usize {
            let member = at + 12 + index * 12;
            let place = word(&self.bytes, member + 8)?;
            let place = if has_bit_fields { place & 0x00ff_ffff } else { place };
            if self.is_named(member, name) {
                return Some(place);
            }
            let inner = *self.types.get(word(&self.bytes, member + 4)? as usize)?;
            let is_nested = self.is_named(member, "") && matches!(self.kind(inner), Some(4 | 5));
            if is_nested
                && depth > 0
                && let Some(bits) = self.member(inner, name, depth - 1)
            {
                return Some(place + bits);
            }
        }
        None
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct outer { u32 a; struct { u32 b; union { u32 c; u32 d; }; }; u32 e:8 }` by hand.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0outer\0a\0b\0c\0d\0e\0";
        let name = |wanted: &str| {
            let at = strings.windows(wanted.len() + 2).position(|window| {
                window[0] == 0
                    && &window[1..=wanted.len()] == wanted.as_bytes()
                    && window[wanted.len() + 1] == 0
            });
            at.map_or(0, |at| at as u32 + 1)
        };
        let info = |kind: u32, flag: u32, members: u32| flag << 31 | kind << 24 | members;
        let types: Vec<u32> = [
            // 1: int
            vec![name("int"), info(1, 0, 0), 4, 0x0000_0020],
            // 2: union { int c; int d; }
            vec![0, info(5, 0, 2), 4, name("c"), 1, 0, name("d"), 1, 0],
            // 3: struct { int b; union; }
            vec![0, info(4, 0, 2), 8, name("b"), 1, 0, 0, 2, 32],
            // 4: struct outer
            vec![name("outer"), info(4, 1, 3), 16, name("a"), 1, 0, 0, 3, 32, name("e"), 1, 8 << 24 | 96],
        ]
        .concat();
        let mut bytes = Vec::new();
        for word in [0x0001_eb9f, 24, 0, types.len() as u32 * 4, types.len() as u32 * 4, strings.len() as u32]
        {
            bytes.extend(word.to_le_bytes());
        }
        types.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn members_are_found_through_unnamed_structures() {
        let types = Types::parse(sample()).unwrap();
        assert_eq!(types.offset("outer", "a"), Ok(0));
        assert_eq!(types.offset("outer", "b"), Ok(4));
        assert_eq!(types.offset("outer", "d"), Ok(8));
        assert_eq!(types.offset("outer", "e"), Ok(12));
        assert_eq!(types.offset("outer", "x"), Err(BtfError::NoMember("outer", "x")));
        assert_eq!(types.offset("oute", "a"), Err(BtfError::NoMember("oute", "a")));
    }

    #[test]
    fn what_is_cut_short_is_refused_or_lacks_the_member() {
        let whole = sample();
        for length in 0..whole.len() - 1 {
            if let Some(types) = Types::parse(whole[..length].to_vec()) {
                let _ = types.offset("outer", "e");
            }
        }
        assert!(Types::parse(vec![0; 64]).is_none());
    }

    /// LLVM puts types that are declared and never defined in the order of their addresses in its own memory: with
    /// two of them in one object, building it again gives other bytes now and then.
    #[test]
    fn objects_have_one_order_of_types() {
        /// Magic, version and size of a header of types.
        const HEADER: [u8; 8] = [0x9f, 0xeb, 1, 0, 24, 0, 0, 0];
        const KIND_FORWARD: u32 = 7;
        use crate::object::{GUARD, RETRANSMIT, STEER, TELEMETRY};
        for (name, object) in
            [("steer", STEER), ("guard", GUARD), ("telemetry", TELEMETRY), ("retransmit", RETRANSMIT)]
        {
            let at = object.windows(HEADER.len()).position(|window| window == HEADER);
            let types = Types::parse(object[at.unwrap()..].to_vec()).unwrap();
            let of_kind =
                |kind| types.types.iter().skip(1).filter(|at| types.kind(**at) == Some(kind)).count();
            assert!(of_kind(KIND_STRUCT) > 0, "{name}: these are not its types");
            assert!(of_kind(KIND_FORWARD) < 2, "{name} declares {} types only", of_kind(KIND_FORWARD));
        }
    }
}
