//! A fixed-capacity table of fixed-size payloads under 128-bit keys, in shared memory.
//!
//! # Why buckets and not open addressing
//!
//! A key may live in one of two buckets of 28 slots: the first, or, where that is crowded, the emptier of the
//! two. No chain leads through other keys' slots, so there are no tombstones, no rehash, and removal is
//! local. Two choices fill the table to 88 % before a bucket overflows; one choice would stop near 65 %. In
//! a simulation of 246,400 keys in 10,000 buckets no insert failed up to that load, and 39 of 500,000 under
//! random churn at it; 91 % of the keys were in their first bucket, so that a lookup mostly costs two
//! misses: one line of tags, and the slot. All 56 slots are candidates when something must go, which comes
//! close to true least-recently-used order.
//!
//! # Order of events
//!
//! Changing a held payload needs its bucket's lock; adding a key needs the locks of both its buckets,
//! taken in ascending order, so that a key never has two slots. A slot is true by itself; tags follow it.
//! A crash between the two leaves a held lock, and whoever finds it rebuilds the tags before going on.

pub(crate) use slot::MAX_PAYLOAD;

mod bucket;
mod slot;
mod stamp;

use std::sync::atomic::{AtomicU64, Ordering};

use bucket::{HEAD_WORDS, Head, Locked, Tag, WAYS, Ways};
use slot::{Content, Slot, slot_words};

use crate::peers::Peers;
use crate::word::Word;

/// Share of the slots that a table's capacity counts on.
const FILL: f64 = 0.88;
/// Slots in use from which on a key's first bucket is compared with its second.
const CROWDED: usize = 23;
/// Two choices need two buckets.
const MIN_BUCKETS: usize = 2;

/// What happened in a table since it was opened.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Slots or heads whose bytes were found damaged.
    pub(crate) corrupt: AtomicU64,
    /// Damaged slots of which the payload before the last was saved.
    pub(crate) stale: AtomicU64,
    /// Buckets repaired after a process died in them.
    pub(crate) inherited: AtomicU64,
    /// Writers that gave up waiting for a lock.
    pub(crate) busy: AtomicU64,
}

/// Sizes of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) buckets: usize,
}

impl Shape {
    /// The smallest table that holds `capacity` keys.
    pub(crate) fn for_capacity(capacity: u64) -> Shape {
        let buckets = (capacity as f64 / (WAYS as f64 * FILL)).ceil() as usize;
        Shape { buckets: buckets.max(MIN_BUCKETS) }
    }

    pub(crate) const fn head_words(self) -> usize {
        self.buckets * HEAD_WORDS
    }

    pub(crate) const fn slot_words(self, payload: usize) -> usize {
        self.buckets * WAYS * slot_words(payload)
    }

    pub(crate) const fn slots(self) -> usize {
        self.buckets * WAYS
    }
}

/// A payload and whether damage made it older than the last one written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found<const P: usize> {
    pub(crate) payload: [u64; P],
    pub(crate) stale: bool,
}

/// What became of an upsert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upsert {
    /// The key had a slot, which holds the new payload.
    Updated,
    /// The key took a free slot.
    Inserted,
    /// The key took the slot of another, of this rank, which is gone.
    Evicted(u64),
    /// The update function wanted nothing written.
    Declined,
    /// Every slot is one to keep.
    Full,
    /// A lock did not come free.
    Busy,
}

/// A table in shared memory, as one opening of the file sees it.
pub(crate) struct Table<'a, W, const P: usize> {
    heads: &'a [W],
    slots: &'a [W],
    shape: Shape,
    owner: u32,
    peers: Option<&'a Peers>,
    tally: &'a Tally,
}

#[derive(Clone, Copy)]
struct Place {
    buckets: [usize; 2],
    tag: Tag,
}

impl<'a, W: Word, const P: usize> Table<'a, W, P> {
    /// `owner` is this opening's lock value: never zero and never one that an earlier opening used.
    #[inline]
    pub(crate) fn new(heads: &'a [W], slots: &'a [W], shape: Shape, owner: u32, tally: &'a Tally) -> Self {
        debug_assert_eq!(heads.len(), shape.head_words());
        debug_assert_eq!(slots.len(), shape.slot_words(P));
        Table { heads, slots, shape, owner, peers: None, tally }
    }

    /// The same table, with openings of other processes at work in it.
    #[inline]
    pub(crate) fn beside(self, peers: Option<&'a Peers>) -> Self {
        Table { peers, ..self }
    }

    /// The payload under `key`. Takes no lock unless it meets damage.
    #[inline]
    pub(crate) fn get(&self, key: u128) -> Option<Found<P>> {
        let place = self.place(key);
        let mut suspect = false;
        for bucket in place.buckets {
            for way in self.candidates(bucket, place.tag) {
                match self.slot(bucket, way).read() {
                    Content::Held { key: held, payload } if held == key => {
                        return Some(Found { payload, stale: false });
                    }
                    Content::Held { .. } | Content::Free => {}
                    Content::Stale { .. } | Content::Corrupt | Content::Contended => suspect = true,
                }
            }
        }
        if suspect || place.buckets.iter().any(|&bucket| self.is_suspect(bucket)) {
            return self.get_locked(key, place);
        }
        None
    }

    /// Writes what `update` makes of the payload under `key`.
    ///
    /// `update` runs at most once, under a lock: it must be short. If the key is new and both its buckets
    /// are full, the payload with the lowest `rank` goes; `None` is one to keep.
    pub(crate) fn upsert(
        &self,
        key: u128,
        update: impl FnOnce(Option<Found<P>>) -> Option<[u64; P]>,
        rank: impl Fn(&[u64; P]) -> Option<u64>,
    ) -> Upsert {
        let place = self.place(key);
        if let Some((bucket, way)) = self.hint(key, place) {
            let Some(_locked) = self.lock(bucket) else { return Upsert::Busy };
            match self.slot(bucket, way).read() {
                Content::Held { key: held, payload } if held == key => {
                    return self.write(bucket, way, key, Found { payload, stale: false }, update);
                }
                // Gone, moved or damaged since: the long way settles it.
                _ => {}
            }
        }
        let Some(mut pair) = self.lock_both(place) else { return Upsert::Busy };
        for (locked, bucket) in pair.iter_mut().zip(place.buckets) {
            self.contain(locked, bucket, place.tag);
            if let Some((way, found)) = self.find_in(bucket, key, place.tag) {
                return self.write(bucket, way, key, found, update);
            }
        }
        let Some((side, way, evicted)) = self.room(&pair, place, rank) else {
            return if update(None).is_some() { Upsert::Full } else { Upsert::Declined };
        };
        let Some(payload) = update(None) else { return Upsert::Declined };
        self.slot(place.buckets[side], way).insert(key, &payload);
        pair[side].retag(way, Some(place.tag));
        evicted.map_or(Upsert::Inserted, Upsert::Evicted)
    }

    /// Frees the slot of `key` if `gone` agrees; `None` if the key has none, or its lock did not come free.
    pub(crate) fn remove(&self, key: u128, gone: impl Fn(&[u64; P]) -> bool) -> Option<[u64; P]> {
        let place = self.place(key);
        for bucket in place.buckets {
            let mut locked = self.lock(bucket)?;
            self.repair_unsound(&mut locked, bucket);
            if let Some((way, found)) = self.find_in(bucket, key, place.tag) {
                if !gone(&found.payload) {
                    return None;
                }
                self.slot(bucket, way).clear();
                locked.retag(way, None);
                return Some(found.payload);
            }
        }
        None
    }

    /// Every held key and payload of one bucket. Takes no lock; damage is left for `verify`.
    pub(crate) fn bucket(&self, bucket: usize) -> impl Iterator<Item = (u128, Found<P>)> + use<'a, W, P> {
        let slots = self.slots;
        self.head(bucket).occupied().filter_map(move |way| match slot_at::<W, P>(slots, bucket, way).read() {
            Content::Held { key, payload } => Some((key, Found { payload, stale: false })),
            Content::Stale { key, payload } => Some((key, Found { payload, stale: true })),
            Content::Free | Content::Corrupt | Content::Contended => None,
        })
    }

    /// Checks every byte that is in use in `bucket`, and gives up what is damaged.
    pub(crate) fn verify(&self, bucket: usize) {
        if let Some(mut locked) = self.lock(bucket) {
            let before = self.damage();
            let unsound = !locked.head().is_sound();
            self.repair(&mut locked, bucket);
            if unsound && self.damage() == before {
                self.tally.corrupt.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Checks everything, and settles keys that a torn write-back left in both their buckets: the payload
    /// with the higher `age` stays.
    pub(crate) fn verify_all(&self, age: impl Fn(&[u64; P]) -> u64) {
        for bucket in 0..self.shape.buckets {
            self.verify(bucket);
        }
        for bucket in 0..self.shape.buckets {
            let twice = self.bucket(bucket).filter_map(|(key, found)| {
                let [first, second] = self.place(key).buckets;
                let other = (second == bucket).then_some(first)?;
                let (_, twin) = self.bucket(other).find(|(held, _)| *held == key)?;
                Some((key, if age(&twin.payload) < age(&found.payload) { other } else { bucket }))
            });
            for (key, loser) in twice.collect::<Vec<_>>() {
                self.remove_from(loser, key);
            }
        }
    }

    fn remove_from(&self, bucket: usize, key: u128) {
        let Some(mut locked) = self.lock(bucket) else { return };
        if let Some((way, _)) = self.find_in(bucket, key, self.place(key).tag) {
            self.slot(bucket, way).clear();
            locked.retag(way, None);
        }
    }

    /// Slots in use.
    pub(crate) fn occupied(&self) -> usize {
        (0..self.shape.buckets).map(|bucket| self.head(bucket).occupied().count()).sum()
    }

    fn damage(&self) -> u64 {
        self.tally.corrupt.load(Ordering::Relaxed)
    }

    #[inline]
    fn place(&self, key: u128) -> Place {
        // Keys are hashes already; mixing keeps a caller's counter from piling up in a few buckets.
        let (low, high) = (key as u64, (key >> 64) as u64);
        let mixed = (low ^ high.rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let spread = mixed ^ mixed >> 32;
        let spread = spread.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let buckets = self.shape.buckets as u64;
        let first = ((spread >> 32) * buckets) >> 32;
        let step = 1 + (((spread & 0xFFFF_FFFF) * (buckets - 1)) >> 32);
        let second = if first + step < buckets { first + step } else { first + step - buckets };
        Place { buckets: [first as usize, second as usize], tag: Tag::of((mixed >> 24) as u16) }
    }

    /// The bucket and way that seem to hold `key`.
    #[inline]
    fn hint(&self, key: u128, place: Place) -> Option<(usize, usize)> {
        for bucket in place.buckets {
            for way in self.candidates(bucket, place.tag) {
                if self.slot(bucket, way).key_hint() == key {
                    return Some((bucket, way));
                }
            }
        }
        None
    }

    /// The ways of a bucket that carry a tag, their cache lines on the way already.
    #[inline]
    fn candidates(&self, bucket: usize, tag: Tag) -> Ways {
        let ways = self.head(bucket).tagged(tag);
        for way in ways {
            self.slot(bucket, way).prefetch();
        }
        ways
    }

    /// Finds `key` in a bucket whose lock is held, and gives up damaged copies on the way.
    fn find_in(&self, bucket: usize, key: u128, tag: Tag) -> Option<(usize, Found<P>)> {
        self.head(bucket).tagged(tag).find_map(|way| match self.slot(bucket, way).read() {
            Content::Held { key: held, payload } if held == key => {
                Some((way, Found { payload, stale: false }))
            }
            Content::Stale { key: held, payload } if held == key => {
                self.count_stale();
                self.slot(bucket, way).settle();
                Some((way, Found { payload, stale: true }))
            }
            _ => None,
        })
    }

    #[inline]
    fn write(
        &self,
        bucket: usize,
        way: usize,
        key: u128,
        found: Found<P>,
        update: impl FnOnce(Option<Found<P>>) -> Option<[u64; P]>,
    ) -> Upsert {
        match update(Some(found)) {
            Some(payload) => {
                self.slot(bucket, way).update(key, &payload);
                Upsert::Updated
            }
            None => Upsert::Declined,
        }
    }

    /// A slot for a new key: side, way, and the rank of its holder.
    fn room(
        &self,
        pair: &[Locked<'a, W>; 2],
        place: Place,
        rank: impl Fn(&[u64; P]) -> Option<u64>,
    ) -> Option<(usize, usize, Option<u64>)> {
        let free = [pair[0].head().free(), pair[1].head().free()];
        let crowded = WAYS - free[0].count() >= CROWDED;
        let side = usize::from(crowded && free[1].count() > free[0].count());
        let mut ways = free[side];
        if let Some(way) = ways.next() {
            return Some((side, way, None));
        }
        let mut victim: Option<(u64, usize, usize)> = None;
        for (side, bucket) in place.buckets.into_iter().enumerate() {
            for way in 0..WAYS {
                let rank = match self.slot(bucket, way).read() {
                    Content::Held { payload, .. } | Content::Stale { payload, .. } => rank(&payload),
                    Content::Free | Content::Corrupt => Some(0),
                    Content::Contended => None,
                };
                if let Some(rank) = rank
                    && victim.is_none_or(|(lowest, ..)| rank < lowest)
                {
                    victim = Some((rank, side, way));
                }
            }
        }
        victim.map(|(rank, side, way)| (side, way, Some(rank)))
    }

    #[cold]
    fn get_locked(&self, key: u128, place: Place) -> Option<Found<P>> {
        for bucket in place.buckets {
            let mut locked = self.lock(bucket)?;
            self.repair_unsound(&mut locked, bucket);
            self.contain(&mut locked, bucket, place.tag);
            if let Some((_, found)) = self.find_in(bucket, key, place.tag) {
                return Some(found);
            }
        }
        None
    }

    /// Gives up what cannot be read among the slots that `tag` leads to.
    fn contain(&self, locked: &mut Locked<'a, W>, bucket: usize, tag: Tag) {
        if self.head(bucket).tagged(tag).any(|way| self.slot(bucket, way).read() == Content::Corrupt) {
            self.repair(locked, bucket);
        }
    }

    /// Another process died or is at work here, or the tags are not what a writer left and none is at work.
    fn is_suspect(&self, bucket: usize) -> bool {
        let head = self.head(bucket);
        head.is_abandoned(self.owner) || !head.is_sound() && !head.is_held_by(self.owner)
    }

    fn lock(&self, bucket: usize) -> Option<Locked<'a, W>> {
        let lives = |holder, round| self.peers.is_some_and(|peers| peers.lives(holder, round));
        let Some(mut locked) = self.head(bucket).lock(self.owner, lives) else {
            self.tally.busy.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        if locked.is_inherited() {
            self.tally.inherited.fetch_add(1, Ordering::Relaxed);
            self.repair(&mut locked, bucket);
        }
        Some(locked)
    }

    fn lock_both(&self, place: Place) -> Option<[Locked<'a, W>; 2]> {
        let [first, second] = place.buckets;
        let (mut low, mut high) = (self.lock(first.min(second))?, self.lock(first.max(second))?);
        self.repair_unsound(&mut low, first.min(second));
        self.repair_unsound(&mut high, first.max(second));
        Some(if first < second { [low, high] } else { [high, low] })
    }

    fn repair_unsound(&self, locked: &mut Locked<'a, W>, bucket: usize) {
        if !locked.head().is_sound() {
            self.tally.corrupt.fetch_add(1, Ordering::Relaxed);
            self.repair(locked, bucket);
        }
    }

    /// Rebuilds the tags of `bucket` from its slots, and frees slots that cannot be read.
    #[cold]
    fn repair(&self, locked: &mut Locked<'a, W>, bucket: usize) {
        for way in 0..WAYS {
            let slot = self.slot(bucket, way);
            let tag = match slot.read() {
                Content::Free => None,
                Content::Held { key, .. } => self.tag_in(bucket, key),
                Content::Stale { key, .. } => {
                    self.count_stale();
                    slot.settle();
                    self.tag_in(bucket, key)
                }
                Content::Corrupt | Content::Contended => {
                    self.tally.corrupt.fetch_add(1, Ordering::Relaxed);
                    None
                }
            };
            if tag.is_none() {
                slot.clear();
            }
            locked.retag(way, tag);
        }
        locked.vouch();
    }

    fn tag_in(&self, bucket: usize, key: u128) -> Option<Tag> {
        let place = self.place(key);
        place.buckets.contains(&bucket).then_some(place.tag)
    }

    fn count_stale(&self) {
        self.tally.corrupt.fetch_add(1, Ordering::Relaxed);
        self.tally.stale.fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    fn head(&self, bucket: usize) -> Head<'a, W> {
        Head::new(&self.heads[bucket * HEAD_WORDS..(bucket + 1) * HEAD_WORDS])
    }

    #[inline]
    fn slot(&self, bucket: usize, way: usize) -> Slot<'a, W, P> {
        slot_at(self.slots, bucket, way)
    }
}

#[inline]
fn slot_at<W: Word, const P: usize>(slots: &[W], bucket: usize, way: usize) -> Slot<'_, W, P> {
    let size = slot_words(P);
    let start = (bucket * WAYS + way) * size;
    Slot::new(&slots[start..start + size])
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
