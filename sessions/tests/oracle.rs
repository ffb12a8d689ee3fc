//! The store against a plain map, over random histories: lookups, commits, eviction, expiry, restarts.

use std::collections::HashMap;

use pintle_sessions::{CommitOutcome, Options, Record, Store};
use proptest::prelude::*;

/// Two buckets: every key may take any slot, so that eviction order is exact.
const SLOTS: usize = 56;
const TTL_MS: u64 = 1000;

fn options() -> Options {
    Options { capacity: 49, pin_capacity: 1, ttl_ms: TTL_MS }
}

#[derive(Debug, Clone)]
enum Step {
    Commit { key: u128, tool_loop_ms: Option<u64>, provider_ms: Option<u64>, decline: bool },
    Get { key: u128 },
    Remove { key: u128 },
    Wait { ms: u64 },
    ClockBack { ms: u64 },
    Sweep,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..80_u128;
    prop_oneof![
        12 => (key.clone(), prop::option::weighted(0.3, 0..3000_u64), prop::option::weighted(0.3, 0..9000_u64),
            prop::bool::weighted(0.05))
            .prop_map(|(key, tool_loop_ms, provider_ms, decline)| Step::Commit { key, tool_loop_ms, provider_ms, decline }),
        4 => key.clone().prop_map(|key| Step::Get { key }),
        1 => key.prop_map(|key| Step::Remove { key }),
        2 => (0..300_u64).prop_map(|ms| Step::Wait { ms }),
        1 => (0..50_u64).prop_map(|ms| Step::ClockBack { ms }),
        1 => Just(Step::Sweep),
        1 => Just(Step::Reopen),
    ]
}

/// What the store has to do, said with a map.
struct Oracle {
    records: HashMap<u128, Record>,
}

impl Oracle {
    fn get(&self, key: u128, now: u64) -> Option<Record> {
        self.records.get(&key).copied().filter(|record| !record.is_expired(now, TTL_MS))
    }

    fn commit(&mut self, key: u128, record: Record, now: u64) -> CommitOutcome {
        if self.records.insert(key, record).is_some() {
            return CommitOutcome::Updated;
        }
        if self.records.len() <= SLOTS {
            return CommitOutcome::Created;
        }
        let others = || self.records.iter().filter(|(other, _)| **other != key);
        let idle_longest = |expired: bool| {
            let candidates = others()
                .filter(|(_, record)| !record.is_locked(now) && record.is_expired(now, TTL_MS) == expired);
            candidates.min_by_key(|(_, record)| record.last_seen_ms).map(|(key, _)| *key)
        };
        let (victim, outcome) = match (idle_longest(true), idle_longest(false)) {
            (Some(victim), _) => (victim, CommitOutcome::Created),
            (None, Some(victim)) => (victim, CommitOutcome::CreatedByEviction),
            (None, None) => (key, CommitOutcome::Full),
        };
        self.records.remove(&victim);
        outcome
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_a_map_does(steps in prop::collection::vec(step(), 1..400)) {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut store, _) = Store::open(dir.path(), &options(), 0).expect("opens");
        let mut oracle = Oracle { records: HashMap::new() };
        let (mut now, mut commits) = (1_000_000_u64, 0_u32);
        for step in steps {
            match step {
                Step::Commit { key, tool_loop_ms, provider_ms, decline } => {
                    now += 1;
                    // No two sessions are idle equally long, also where the clock went back.
                    commits += 1;
                    let mut record = Record { turns: commits, last_seen_ms: now, ..Record::default() };
                    while oracle.records.values().any(|other| other.last_seen_ms == record.last_seen_ms) {
                        record.last_seen_ms += 1;
                    }
                    if let Some(ms) = tool_loop_ms {
                        record.flags |= Record::OPEN_TOOL_LOOP;
                        record.tool_loop_until_ms = now + ms;
                    }
                    if let Some(ms) = provider_ms {
                        record.flags |= Record::PROVIDER_STATE;
                        record.provider_state_until_ms = now + ms;
                    }
                    let expected = oracle.get(key, now);
                    let mut saw = None;
                    let outcome = store.commit(key, |prev| {
                        saw = prev.copied();
                        (!decline).then_some(record)
                    }, now);
                    prop_assert_eq!(saw, expected);
                    let expected =
                        if decline { CommitOutcome::Declined } else { oracle.commit(key, record, now) };
                    prop_assert_eq!(outcome, expected);
                }
                Step::Get { key } => prop_assert_eq!(store.get(key, now), oracle.get(key, now)),
                Step::Remove { key } => prop_assert_eq!(store.remove(key), oracle.records.remove(&key)),
                Step::Wait { ms } => now += ms,
                Step::ClockBack { ms } => now -= ms,
                Step::Sweep => {
                    let before = oracle.records.len();
                    oracle.records.retain(|_, record| !record.is_expired(now, TTL_MS));
                    prop_assert_eq!(store.sweep(now), (before - oracle.records.len()) as u64);
                }
                Step::Reopen => {
                    drop(store);
                    store = Store::open(dir.path(), &options(), now).expect("opens").0;
                }
            }
        }
        let mut held: Vec<_> = store.iter().map(|(key, record)| (key, record.turns)).collect();
        let mut expected: Vec<_> = oracle.records.iter().map(|(key, record)| (*key, record.turns)).collect();
        held.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(held, expected);
        prop_assert_eq!(store.stats().sessions.corrupt, 0);
    }
}
