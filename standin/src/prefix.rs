//! A prefix cache as vLLM keeps one, seen from outside: how much of a prompt was met before.
//!
//! Granularity is one message, not one block of 16 tokens: a prompt hits up to its longest prefix of whole
//! messages that an earlier prompt shared. What the model itself wrote counts once it comes back in a prompt.

use std::collections::{HashSet, VecDeque};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A bounded set of prompt prefixes; the oldest goes first.
#[derive(Debug, Default)]
pub(crate) struct PrefixCache {
    capacity: usize,
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl PrefixCache {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// Tokens of `parts` (digest and tokens of each part of a prompt, in order) that an earlier prompt left
    /// here; then remembers this prompt.
    pub(crate) fn admit(&mut self, parts: &[(u64, u64)]) -> u64 {
        let mut chain = 0_u64;
        let mut cached = 0;
        let mut hit = true;
        for (digest, tokens) in parts {
            chain = xxh3_64_with_seed(&digest.to_le_bytes(), chain);
            hit = hit && self.known.contains(&chain);
            if hit {
                cached += tokens;
            } else {
                self.insert(chain);
            }
        }
        cached
    }

    fn insert(&mut self, key: u64) {
        if self.capacity == 0 || !self.known.insert(key) {
            return;
        }
        if self.order.len() == self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(key);
    }
}
