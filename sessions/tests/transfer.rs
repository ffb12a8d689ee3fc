//! Export and import.

use pintle_sessions::{NameId, Options, Pin, Record, Store, TransferError};
use proptest::prelude::*;

const NOW: u64 = 1_790_000_000_000;

fn store(capacity: u64) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, _) = Store::open(dir.path(), &Options::with_capacity(capacity), NOW).expect("opens");
    (dir, store)
}

fn export(store: &Store) -> Vec<u8> {
    let mut text = Vec::new();
    store.export(&mut text).expect("memory does not fail");
    text
}

fn sorted(store: &Store) -> Vec<(u128, Record, [Option<String>; 3])> {
    let name = |id| store.name(id).map(str::to_owned);
    let mut all: Vec<_> = store
        .iter()
        .map(|(key, record)| {
            let names = [name(record.model), name(record.decision), name(record.backend)];
            let record =
                Record { model: NameId::NONE, decision: NameId::NONE, backend: NameId::NONE, ..record };
            (key, record, names)
        })
        .collect();
    all.sort_by_key(|(key, ..)| *key);
    all
}

fn record() -> impl Strategy<Value = (Record, [String; 3])> {
    let names = ["[a-c]{0,2}", "[a-c]{0,2}", "\\PC{0,9}"];
    let times = (NOW - 1000..NOW + 1000, any::<u64>(), any::<u64>(), 0..4_u32);
    let sums = (any::<u64>(), any::<u64>(), any::<u64>());
    let turns = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>());
    let last = (any::<u32>(), any::<u32>(), any::<u32>());
    let policy = (-1.0..1.0_f32, any::<u32>(), any::<u32>());
    (times, sums, turns, last, policy, names).prop_map(|(times, sums, turns, last, policy, names)| {
        let (last_seen_ms, tool_loop, provider, flags) = times;
        let record = Record {
            last_seen_ms,
            tool_loop_until_ms: if flags & Record::OPEN_TOOL_LOOP != 0 { tool_loop } else { 0 },
            provider_state_until_ms: if flags & Record::PROVIDER_STATE != 0 { provider } else { 0 },
            prompt_tokens: sums.0,
            cached_tokens: sums.1,
            completion_tokens: sums.2,
            turns: turns.0,
            switches: turns.1,
            turns_on_model: turns.2,
            turn_sequence: turns.3,
            last_prompt_tokens: last.0,
            last_cached_tokens: last.1,
            last_completion_tokens: last.2,
            flags,
            demand: policy.0,
            policy: [policy.1, policy.2],
            ..Record::default()
        };
        (record, names)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn an_import_brings_back_what_was_exported(
        sessions in prop::collection::hash_map(any::<u128>(), record(), 0..40),
        pins in prop::collection::hash_map(any::<u128>(), (any::<u128>(), 1..1_000_000_u64), 0..20),
    ) {
        let (_dir, first) = store(100);
        for (key, (record, [model, decision, backend])) in &sessions {
            let id = |name: &str| first.intern(name).expect("room");
            let record = Record { model: id(model), decision: id(decision), backend: id(backend), ..*record };
            prop_assert!(first.commit(*key, |_| Some(record), NOW).is_remembered());
            prop_assert_eq!(first.get(*key, NOW), Some(record));
        }
        for (key, (session, ms)) in &pins {
            let pin = Pin { session: (*session).into(), expires_ms: NOW + ms, created_ms: NOW, ..Pin::default() };
            prop_assert!(first.pin_response(*key, &pin, NOW).is_remembered());
        }
        let (_dir, mut second) = store(100);
        second.intern("another numbering").expect("room");
        let imported = second.import(&*export(&first), NOW).expect("imports");
        prop_assert_eq!((imported.sessions, imported.pins), (sessions.len() as u64, pins.len() as u64));
        prop_assert_eq!(second.hash_key(), first.hash_key());
        prop_assert_eq!(sorted(&second), sorted(&first));
        for key in pins.keys() {
            prop_assert_eq!(second.pinned(*key, NOW), first.pinned(*key, NOW));
        }
        let again = second.import(&*export(&first), NOW).expect("imports");
        prop_assert_eq!((again.sessions, again.older), (0, sessions.len() as u64));
    }
}

#[test]
fn what_is_not_an_export_is_refused_with_its_line() {
    let (_dir, mut target) = store(10);
    for head in ["", "{}", "[1]", "{\"pintle_sessions\":2,\"hash_key\":\"00000000000000000000000000000000\"}"]
    {
        assert!(matches!(target.import(head.as_bytes(), NOW), Err(TransferError::Head)), "{head}");
    }
    let head = format!("{{\"pintle_sessions\":1,\"hash_key\":\"{:032x}\"}}\n", target.hash_key());
    for line in ["nonsense", "{\"session\":{}}", "{\"response\":{\"key\":\"1\"}}"] {
        let text = format!("{head}{line}\n");
        assert!(matches!(target.import(text.as_bytes(), NOW), Err(TransferError::Line { line: 2, .. })));
    }
    target.commit(1, |_| Some(Record { last_seen_ms: NOW, ..Record::default() }), NOW);
    let (_dir, other) = store(10);
    assert!(matches!(target.import(&*export(&other), NOW), Err(TransferError::HashKey)));
    assert!(target.get(1, NOW).is_some());
}
