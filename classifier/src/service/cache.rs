//! Answers that were given before: by model and exact text.
//!
//! Agents send the same history again with every turn. The key is a keyed 128-bit hash of the text together
//! with the model's digest, so that nobody can make two texts share an answer.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use crate::reader::{TextReading, Wanted};

/// Bytes that an entry takes besides the reading itself, about.
const OVERHEAD: usize = 128;

pub(super) struct Cache {
    entries: Mutex<Entries>,
    limit: usize,
    /// Two independent keyed hashes (SipHash-1-3 with keys of this process) make one of 128 bits.
    low: RandomState,
    high: RandomState,
}

struct Entries {
    map: LruCache<u128, Arc<TextReading>>,
    bytes: usize,
}

impl Cache {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            entries: Mutex::new(Entries { map: LruCache::unbounded(), bytes: 0 }),
            limit,
            low: RandomState::new(),
            high: RandomState::new(),
        }
    }

    pub(super) fn key(&self, model: &[u8; 32], text: &str) -> u128 {
        let hash = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            hasher.write(model);
            hasher.write(text.as_bytes());
            hasher.finish()
        };
        u128::from(hash(&self.low)) << 64 | u128::from(hash(&self.high))
    }

    /// A reading that has everything wanted.
    pub(super) fn get(&self, key: u128, wanted: Wanted) -> Option<Arc<TextReading>> {
        if self.limit == 0 {
            return None;
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.map.get(&key).filter(|reading| reading.has.covers(wanted)).cloned()
    }

    pub(super) fn put(&self, key: u128, reading: &Arc<TextReading>) {
        let size = reading.size() + OVERHEAD;
        if size > self.limit {
            return;
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.bytes += size;
        if let Some((_, old)) = entries.map.push(key, reading.clone()) {
            entries.bytes -= old.size() + OVERHEAD;
        }
        while entries.bytes > self.limit {
            let Some((_, old)) = entries.map.pop_lru() else { break };
            entries.bytes -= old.size() + OVERHEAD;
        }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.entries.lock().unwrap().bytes
    }
}
