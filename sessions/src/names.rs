//! The interned names: an append-only table inside the file.
//!
//! 4,096 entries of 512 bytes: checksum, length, text. An entry is complete once its checksum stands; one
//! that a crash cut short is skipped for good, so that an id never comes to mean another name. Names are
//! copied out at open and never read from the file again.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{OnceLock, PoisonError, RwLock};

use crate::error::NameError;
use crate::record::NameId;
use crate::word::Word;

/// How many different names the file keeps, the empty one included.
pub const MAX_NAMES: usize = 4096;
/// Longest name.
pub const MAX_NAME_BYTES: usize = (ENTRY_WORDS - 2) * 8;
const ENTRY_WORDS: usize = 64;

/// Words of the table in the file.
pub(crate) const NAMES_WORDS: usize = MAX_NAMES * ENTRY_WORDS;

/// The names known to one opening of the file.
pub(crate) struct Names {
    by_id: Box<[OnceLock<Box<str>>]>,
    index: RwLock<Index>,
}

struct Index {
    ids: HashMap<Box<str>, NameId>,
    next: usize,
}

impl Names {
    /// Reads every name; also returns how many entries are damaged.
    pub(crate) fn load(words: &[AtomicU64]) -> (Names, u32) {
        let by_id: Box<[OnceLock<Box<str>>]> = (0..MAX_NAMES).map(|_| OnceLock::new()).collect();
        let mut ids = HashMap::new();
        let (mut next, mut damaged) = (1, 0);
        let _ = by_id[0].set("".into());
        ids.insert("".into(), NameId::NONE);
        for id in 1..MAX_NAMES {
            match entry(words, id) {
                Entry::Unused => continue,
                Entry::Unfinished => {}
                Entry::Damaged => damaged += 1,
                Entry::Name(name) => {
                    ids.insert(name.clone(), NameId(id as u32));
                    let _ = by_id[id].set(name);
                }
            }
            next = id + 1;
        }
        (Names { by_id, index: RwLock::new(Index { ids, next }) }, damaged)
    }

    pub(crate) fn get(&self, words: &[AtomicU64], id: NameId) -> Option<&str> {
        let known = self.by_id.get(id.0 as usize)?;
        match known.get() {
            Some(name) => Some(name),
            // The process that took over may have given it since.
            None => match entry(words, id.0 as usize) {
                Entry::Name(name) => Some(known.get_or_init(|| name)),
                Entry::Unused | Entry::Unfinished | Entry::Damaged => None,
            },
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.index.read().unwrap_or_else(PoisonError::into_inner).ids.len()
    }

    pub(crate) fn intern(&self, words: &[AtomicU64], name: &str) -> Result<NameId, NameError> {
        if let Some(id) = self.index.read().unwrap_or_else(PoisonError::into_inner).ids.get(name) {
            return Ok(*id);
        }
        if name.len() > MAX_NAME_BYTES {
            return Err(NameError::TooLong(name.len()));
        }
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = index.ids.get(name) {
            return Ok(*id);
        }
        // A process that took over and failed may have given names of its own.
        while index.next < MAX_NAMES && !matches!(entry(words, index.next), Entry::Unused) {
            if let Entry::Name(name) = entry(words, index.next) {
                let id = NameId(index.next as u32);
                let _ = self.by_id[index.next].set(name.clone());
                index.ids.insert(name, id);
            }
            index.next += 1;
        }
        if let Some(id) = index.ids.get(name) {
            return Ok(*id);
        }
        let id = index.next;
        if id == MAX_NAMES {
            return Err(NameError::TooMany);
        }
        append(words, id, name);
        let _ = self.by_id[id].set(name.into());
        index.ids.insert(name.into(), NameId(id as u32));
        index.next = id + 1;
        Ok(NameId(id as u32))
    }
}

enum Entry {
    Unused,
    Unfinished,
    Damaged,
    Name(Box<str>),
}

fn entry(words: &[AtomicU64], id: usize) -> Entry {
    let entry = &words[id * ENTRY_WORDS..(id + 1) * ENTRY_WORDS];
    let (sum, length) = (Word::load(&entry[0]), Word::load(&entry[1]));
    match (sum, length) {
        (0, 0) => return Entry::Unused,
        (0, _) => return Entry::Unfinished,
        _ => {}
    }
    if length > MAX_NAME_BYTES as u64 {
        return Entry::Damaged;
    }
    let mut bytes: Vec<u8> = entry[2..].iter().flat_map(|cell| Word::load(cell).to_le_bytes()).collect();
    bytes.truncate(length as usize);
    match String::from_utf8(bytes) {
        Ok(name) if checksum(id, name.as_bytes()) == sum => Entry::Name(name.into()),
        _ => Entry::Damaged,
    }
}

fn append(words: &[AtomicU64], id: usize, name: &str) {
    let entry = &words[id * ENTRY_WORDS..(id + 1) * ENTRY_WORDS];
    // The length goes first: from here on the id is spent, whatever happens.
    entry[1].publish(name.len() as u64);
    for (cell, bytes) in entry[2..].iter().zip(name.as_bytes().chunks(8)) {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        Word::store(cell, u64::from_le_bytes(word));
    }
    entry[0].publish(checksum(id, name.as_bytes()));
}

/// Never zero, which marks an entry without a checksum.
fn checksum(id: usize, name: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(name, id as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Vec<AtomicU64> {
        (0..NAMES_WORDS).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn names_keep_their_ids_across_openings() {
        let words = words();
        let (names, damaged) = Names::load(&words);
        assert_eq!((damaged, names.get(&words, NameId::NONE)), (0, Some("")));
        let small = names.intern(&words, "small").expect("room");
        let long = names.intern(&words, &"x".repeat(MAX_NAME_BYTES)).expect("room");
        assert_eq!(names.intern(&words, "small"), Ok(small));
        assert_eq!(names.intern(&words, &"x".repeat(MAX_NAME_BYTES + 1)), Err(NameError::TooLong(497)));
        let (again, damaged) = Names::load(&words);
        assert_eq!(damaged, 0);
        assert_eq!(again.get(&words, small), Some("small"));
        assert_eq!(again.get(&words, long).map(str::len), Some(MAX_NAME_BYTES));
        assert_eq!(again.get(&words, NameId(77)), None);
    }

    #[test]
    fn a_damaged_or_unfinished_name_is_lost_and_its_id_never_reused() {
        let words = words();
        let (names, _) = Names::load(&words);
        let ids: Vec<NameId> = ["a", "b", "c"].map(|name| names.intern(&words, name).expect("room")).into();
        words[2 * ENTRY_WORDS + 2].fetch_xor(1, std::sync::atomic::Ordering::Relaxed);
        words[3 * ENTRY_WORDS].publish(0);
        let (again, damaged) = Names::load(&words);
        assert_eq!(damaged, 1);
        assert_eq!(ids.iter().map(|id| again.get(&words, *id)).collect::<Vec<_>>(), [Some("a"), None, None]);
        assert_eq!(again.intern(&words, "d"), Ok(NameId(4)));
        assert_eq!(again.intern(&words, "b"), Ok(NameId(5)));
    }

    #[test]
    fn the_table_is_bounded() {
        let words = words();
        let (names, _) = Names::load(&words);
        for n in 1..MAX_NAMES {
            assert_eq!(names.intern(&words, &n.to_string()), Ok(NameId(n as u32)));
        }
        assert_eq!(names.intern(&words, "one more"), Err(NameError::TooMany));
    }
}
