//! One bucket's head: the writers' lock and the tags of its 28 slots, in one cache line.
//!
//! ```text
//! word 0      low half: owner of the lock, zero when free; high half: check over the tags
//! word 1..8   28 tags of 16 bits, four to a word; zero for a free slot
//! ```
//!
//! Tags are an index: the slots say what is true, and a head can be rebuilt from them. The check tells
//! when that is due. The owner is a number that differs for every opening of the file, so that a lock
//! held by a process that died is recognised as such, taken over, and its bucket repaired first.

use crate::word::Word;

/// Slots of a bucket.
pub(crate) const WAYS: usize = 28;
/// Words of a head: one cache line.
pub(crate) const HEAD_WORDS: usize = 8;
const TAGS_PER_WORD: usize = 4;
/// Rounds after which a writer gives up. All but the first lets other threads run: the holder, preempted
/// on a crowded machine, gets its turn long before this.
const LOCK_ROUNDS: u32 = 1 << 22;

/// 16 bits of a key, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag(u16);

impl Tag {
    pub(crate) const fn of(bits: u16) -> Tag {
        Tag(if bits == 0 { 1 } else { bits })
    }
}

/// A set of ways, walked from the lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ways(u32);

impl Iterator for Ways {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let way = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(way)
    }
}

impl Ways {
    pub(crate) const fn count(self) -> usize {
        self.0.count_ones() as usize
    }
}

/// A head's place in shared memory.
pub(crate) struct Head<'a, W> {
    words: &'a [W],
}

impl<W> Clone for Head<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Head<'_, W> {}

impl<'a, W: Word> Head<'a, W> {
    pub(crate) fn new(words: &'a [W]) -> Self {
        debug_assert_eq!(words.len(), HEAD_WORDS);
        Head { words }
    }

    /// Ways that carry `tag`.
    #[inline]
    pub(crate) fn tagged(self, tag: Tag) -> Ways {
        self.with_bits(tag.0)
    }

    /// Ways that carry no tag.
    pub(crate) fn free(self) -> Ways {
        self.with_bits(0)
    }

    /// Ways that carry a tag.
    pub(crate) fn occupied(self) -> Ways {
        Ways(!self.free().0 & ((1 << WAYS) - 1))
    }

    #[inline]
    fn with_bits(self, bits: u16) -> Ways {
        let words = std::array::from_fn(|index| self.words[index].load());
        // The first word is not tags: its four ways are shifted out.
        Ways(equal_lanes(&words, bits) >> TAGS_PER_WORD)
    }

    /// Whether the tags are what the last writer left. False also for a moment while one is at work.
    pub(crate) fn is_sound(self) -> bool {
        let tags = self.check();
        W::acquire();
        (self.words[0].load() >> 32) as u32 == tags
    }

    /// Whether another process holds the lock, most likely one that is gone.
    pub(crate) fn is_abandoned(self, owner: u32) -> bool {
        ![0, owner].contains(&(self.words[0].load() as u32))
    }

    /// Whether a writer of this opening holds the lock.
    pub(crate) fn is_held_by(self, owner: u32) -> bool {
        self.words[0].load() as u32 == owner
    }

    /// Takes the lock; `None` if it did not come free in `LOCK_ROUNDS` rounds.
    ///
    /// `lives` says of another holder whether it must be waited for; it is asked in every round.
    pub(crate) fn lock(self, owner: u32, lives: impl Fn(u32, u32) -> bool) -> Option<Locked<'a, W>> {
        self.lock_within(LOCK_ROUNDS, owner, lives)
    }

    fn lock_within(self, rounds: u32, owner: u32, lives: impl Fn(u32, u32) -> bool) -> Option<Locked<'a, W>> {
        for round in 0..rounds {
            let word = self.words[0].load();
            let holder = word as u32;
            let free = holder == 0 || holder != owner && !lives(holder, round);
            if free && self.words[0].swap_if(word, word >> 32 << 32 | u64::from(owner)) {
                return Some(Locked { head: self, inherited: holder != 0, retagged: false });
            }
            W::relax(round);
        }
        None
    }

    fn check(self) -> u32 {
        let mix =
            |sum: u64, cell: &W| (sum.rotate_left(23) ^ cell.load()).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (self.words[1..HEAD_WORDS].iter().fold(0, mix) >> 32) as u32
    }
}

/// A head whose lock this thread holds; dropping it unlocks.
pub(crate) struct Locked<'a, W: Word> {
    head: Head<'a, W>,
    inherited: bool,
    retagged: bool,
}

impl<'a, W: Word> Locked<'a, W> {
    pub(crate) fn head(&self) -> Head<'a, W> {
        self.head
    }

    /// The lock was left behind by a process that died in the middle of a change.
    pub(crate) fn is_inherited(&self) -> bool {
        self.inherited
    }

    /// Sets the tag of `way`; `None` marks it free.
    pub(crate) fn retag(&mut self, way: usize, tag: Option<Tag>) {
        let shift = way % TAGS_PER_WORD * 16;
        let cell = &self.head.words[1 + way / TAGS_PER_WORD];
        let bits = u64::from(tag.map_or(0, |tag| tag.0));
        cell.publish(cell.load() & !(0xFFFF << shift) | bits << shift);
        self.retagged = true;
    }

    /// Declares the tags right as they stand.
    pub(crate) fn vouch(&mut self) {
        let owner = self.head.words[0].load() << 32 >> 32;
        self.head.words[0].publish(u64::from(self.head.check()) << 32 | owner);
        self.inherited = false;
        self.retagged = false;
    }
}

impl<W: Word> Drop for Locked<'_, W> {
    fn drop(&mut self) {
        let check =
            if self.retagged { u64::from(self.head.check()) } else { self.head.words[0].load() >> 32 };
        self.head.words[0].publish(check << 32);
    }
}

/// One bit for each of the 32 lanes of 16 bits that equals `bits`.
#[cfg(target_arch = "x86_64")]
#[inline]
fn equal_lanes(words: &[u64; HEAD_WORDS], bits: u16) -> u32 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi16, _mm_movemask_epi8, _mm_packs_epi16, _mm_set_epi64x, _mm_set1_epi16,
    };

    #[inline]
    #[target_feature(enable = "sse2")]
    fn compare(words: &[u64; HEAD_WORDS], bits: u16) -> i32 {
        let pattern = _mm_set1_epi16(bits.cast_signed());
        let pair = |index: usize| {
            let lanes = _mm_set_epi64x(words[index + 1].cast_signed(), words[index].cast_signed());
            _mm_cmpeq_epi16(lanes, pattern)
        };
        let half = |index: usize| _mm_movemask_epi8(_mm_packs_epi16(pair(index), pair(index + 2)));
        half(0) | half(4) << 16
    }

    // SAFETY: every x86-64 processor has SSE2.
    unsafe { compare(words, bits) }.cast_unsigned()
}

/// One bit for each of the 32 lanes of 16 bits that equals `bits`.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn equal_lanes(words: &[u64; HEAD_WORDS], bits: u16) -> u32 {
    (0..HEAD_WORDS * TAGS_PER_WORD).fold(0, |equal, lane| {
        let tag = (words[lane / TAGS_PER_WORD] >> (lane % TAGS_PER_WORD * 16)) as u16;
        equal | u32::from(tag == bits) << lane
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    fn words() -> [AtomicU64; HEAD_WORDS] {
        Default::default()
    }

    fn dead(_holder: u32, _round: u32) -> bool {
        false
    }

    #[test]
    fn equal_lanes_are_exact() {
        for lane in 0..32 {
            for (bits, other) in
                [(0_u16, 1_u16), (1, 0), (0x7FFF, 0xFFFF), (0x8000, 0), (0xFFFF, 0x7FFF), (0x00FF, 0xFF00)]
            {
                let mut words = [u64::from(other) * 0x0001_0001_0001_0001; HEAD_WORDS];
                let shift = lane % 4 * 16;
                words[lane / 4] = words[lane / 4] & !(0xFFFF << shift) | u64::from(bits) << shift;
                assert_eq!(equal_lanes(&words, bits), 1 << lane, "{bits:x} among {other:x}");
            }
        }
    }

    #[test]
    fn tags_are_found_and_freed() {
        let words = words();
        let head = Head::new(&words);
        assert_eq!(head.free().count(), WAYS);
        let mut locked = head.lock(9, dead).expect("free");
        for way in 0..WAYS {
            locked.retag(way, Some(Tag::of(way as u16 / 2)));
        }
        assert!(head.is_held_by(9));
        drop(locked);
        assert!(head.is_sound());
        assert_eq!(head.free().count(), 0);
        assert_eq!(head.tagged(Tag::of(0)).collect::<Vec<_>>(), [0, 1, 2, 3], "zero bits read as tag one");
        assert_eq!(head.tagged(Tag::of(13)).collect::<Vec<_>>(), [26, 27]);
        head.lock(9, dead).expect("free").retag(26, None);
        assert_eq!(head.free().collect::<Vec<_>>(), [26]);
        assert_eq!(head.occupied().count(), WAYS - 1);
    }

    #[test]
    fn a_dead_owner_is_inherited_from_and_a_living_one_waited_for() {
        let words = words();
        let head = Head::new(&words);
        std::mem::forget(head.lock(1, dead));
        assert!(head.lock(2, dead).expect("taken over").is_inherited());
        std::mem::forget(head.lock(2, dead));
        assert!(head.lock_within(100, 2, dead).is_none(), "gives up");
        assert!(head.lock_within(100, 3, |_, _| true).is_none(), "another process at work is waited for");
        let late = head.lock_within(100, 3, |holder, round| holder != 2 || round < 50);
        assert!(late.expect("it died").is_inherited());
    }

    #[test]
    fn damaged_tags_are_noticed() {
        let words = words();
        let head = Head::new(&words);
        assert!(head.is_sound(), "a fresh file is sound");
        head.lock(1, dead).expect("free").retag(5, Some(Tag::of(77)));
        for word in &words[1..] {
            for bit in 0..64 {
                word.fetch_xor(1 << bit, std::sync::atomic::Ordering::Relaxed);
                assert!(!head.is_sound(), "bit {bit}");
                word.fetch_xor(1 << bit, std::sync::atomic::Ordering::Relaxed);
            }
        }
    }
}
