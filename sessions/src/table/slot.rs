//! One slot: a key and two copies of its payload.
//!
//! ```text
//! word 0, 1   key
//! word 2      copy A: stamp, checksum, payload
//! word 4 + P  copy B: stamp, checksum, payload
//! ```
//!
//! A writer, alone in the slot because it holds the bucket's lock, voids the older copy, fills it, and
//! publishes it by its stamp. Until that one store the newer copy stays untouched, so a process that dies
//! anywhere in between leaves the last acknowledged payload readable and no repair to do. A reader takes
//! no lock: it copies the newest payload out and reads its stamp again; the stamp has changed only if two
//! updates of this very slot overtook it.
//!
//! The checksum covers key, sequence number and payload. It is verified on every read.

use super::stamp::{Stamp, highest};
use crate::word::Word;

/// Longest payload, in words: what keeps a slot within 256 bytes.
pub(crate) const MAX_PAYLOAD: usize = 13;
/// A reader starts over this often before it asks for the bucket's lock.
const READ_ROUNDS: u32 = 64;

/// Words of a slot with a payload of `payload` words.
pub(crate) const fn slot_words(payload: usize) -> usize {
    2 + 2 * (2 + payload)
}

/// A slot's place in shared memory.
pub(crate) struct Slot<'a, W, const P: usize> {
    words: &'a [W],
}

impl<W, const P: usize> Clone for Slot<'_, W, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W, const P: usize> Copy for Slot<'_, W, P> {}

/// What a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content<const P: usize> {
    /// Nothing.
    Free,
    /// The newest payload.
    Held { key: u128, payload: [u64; P] },
    /// Damage hides what was newest; this is the payload before it.
    Stale { key: u128, payload: [u64; P] },
    /// Nothing readable is left.
    Corrupt,
    /// Updates kept overtaking the reader.
    Contended,
}

impl<'a, W: Word, const P: usize> Slot<'a, W, P> {
    pub(crate) fn new(words: &'a [W]) -> Self {
        const { assert!(P <= MAX_PAYLOAD) };
        debug_assert_eq!(words.len(), slot_words(P));
        Slot { words }
    }

    /// The key as it stands, unverified: good enough to skip a slot that another key's tag led to.
    #[inline]
    pub(crate) fn key_hint(self) -> u128 {
        u128::from(self.words[0].load()) | u128::from(self.words[1].load()) << 64
    }

    /// Asks for all of the slot's cache lines at once: which copy is the newest is known only after a miss.
    #[inline]
    pub(crate) fn prefetch(self) {
        const LINE_WORDS: usize = 8;
        for cell in self.words.iter().step_by(LINE_WORDS) {
            cell.prefetch();
        }
    }

    /// Reads the slot. Never waits for a writer.
    #[inline(always)]
    pub(crate) fn read(self) -> Content<P> {
        let (a, b) = self.stamps();
        W::acquire();
        if let (Stamp::Valid(_), Stamp::Valid(_) | Stamp::Void(_)) | (Stamp::Void(_), Stamp::Valid(_)) =
            (a, b)
        {
            // Which copy is the newest is a coin toss: compared, not branched on.
            let newest = usize::from(rank(b) > rank(a));
            if let Copied::Sound(key, payload) = self.copy(newest) {
                return Content::Held { key, payload };
            }
        }
        self.read_slowly()
    }

    /// Reads the slot when something is amiss: nothing in it, damage, or writers that overtake.
    #[cold]
    fn read_slowly(self) -> Content<P> {
        for round in 0..READ_ROUNDS {
            let (a, b) = self.stamps();
            W::acquire();
            let (newest, older) = match (a.valid(), b.valid()) {
                (Some(x), Some(y)) if x > y => (0, Some(1)),
                (Some(_), Some(_)) => (1, Some(0)),
                (Some(_), None) => (0, None),
                (None, Some(_)) => (1, None),
                // Two updates may have passed between the two loads; then the first word has changed.
                (None, None) if self.stamps().0 != a => {
                    W::relax(round);
                    continue;
                }
                (None, None) if a == Stamp::Bad || b == Stamp::Bad => return Content::Corrupt,
                (None, None) => return Content::Free,
            };
            let doubtful = a == Stamp::Bad || b == Stamp::Bad;
            match self.copy(newest) {
                Copied::Sound(key, payload) if doubtful => return Content::Stale { key, payload },
                Copied::Sound(key, payload) => return Content::Held { key, payload },
                Copied::Damaged => {}
                Copied::Overtaken => {
                    W::relax(round);
                    continue;
                }
            }
            match older.map(|copy| self.copy(copy)) {
                Some(Copied::Sound(key, payload)) => return Content::Stale { key, payload },
                Some(Copied::Damaged) | None => return Content::Corrupt,
                Some(Copied::Overtaken) => W::relax(round),
            }
        }
        Content::Contended
    }

    /// Replaces the payload of a held slot. The caller holds the bucket's lock and has read `key` here.
    #[inline]
    pub(crate) fn update(self, key: u128, payload: &[u64; P]) {
        let (a, b) = self.stamps();
        let target = usize::from(a.valid() > b.valid());
        let next = highest(a, b) + 1;
        self.stamp(target).publish(Stamp::Void(next).encode());
        W::release();
        self.fill(target, key, next, payload);
    }

    /// Gives the slot to `key`, whatever it held. The caller holds the bucket's lock.
    pub(crate) fn insert(self, key: u128, payload: &[u64; P]) {
        self.clear();
        let (a, b) = self.stamps();
        let next = highest(a, b) + 1;
        W::release();
        self.words[0].store(key as u64);
        self.words[1].store((key >> 64) as u64);
        self.fill(0, key, next, payload);
    }

    /// Frees the slot. The caller holds the bucket's lock.
    pub(crate) fn clear(self) {
        let (a, b) = self.stamps();
        let gone = Stamp::Void(highest(a, b) + 1).encode();
        // The older copy goes first: between the two stores the newest is still the one that counts.
        let newest = usize::from(b.valid() > a.valid());
        self.stamp(1 - newest).publish(gone);
        self.stamp(newest).publish(gone);
    }

    /// Gives up damaged copies for good, so that what `read` found stale is the newest from now on.
    pub(crate) fn settle(self) {
        for copy in 0..2 {
            let stamp = Stamp::decode(self.stamp(copy).load());
            let sound = stamp.valid().is_some() && matches!(self.copy(copy), Copied::Sound(..));
            if !sound && !matches!(stamp, Stamp::Void(_)) {
                let (a, b) = self.stamps();
                self.stamp(copy).publish(Stamp::Void(highest(a, b) + 1).encode());
            }
        }
    }

    #[inline]
    fn fill(self, copy: usize, key: u128, sequence: u64, payload: &[u64; P]) {
        let base = Self::base(copy);
        for (cell, word) in self.words[base + 2..base + 2 + P].iter().zip(payload) {
            cell.store(*word);
        }
        self.words[base + 1].store(checksum(key, sequence, payload));
        self.words[base].publish(Stamp::Valid(sequence).encode());
    }

    #[inline(always)]
    fn copy(self, copy: usize) -> Copied<P> {
        let base = Self::base(copy);
        let before = self.words[base].load();
        W::acquire();
        let key = self.key_hint();
        let sum = self.words[base + 1].load();
        let mut payload = [0; P];
        for (word, cell) in payload.iter_mut().zip(&self.words[base + 2..base + 2 + P]) {
            *word = cell.load();
        }
        W::acquire();
        if self.words[base].load() != before {
            return Copied::Overtaken;
        }
        match Stamp::decode(before) {
            Stamp::Valid(sequence) if checksum(key, sequence, &payload) == sum => Copied::Sound(key, payload),
            Stamp::Valid(_) => Copied::Damaged,
            Stamp::Void(_) | Stamp::Bad => Copied::Overtaken,
        }
    }

    #[inline]
    fn stamps(self) -> (Stamp, Stamp) {
        let a = self.stamp(0).load();
        // Whoever sees copy A given up must see copy B as complete as it was by then.
        W::acquire();
        (Stamp::decode(a), Stamp::decode(self.stamp(1).load()))
    }

    #[inline]
    fn stamp(self, copy: usize) -> &'a W {
        &self.words[Self::base(copy)]
    }

    const fn base(copy: usize) -> usize {
        2 + copy * (2 + P)
    }
}

/// Orders stamps by newness; only a complete copy has a rank above zero.
#[inline]
fn rank(stamp: Stamp) -> u64 {
    if let Stamp::Valid(number) = stamp { number + 1 } else { 0 }
}

enum Copied<const P: usize> {
    Sound(u128, [u64; P]),
    Damaged,
    Overtaken,
}

/// xxh3 of key, sequence number and payload: guards against accidents, not against forgery.
#[inline]
fn checksum<const P: usize>(key: u128, sequence: u64, payload: &[u64; P]) -> u64 {
    let mut bytes = [0_u8; 8 * (3 + MAX_PAYLOAD)];
    bytes[..16].copy_from_slice(&key.to_le_bytes());
    bytes[16..24].copy_from_slice(&sequence.to_le_bytes());
    for (place, word) in bytes[24..].chunks_exact_mut(8).zip(payload) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    xxhash_rust::xxh3::xxh3_64(&bytes[..8 * (3 + P)])
}
