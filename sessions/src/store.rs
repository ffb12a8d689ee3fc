//! The store as its users see it.

use std::fs::File;
use std::hash::Hasher;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::error::NameError;
use crate::file::{Header, Layout, Map, Part};
use crate::names::Names;
use crate::open::{Paths, Verified};
use crate::peers::Peers;
use crate::record::{NameId, PIN_WORDS, Pin, RECORD_WORDS, Record};
use crate::table::{Found, Table, Tally, Upsert};

/// Added to the rank of what is alive, so that anything expired goes first.
const ALIVE: u64 = 1 << 63;
/// The highest bits of a pin's rank: over, alive, or held by a locked session.
const CLASSES: u64 = 0b11 << 62;
const SESSION_DOMAIN: u8 = 1;
const RESPONSE_DOMAIN: u8 = 2;

/// Router-owned session memory. Shared by reference between all threads of the process that owns it, and
/// during an upgrade with the process that takes over ([`Store::share`]).
///
/// Reading takes no lock. Writing locks a bucket of 28 slots for about 100 ns.
pub struct Store {
    // Held, not read: closing it lets go of the files.
    _lock: Option<File>,
    paths: Option<Paths>,
    header: Header,
    layout: Layout,
    map: Map,
    names: Names,
    owner: u32,
    peers: Option<Peers>,
    ttl_ms: AtomicU64,
    sessions: Counters,
    pins: Counters,
}

#[derive(Default)]
struct Counters {
    tally: Tally,
    evicted: AtomicU64,
    expired: AtomicU64,
    full: AtomicU64,
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The key was known and holds the new record.
    Updated,
    /// The key is new and took a free slot, or that of an expired one.
    Created,
    /// The key is new; the longest idle, unlocked session of its buckets was forgotten for it.
    CreatedByEviction,
    /// Every session of the key's buckets is locked: nothing was written.
    Full,
    /// The update function returned `None`: nothing was written.
    Declined,
    /// A lock did not come free within its bound: nothing was written.
    Busy,
}

impl CommitOutcome {
    /// Whether the record is in the memory now, and survives the death of this process.
    pub const fn is_remembered(self) -> bool {
        matches!(self, CommitOutcome::Updated | CommitOutcome::Created | CommitOutcome::CreatedByEviction)
    }
}

/// One table in numbers. Counts are since opening, except `capacity` and `occupied`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct TableStats {
    /// What was asked for.
    pub capacity: u64,
    /// Slots there are: more than the capacity, so that hashing finds room for all of it.
    pub slots: u64,
    /// Slots in use, expired ones included.
    pub occupied: u64,
    /// Living records that were forgotten for a new one.
    pub evicted: u64,
    /// Expired records whose slot was used again, or swept.
    pub expired: u64,
    /// Commits without room.
    pub full: u64,
    /// Damage found.
    pub corrupt: u64,
    /// Damaged records that went back one turn.
    pub stale: u64,
    /// Buckets repaired after a process died in them.
    pub recovered: u64,
    /// Operations that gave up waiting for a lock.
    pub busy: u64,
}

/// The whole memory in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Sessions.
    pub sessions: TableStats,
    /// Response ids.
    pub pins: TableStats,
    /// Interned names.
    pub names: u64,
    /// Size of the file.
    pub file_bytes: u64,
}

/// Sessions by state, counted by reading every one of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Census {
    /// Neither expired nor locked.
    pub idle: u64,
    /// In a tool loop, or with provider state.
    pub locked: u64,
    /// Their time is over; a new session may take their slot.
    pub expired: u64,
}

impl Store {
    pub(crate) fn assemble(
        lock: File,
        paths: Paths,
        header: Header,
        map: Map,
        names: Names,
        ttl_ms: u64,
        peers: Peers,
    ) -> Store {
        Store {
            _lock: Some(lock),
            paths: Some(paths),
            header,
            layout: Layout::of(&header),
            map,
            names,
            owner: peers.owner(),
            peers: Some(peers),
            ttl_ms: AtomicU64::new(ttl_ms),
            sessions: Counters::default(),
            pins: Counters::default(),
        }
    }

    /// The record of a session; `None` if there is none or its time is over.
    ///
    /// A record with [`Record::STALE`] set is the turn before the last: the last one was damaged.
    #[inline]
    pub fn get(&self, key: u128, now_ms: u64) -> Option<Record> {
        self.record(&self.session_table().get(key)?, now_ms)
    }

    /// Replaces the record of `key` by what `update` makes of it, atomically.
    ///
    /// `update` sees the record as it is now, not as an earlier [`Store::get`] returned it, and may return
    /// `None` to leave it. It runs at most once, under a lock that other sessions share: it must not wait
    /// for anything. When this returns an outcome that [is remembered](CommitOutcome::is_remembered), the
    /// record survives the death of the process, though not that of the machine.
    #[inline]
    pub fn commit(
        &self,
        key: u128,
        update: impl FnOnce(Option<&Record>) -> Option<Record>,
        now_ms: u64,
    ) -> CommitOutcome {
        let ttl_ms = self.ttl_ms();
        let update = |found: Option<Found<RECORD_WORDS>>| {
            let before = found.and_then(|found| self.record(&found, now_ms));
            update(before.as_ref()).map(Record::to_words)
        };
        let rank = |words: &[u64; RECORD_WORDS]| match Record::from_words(words) {
            Some(record) if record.is_locked(now_ms) => None,
            Some(record) if record.is_expired(now_ms, ttl_ms) => Some(record.last_seen_ms & !ALIVE),
            Some(record) => Some(record.last_seen_ms | ALIVE),
            None => Some(0),
        };
        self.sessions.count(self.session_table().upsert(key, update, rank))
    }

    /// Forgets a session, locked or not, and returns what was known of it.
    pub fn remove(&self, key: u128) -> Option<Record> {
        self.session_table().remove(key, |_| true).and_then(|words| Record::from_words(&words))
    }

    /// Remembers where a response lives, or whom a tool call belongs to.
    ///
    /// [`CommitOutcome::Full`] cannot happen. When there is no room, the oldest pin goes of those that are over; else
    /// of those that no locked session was left with by its last turn; else of all.
    pub fn pin_response(&self, key: u128, pin: &Pin, now_ms: u64) -> CommitOutcome {
        let rank = |words: &[u64; PIN_WORDS]| {
            Some(Pin::from_words(words).map_or(0, |pin| self.pin_rank(&pin, now_ms)))
        };
        self.pins.count(self.pin_table().upsert(key, |_| Some(pin.to_words()), rank))
    }

    /// The lower, the sooner a pin goes when there is no room.
    pub(crate) fn pin_rank(&self, pin: &Pin, now_ms: u64) -> u64 {
        let held = || {
            let session = self.get(pin.session.into(), now_ms);
            session.is_some_and(|s| s.is_locked(now_ms) && s.last_seen_ms <= pin.created_ms)
        };
        let class = match pin.expires_ms > now_ms {
            false => 0,
            true if held() => CLASSES,
            true => ALIVE,
        };
        pin.created_ms & !CLASSES | class
    }

    /// Where a response lives; `None` if it is unknown or its time is over.
    pub fn pinned(&self, key: u128, now_ms: u64) -> Option<Pin> {
        let pin = Pin::from_words(&self.pin_table().get(key)?.payload)?;
        (pin.expires_ms > now_ms).then_some(pin)
    }

    /// Forgets where a response lives.
    pub fn unpin_response(&self, key: u128) -> Option<Pin> {
        self.pin_table().remove(key, |_| true).and_then(|words| Pin::from_words(&words))
    }

    /// The number of `name`, for good. Workers should keep it, not ask for every request.
    ///
    /// # Errors
    /// [`NameError`] if the name is too long, or too many names are known.
    pub fn intern(&self, name: &str) -> Result<NameId, NameError> {
        self.names.intern(&self.map.words()[self.layout.names.clone()], name)
    }

    /// The name behind a number; `None` if it was damaged or never given.
    pub fn name(&self, id: NameId) -> Option<&str> {
        self.names.get(&self.map.words()[self.layout.names.clone()], id)
    }

    /// The address of a session: SipHash-2-4 with 128 bits, under this file's secret key.
    ///
    /// A client chooses its session key freely, so the hash has to keep clients from aiming at each other's
    /// slots: it is a pseudo-random function of tenant and key under a secret, and two of a million keys
    /// collide with probability 2^-89.
    pub fn session_key(&self, tenant: &[u8], session: &[u8]) -> u128 {
        self.hash(SESSION_DOMAIN, tenant, session)
    }

    /// The address of a response id, hashed like a session key and never equal to one by design.
    pub fn response_key(&self, tenant: &[u8], response_id: &[u8]) -> u128 {
        self.hash(RESPONSE_DOMAIN, tenant, response_id)
    }

    /// The secret that keys are hashed under: random, made with the file.
    pub fn hash_key(&self) -> u128 {
        self.header.hash_key
    }

    fn hash(&self, domain: u8, tenant: &[u8], name: &[u8]) -> u128 {
        let key = self.header.hash_key;
        let mut hasher = SipHasher24::new_with_keys(key as u64, (key >> 64) as u64);
        hasher.write_u8(domain);
        // With the length in front, (ab, c) and (a, bc) are different.
        hasher.write_u64((tenant.len() as u64).to_le());
        hasher.write(tenant);
        hasher.write(name);
        hasher.finish128().as_u128()
    }

    /// Every session in the file, expired ones included, in no order. Sessions that change meanwhile may
    /// be seen before or after their change, and new ones may be missed.
    pub fn iter(&self) -> impl Iterator<Item = (u128, Record)> + '_ {
        (0..self.layout.sessions.shape.buckets).flat_map(|bucket| {
            self.session_table().bucket(bucket).filter_map(|(key, found)| Some((key, decode(&found)?)))
        })
    }

    /// Every response id in the file, expired ones included.
    pub fn pins(&self) -> impl Iterator<Item = (u128, Pin)> + '_ {
        (0..self.layout.pins.shape.buckets).flat_map(|bucket| {
            self.pin_table()
                .bucket(bucket)
                .filter_map(|(key, found)| Some((key, Pin::from_words(&found.payload)?)))
        })
    }

    /// Frees the slots of everything whose time is over; returns how many there were.
    pub fn sweep(&self, now_ms: u64) -> u64 {
        let ttl_ms = self.ttl_ms();
        let over = |record: &Record| record.is_expired(now_ms, ttl_ms);
        let sessions = self.iter().filter(|(_, record)| over(record)).filter(|(key, _)| {
            let gone =
                |words: &[u64; RECORD_WORDS]| Record::from_words(words).is_none_or(|record| over(&record));
            self.session_table().remove(*key, gone).is_some()
        });
        let sessions = sessions.count() as u64;
        let pins = self.pins().filter(|(_, pin)| pin.expires_ms <= now_ms).filter(|(key, _)| {
            let gone =
                |words: &[u64; PIN_WORDS]| Pin::from_words(words).is_none_or(|pin| pin.expires_ms <= now_ms);
            self.pin_table().remove(*key, gone).is_some()
        });
        let pins = pins.count() as u64;
        self.sessions.expired.fetch_add(sessions, Ordering::Relaxed);
        self.pins.expired.fetch_add(pins, Ordering::Relaxed);
        sessions + pins
    }

    /// Verifies every record and repairs what can be: 0.4 s for a million.
    pub fn verify_all(&self) -> Verified {
        let before = self.damage();
        self.session_table()
            .verify_all(|words| Record::from_words(words).map_or(0, |record| record.last_seen_ms));
        self.pin_table().verify_all(|words| Pin::from_words(words).map_or(0, |pin| pin.created_ms));
        let after = self.damage();
        Verified { damaged: after.damaged - before.damaged, stale: after.stale - before.stale }
    }

    /// Numbers for metrics. Reads the tags only: about a millisecond for a million sessions.
    pub fn stats(&self) -> Stats {
        Stats {
            sessions: TableStats {
                capacity: self.header.capacity,
                slots: self.layout.sessions.shape.slots() as u64,
                occupied: self.session_table().occupied() as u64,
                ..self.sessions.read()
            },
            pins: TableStats {
                capacity: self.header.pin_capacity,
                slots: self.layout.pins.shape.slots() as u64,
                occupied: self.pin_table().occupied() as u64,
                ..self.pins.read()
            },
            names: self.names.count() as u64,
            file_bytes: self.layout.bytes(),
        }
    }

    /// Sessions by state. Reads every slot: for an operator's question, not for every scrape.
    pub fn census(&self, now_ms: u64) -> Census {
        let mut census = Census::default();
        for (_, record) in self.iter() {
            if record.is_locked(now_ms) {
                census.locked += 1;
            } else if record.is_expired(now_ms, self.ttl_ms()) {
                census.expired += 1;
            } else {
                census.idle += 1;
            }
        }
        census
    }

    /// Idle time after which an unlocked session is forgotten, in milliseconds.
    pub fn ttl_ms(&self) -> u64 {
        self.ttl_ms.load(Ordering::Relaxed)
    }

    /// Changes the idle time, as a reload of the configuration may.
    pub fn set_ttl_ms(&self, ttl_ms: u64) {
        self.ttl_ms.store(ttl_ms, Ordering::Relaxed);
    }

    /// Writes everything to disk, and waits for it.
    ///
    /// # Errors
    /// What the disk said.
    pub fn flush(&self) -> io::Result<()> {
        self.map.sync()
    }

    /// Writes everything to disk and marks the file as closed, so that the next opening after a restart
    /// of the machine need not verify it. Dropping a store does neither.
    ///
    /// # Errors
    /// What the disk said; the memory is as it was.
    pub fn close(self) -> io::Result<()> {
        self.map.sync()?;
        self.map.set_opened_in_boot(0);
        self.map.sync_header()
    }

    /// The lock of the files, for the process that takes over: with it, it can [adopt](Store::adopt) this memory
    /// while this one goes on using it. From now on this store may not be [closed](Store::close) by a process
    /// that ends while another goes on, only dropped, and only the newest process may
    /// [intern](Store::intern) names.
    ///
    /// # Errors
    /// What the system said.
    pub fn share(&self) -> io::Result<OwnedFd> {
        let lock = self._lock.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let lock = lock.try_clone()?;
        if let Some(peers) = &self.peers {
            peers.share()?;
        }
        Ok(lock.into())
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn map(&self) -> &Map {
        &self.map
    }

    pub(crate) fn paths(&self) -> &Paths {
        self.paths.as_ref().expect("only a store under construction has no paths")
    }

    /// A store over a file that is to replace this one's.
    pub(crate) fn successor(&self, header: Header, map: Map, names: Names) -> Store {
        Store {
            _lock: None,
            paths: None,
            header,
            layout: Layout::of(&header),
            map,
            names,
            owner: self.owner,
            peers: None,
            ttl_ms: AtomicU64::new(self.ttl_ms()),
            sessions: Counters::default(),
            pins: Counters::default(),
        }
    }

    pub(crate) fn replace_by(&mut self, new: Store) {
        let Store { header, layout, map, names, owner, .. } = new;
        *self = Store {
            _lock: self._lock.take(),
            paths: self.paths.take(),
            header,
            layout,
            map,
            names,
            owner,
            peers: self.peers.take(),
            ttl_ms: AtomicU64::new(self.ttl_ms()),
            sessions: std::mem::take(&mut self.sessions),
            pins: std::mem::take(&mut self.pins),
        };
    }

    #[inline]
    fn record(&self, found: &Found<RECORD_WORDS>, now_ms: u64) -> Option<Record> {
        decode(found).filter(|record| !record.is_expired(now_ms, self.ttl_ms()))
    }

    #[inline]
    fn session_table(&self) -> Table<'_, AtomicU64, RECORD_WORDS> {
        self.table(&self.layout.sessions, &self.sessions.tally)
    }

    #[inline]
    fn pin_table(&self) -> Table<'_, AtomicU64, PIN_WORDS> {
        self.table(&self.layout.pins, &self.pins.tally)
    }

    #[inline]
    fn table<'a, const P: usize>(&'a self, part: &Part, tally: &'a Tally) -> Table<'a, AtomicU64, P> {
        let words = self.map.words();
        let (heads, slots) = (&words[part.heads.clone()], &words[part.slots.clone()]);
        Table::new(heads, slots, part.shape, self.owner, tally).beside(self.peers.as_ref())
    }

    fn damage(&self) -> Verified {
        let sum = |of: fn(&Tally) -> &AtomicU64| {
            of(&self.sessions.tally).load(Ordering::Relaxed) + of(&self.pins.tally).load(Ordering::Relaxed)
        };
        Verified { damaged: sum(|tally| &tally.corrupt), stale: sum(|tally| &tally.stale) }
    }
}

#[inline]
fn decode(found: &Found<RECORD_WORDS>) -> Option<Record> {
    let mut record = Record::from_words(&found.payload)?;
    if found.stale {
        record.flags |= Record::STALE;
    }
    Some(record)
}

impl Counters {
    fn count(&self, upsert: Upsert) -> CommitOutcome {
        match upsert {
            Upsert::Updated => CommitOutcome::Updated,
            Upsert::Inserted => CommitOutcome::Created,
            Upsert::Evicted(rank) if rank < ALIVE => {
                self.expired.fetch_add(1, Ordering::Relaxed);
                CommitOutcome::Created
            }
            Upsert::Evicted(_) => {
                self.evicted.fetch_add(1, Ordering::Relaxed);
                CommitOutcome::CreatedByEviction
            }
            Upsert::Declined => CommitOutcome::Declined,
            Upsert::Full => {
                self.full.fetch_add(1, Ordering::Relaxed);
                CommitOutcome::Full
            }
            Upsert::Busy => CommitOutcome::Busy,
        }
    }

    fn read(&self) -> TableStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TableStats {
            evicted: read(&self.evicted),
            expired: read(&self.expired),
            full: read(&self.full),
            corrupt: read(&self.tally.corrupt),
            stale: read(&self.tally.stale),
            recovered: read(&self.tally.inherited),
            busy: read(&self.tally.busy),
            ..TableStats::default()
        }
    }
}
