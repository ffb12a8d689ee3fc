//! Copying what is alive into a new file: for another capacity, or to be rid of what is dead.

use std::collections::HashMap;
use std::fmt;

use crate::error::OpenError;
use crate::file::{self, Header};
use crate::names::Names;
use crate::record::{NameId, Pin};
use crate::store::{CommitOutcome, Store};

/// What a rebuild copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rebuilt {
    /// Capacity before.
    pub from_capacity: u64,
    /// Capacity now.
    pub to_capacity: u64,
    /// Sessions copied.
    pub sessions: u64,
    /// Response ids copied.
    pub pins: u64,
    /// Sessions and response ids left behind because their time was over.
    pub expired: u64,
    /// Idle sessions and response ids that the new size has no room for.
    pub evicted: u64,
    /// Locked sessions that the new size has no room for.
    pub locked_lost: u64,
    /// Slots that could not be read.
    pub damaged: u64,
}

impl fmt::Display for Rebuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rebuilt { from_capacity, to_capacity, sessions, pins, expired, evicted, locked_lost, damaged } =
            self;
        write!(
            f,
            "the session memory was rebuilt from capacity {from_capacity} to {to_capacity}: {sessions} sessions and \
             {pins} response ids copied, {expired} expired, {evicted} evicted, {damaged} damaged"
        )?;
        if *locked_lost > 0 {
            write!(f, "; {locked_lost} locked sessions did not fit")?;
        }
        Ok(())
    }
}

/// Puts a new file in the place of `store`'s, with everything of `store` that is alive at `now_ms`.
pub(crate) fn rebuild(store: &mut Store, header: Header, now_ms: u64) -> Result<Rebuilt, OpenError> {
    let verified = store.verify_all();
    let mut report = Rebuilt {
        from_capacity: store.header().capacity,
        to_capacity: header.capacity,
        damaged: verified.damaged,
        ..Rebuilt::default()
    };
    let (file, map) = file::build(&store.paths().unfinished, &header)?;
    let (names, _) = Names::load(&map.words()[file::Layout::of(&header).names]);
    let new = store.successor(header, map, names);
    copy_sessions(store, &new, now_ms, &mut report);
    copy_pins(store, &new, now_ms, &mut report);
    new.map().set_opened_in_boot(store.map().opened_in_boot());
    file::publish(&file, &store.paths().unfinished, &store.paths().file)?;
    store.replace_by(new);
    Ok(report)
}

/// Locked sessions first, then the others from the longest idle on, so that eviction drops the right ones.
fn copy_sessions(old: &Store, new: &Store, now_ms: u64, report: &mut Rebuilt) {
    let mut order: Vec<(bool, u64, u128)> = Vec::new();
    for (key, record) in old.iter() {
        if record.is_expired(now_ms, old.ttl_ms()) {
            report.expired += 1;
        } else {
            order.push((!record.is_locked(now_ms), record.last_seen_ms, key));
        }
    }
    order.sort_unstable();
    let mut names = Renaming::default();
    for (unlocked, _, key) in order {
        let Some(mut record) = old.get(key, now_ms) else { continue };
        for id in [&mut record.model, &mut record.decision, &mut record.backend] {
            *id = names.of(old, new, *id);
        }
        match new.commit(key, |_| Some(record), now_ms) {
            CommitOutcome::Updated | CommitOutcome::Created => report.sessions += 1,
            CommitOutcome::CreatedByEviction => report.evicted += 1,
            CommitOutcome::Full | CommitOutcome::Busy | CommitOutcome::Declined if unlocked => {
                report.evicted += 1
            }
            CommitOutcome::Full | CommitOutcome::Busy | CommitOutcome::Declined => report.locked_lost += 1,
        }
    }
}

fn copy_pins(old: &Store, new: &Store, now_ms: u64, report: &mut Rebuilt) {
    let mut order: Vec<(u64, u128, Pin)> = Vec::new();
    for (key, pin) in old.pins() {
        if pin.expires_ms <= now_ms {
            report.expired += 1;
        } else {
            order.push((old.pin_rank(&pin, now_ms), key, pin));
        }
    }
    order.sort_unstable_by_key(|(rank, key, _)| (*rank, *key));
    let mut names = Renaming::default();
    for (_, key, mut pin) in order {
        pin.model = names.of(old, new, pin.model);
        pin.backend = names.of(old, new, pin.backend);
        match new.pin_response(key, &pin, now_ms) {
            CommitOutcome::Updated | CommitOutcome::Created => report.pins += 1,
            _ => report.evicted += 1,
        }
    }
}

/// Old name ids to new ones.
#[derive(Default)]
struct Renaming(HashMap<NameId, NameId>);

impl Renaming {
    fn of(&mut self, old: &Store, new: &Store, id: NameId) -> NameId {
        *self.0.entry(id).or_insert_with(|| {
            // A damaged name stays nameless; the new table has as much room as the old one.
            old.name(id).and_then(|name| new.intern(name).ok()).unwrap_or(NameId::NONE)
        })
    }
}
