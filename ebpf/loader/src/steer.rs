//! Steering: the kernel gives each new connection to the less loaded of two workers drawn at random.
//!
//! Without a program the kernel takes a hash of the addresses, which is uneven where connections are few and
//! long. Here a worker's weight is what it publishes plus the connections that were sent to it and that it has
//! not accepted yet; the second part is what keeps a burst from falling on one worker.
//!
//! A *slot* is a worker of any of the processes that serve the same addresses at one time. Slots that are not
//! on the active list get no new connections, and those whose listener is closed pass what waits in its queue on
//! to the others ([`LoadCell::migrated`] counts them).

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use aya::programs::SkReuseport;
use aya::{Ebpf, EbpfLoader};
use pintle_ebpf_common::steer::{Cell, GROUPS, SLOTS, active_range, active_word};

pub use pintle_ebpf_common::steer::{GROUPS as MAX_GROUPS, SLOTS as MAX_SLOTS, STREAM};

use crate::status::Unavailable;
use crate::sys::{Mapping, put_socket, take_socket};
use crate::{caps, object};

/// Number of descriptors that [`Steering::descriptors`] gives.
pub const DESCRIPTORS: usize = 4;

/// The programs, loaded and not attached.
#[derive(Debug)]
pub struct Program {
    ebpf: Ebpf,
}

impl Program {
    /// Loads the programs. Needs CAP_BPF; nothing later does.
    ///
    /// # Errors
    /// Why the kernel does not steer.
    pub fn load() -> Result<Self, Unavailable> {
        let mut loader = EbpfLoader::new();
        // Types are for tools that print maps; a kernel that has none loads the programs all the same.
        let mut ebpf = object::load(&mut loader, object::STEER, &[(caps::BPF, "CAP_BPF")])?;
        for group in 0..GROUPS {
            program(&mut ebpf, group)?.load().map_err(|error| {
                Unavailable::because("the kernel takes no program that chooses listeners", &error)
            })?;
        }
        Ok(Self { ebpf })
    }

    /// The kernel's numbers of the programs.
    pub fn programs(&self) -> Vec<u32> {
        self.ebpf.programs().filter_map(|(_, program)| Some(program.info().ok()?.id())).collect()
    }

    /// Attaches to the listeners of one process. `groups` has one entry per address, each with one listener per
    /// worker, in the workers' order, all bound with `SO_REUSEPORT` and listening. Worker `n` has slot `n`, and
    /// all of them are active. Needs no capability.
    ///
    /// # Errors
    /// More than [`MAX_GROUPS`] addresses or [`MAX_SLOTS`] workers, sockets of one group that do not share an
    /// address, or a socket that another program steers already ([`Steering::adopt`] is for those).
    pub fn attach(mut self, groups: &[&[BorrowedFd<'_>]]) -> Result<Steering, Unavailable> {
        if groups.len() > GROUPS as usize {
            return Err(Unavailable::new(format!("more than {GROUPS} addresses")));
        }
        let workers = groups.iter().map(|group| group.len()).max().unwrap_or(0);
        if workers > SLOTS as usize {
            return Err(Unavailable::new(format!("more than {SLOTS} workers")));
        }
        let maps = object::descriptors(&self.ebpf, &["LISTENERS", "CELLS", "ORDER", "ACTIVE"])?;
        let maps = maps.try_into().map_err(|_| Unavailable::new("the object lacks a map"))?;
        let steering = Steering::adopt(maps).map_err(|error| Unavailable::because("cannot map", &error))?;
        for slot in 0..workers {
            let listeners: Vec<_> = groups.iter().map(|group| group.get(slot).copied()).collect();
            steering
                .put(slot as u32, &listeners)
                .map_err(|error| Unavailable::because("a listener does not take part", &error))?;
        }
        let slots: Vec<u32> = (0..workers as u32).collect();
        steering.set_active(&slots).map_err(|error| Unavailable::because("cannot steer", &error))?;
        // Last: from here on connections are steered.
        for (group, listeners) in groups.iter().enumerate() {
            let Some(any) = listeners.first() else { continue };
            program(&mut self.ebpf, group as u32)?
                .attach(any)
                .map_err(|error| Unavailable::because("the listeners take no program", &error))?;
        }
        Ok(steering)
    }
}

fn program(ebpf: &mut Ebpf, group: u32) -> Result<&mut SkReuseport, Unavailable> {
    ebpf.program_mut(&format!("pintle_steer_{group}"))
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| Unavailable::new("the object lacks a program"))
}

/// Programs that choose, as long as one of the listeners is open in any process.
///
/// Dropping it changes nothing: the kernel goes on with the loads published last.
#[derive(Debug)]
pub struct Steering {
    maps: [OwnedFd; DESCRIPTORS],
    cells: Arc<Mapping<Cell>>,
    order: Mapping<u32>,
    active: Mapping<u64>,
}

impl Steering {
    /// What another process needs to go on steering the same listeners: to be sent along with them.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; DESCRIPTORS] {
        [self.maps[0].as_fd(), self.maps[1].as_fd(), self.maps[2].as_fd(), self.maps[3].as_fd()]
    }

    /// Goes on with what another process's [`Self::descriptors`] gave. Needs no capability.
    ///
    /// # Errors
    /// Descriptors that are not those maps.
    pub fn adopt(maps: [OwnedFd; DESCRIPTORS]) -> io::Result<Self> {
        Ok(Self {
            cells: Arc::new(Mapping::of(maps[1].as_fd(), SLOTS as usize)?),
            order: Mapping::of(maps[2].as_fd(), 2 * SLOTS as usize)?,
            active: Mapping::of(maps[3].as_fd(), 1)?,
            maps,
        })
    }

    /// Puts a worker's listeners into `slot`, one per address in the order of [`Program::attach`]; `None` leaves
    /// that address's entry as it is. The slot gets no connection before [`Self::set_active`] names it.
    ///
    /// # Errors
    /// A slot or group beyond the limits, a socket without `SO_REUSEPORT` or that does not listen (`EINVAL`), or
    /// one that is in a slot already (`EBUSY`).
    pub fn put(&self, slot: u32, listeners: &[Option<BorrowedFd<'_>>]) -> io::Result<()> {
        if slot >= SLOTS || listeners.len() > GROUPS as usize {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (group, listener) in listeners.iter().enumerate() {
            if let Some(listener) = listener {
                put_socket(self.maps[0].as_fd(), group as u32 * SLOTS + slot, *listener)?;
            }
        }
        Ok(())
    }

    /// Empties `slot`: its sockets may then go into another slot, or be steered by another program.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn remove(&self, slot: u32) -> io::Result<()> {
        for group in 0..GROUPS {
            take_socket(self.maps[0].as_fd(), group * SLOTS + slot)?;
        }
        Ok(())
    }

    /// Names the slots that take new connections, at once for the whole list. A connection whose SYN was
    /// answered before may still come to a slot that is left out, until its [`LoadCell::pending`] is zero.
    /// An empty list gives the choice back to the kernel's hash, which knows nothing of slots.
    ///
    /// One process at a time may call it.
    ///
    /// # Errors
    /// More slots than there are, or one beyond the last.
    pub fn set_active(&self, slots: &[u32]) -> io::Result<()> {
        if slots.len() > SLOTS as usize || slots.iter().any(|slot| *slot >= SLOTS) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: aligned, inside the mapping, and all writers are atomic.
        let active = unsafe { AtomicU64::from_ptr(self.active.get(0)) };
        let half = u32::from(active_range(active.load(Ordering::Relaxed)).0 == 0);
        for (index, slot) in slots.iter().enumerate() {
            let at = self.order.get((half * SLOTS) as usize + index);
            // SAFETY: the map's values are 8 bytes apart and hold a word of 32 bits.
            unsafe { AtomicU32::from_ptr(at) }.store(*slot, Ordering::Relaxed);
        }
        active.store(active_word(half, slots.len() as u32), Ordering::Release);
        Ok(())
    }

    /// The slots that take new connections.
    pub fn active(&self) -> Vec<u32> {
        // SAFETY: as in `set_active`.
        let word = unsafe { AtomicU64::from_ptr(self.active.get(0)) }.load(Ordering::Acquire);
        let (first, count) = active_range(word);
        let at = |index: u32| self.order.get((first + index) as usize);
        // SAFETY: as in `set_active`.
        (0..count).map(|index| unsafe { AtomicU32::from_ptr(at(index)) }.load(Ordering::Relaxed)).collect()
    }

    /// Where the worker in `slot` publishes. One holder per slot at a time.
    ///
    /// # Panics
    /// If `slot` is not below [`MAX_SLOTS`].
    pub fn load_cell(&self, slot: u32) -> LoadCell {
        assert!(slot < SLOTS, "slot {slot} of {SLOTS}");
        let cell =
            LoadCell { cells: self.cells.clone(), slot: slot as usize, settled: 0, one_thread: PhantomData };
        // What an earlier holder left outstanding is not this one's.
        cell.resolved().store(cell.picked(), Ordering::Relaxed);
        cell.set_load(0);
        cell
    }

    /// Takes the programs off the group that `listener` is in: the kernel's hash chooses again.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn detach(listener: BorrowedFd<'_>) -> io::Result<()> {
        SkReuseport::detach(listener).map_err(io::Error::other)
    }
}

/// Where one worker says how busy it is. A store each, no system call.
#[derive(Debug)]
pub struct LoadCell {
    cells: Arc<Mapping<Cell>>,
    slot: usize,
    /// `picked` at the last [`Self::settle`].
    settled: u64,
    /// Its holder is the only writer: it may change threads, not be shared between them.
    one_thread: PhantomData<std::cell::Cell<()>>,
}

impl LoadCell {
    fn word(&self, field: impl Fn(*mut Cell) -> *mut u64) -> &AtomicU64 {
        // SAFETY: a field of a value inside the mapping, which `self` keeps; others write it atomically.
        unsafe { AtomicU64::from_ptr(field(self.cells.get(self.slot))) }
    }

    fn resolved(&self) -> &AtomicU64 {
        // SAFETY: only makes an address.
        self.word(|cell| unsafe { &raw mut (*cell).resolved })
    }

    /// Publishes the outstanding work, in units of 1/[`STREAM`] of a stream.
    pub fn set_load(&self, load: u32) {
        // SAFETY: only makes an address.
        self.word(|cell| unsafe { &raw mut (*cell).load }).store(u64::from(load), Ordering::Relaxed);
    }

    /// Says that `count` more connections were accepted.
    pub fn accepted(&self, count: u32) {
        let resolved = self.resolved();
        // The holder is the only writer.
        resolved.store(resolved.load(Ordering::Relaxed) + u64::from(count), Ordering::Relaxed);
    }

    /// Connections sent here since the slot exists.
    pub fn picked(&self) -> u64 {
        // SAFETY: only makes an address.
        self.word(|cell| unsafe { &raw mut (*cell).picked }).load(Ordering::Relaxed)
    }

    /// Of these, connections that a closing listener left.
    pub fn migrated(&self) -> u64 {
        // SAFETY: only makes an address.
        self.word(|cell| unsafe { &raw mut (*cell).migrated }).load(Ordering::Relaxed)
    }

    /// Connections sent here and not accepted yet. A SYN whose handshake never ends counts until
    /// [`Self::settle`].
    pub fn pending(&self) -> u64 {
        self.picked().saturating_sub(self.resolved().load(Ordering::Relaxed))
    }

    /// Gives up on connections that were sent here before the call before this one and have not been accepted:
    /// clients that never completed their handshake. To be called about once a second by a worker whose accept
    /// loop runs.
    pub fn settle(&mut self) {
        let picked = self.picked();
        let resolved = self.resolved();
        // Above `picked` if one that was given up was accepted after all.
        resolved.store(resolved.load(Ordering::Relaxed).max(self.settled).min(picked), Ordering::Relaxed);
        self.settled = picked;
    }
}
