//! What happens to the file: creation, ownership, restarts, other sizes, damage.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use pintle_sessions::{CommitOutcome, NameId, OpenError, Options, Pin, Record, Store};

const NOW: u64 = 1_790_000_000_000;

fn open(dir: &Path, capacity: u64) -> (Store, pintle_sessions::OpenReport) {
    Store::open(dir, &Options::with_capacity(capacity), NOW).expect("opens")
}

fn record(store: &Store, model: &str, turns: u32) -> Record {
    let model = store.intern(model).expect("room");
    Record { model, turns, last_seen_ms: NOW, demand: 0.5, policy: [15, 25], ..Record::default() }
}

fn file(dir: &Path) -> std::path::PathBuf {
    dir.join("sessions.pintle")
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, report) = open(dir.path(), 1000);
    assert!(report.created);
    let keys: Vec<u128> = (0..1000_u32).map(|n| store.session_key(b"tenant", &n.to_le_bytes())).collect();
    for (n, key) in keys.iter().enumerate() {
        let wanted = record(&store, &format!("model-{}", n % 7), n as u32);
        assert_eq!(store.commit(*key, |_| Some(wanted), NOW), CommitOutcome::Created);
    }
    let pin = Pin {
        session: keys[3].into(),
        expires_ms: NOW + 10,
        created_ms: NOW,
        model: store.intern("model-3").expect("known"),
        backend: NameId::NONE,
    };
    let response = store.response_key(b"tenant", b"resp_1");
    assert!(store.pin_response(response, &pin, NOW).is_remembered());
    let hash_key = store.hash_key();
    drop(store);

    let (store, report) = open(dir.path(), 1000);
    assert_eq!(report.messages(), Vec::<String>::new());
    assert_eq!(store.hash_key(), hash_key);
    for (n, key) in keys.iter().enumerate() {
        let got = store.get(*key, NOW).expect("committed");
        assert_eq!(got, record(&store, &format!("model-{}", n % 7), n as u32));
        assert_eq!(store.name(got.model), Some(&*format!("model-{}", n % 7)));
    }
    assert_eq!(store.pinned(response, NOW + 9), Some(pin));
    assert_eq!(u128::from(pin.session), keys[3]);
    assert_eq!(store.pinned(response, NOW + 10), None, "its time is over");
    assert_eq!(store.unpin_response(response), Some(pin));
    assert_eq!(store.stats().sessions.occupied, 1000);
}

#[test]
fn keys_are_secret_hashes_of_tenant_and_session() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, _) = open(dir.path(), 10);
    let key = store.session_key(b"ab", b"c");
    assert_eq!(key, store.session_key(b"ab", b"c"));
    assert_ne!(key, store.session_key(b"a", b"bc"));
    assert_ne!(key, store.response_key(b"ab", b"c"));
    let other = tempfile::tempdir().expect("a directory");
    assert_ne!(key, open(other.path(), 10).0.session_key(b"ab", b"c"), "another file has another secret");
}

#[test]
fn one_process_owns_the_files_and_nobody_else_may_read_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, _) = open(dir.path(), 10);
    assert!(matches!(
        Store::open(dir.path(), &Options::with_capacity(10), NOW),
        Err(OpenError::InUse { path }) if path == dir.path().join("sessions.lock")
    ));
    let mode = fs::metadata(file(dir.path())).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(store);
    open(dir.path(), 10);
}

#[test]
fn a_million_sessions_fit_into_400_megabytes_and_all_blocks_are_there() {
    assert!(Options::with_capacity(1_000_000).file_bytes() < 400_000_000);
    let dir = tempfile::tempdir().expect("a directory");
    open(dir.path(), 100_000);
    let metadata = fs::metadata(file(dir.path())).expect("there");
    assert_eq!(metadata.len(), Options::with_capacity(100_000).file_bytes());
    assert!(std::os::unix::fs::MetadataExt::blocks(&metadata) * 512 >= metadata.len());
}

#[test]
fn a_capacity_out_of_range_or_out_of_disk_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    for capacity in [0, Options::CAPACITY.end() + 1] {
        let refused = Store::open(dir.path(), &Options { capacity, ..Options::with_capacity(1) }, NOW);
        assert!(matches!(refused, Err(OpenError::Capacity(asked)) if asked == capacity));
    }
}

#[test]
fn a_file_that_cannot_be_used_is_set_aside_untouched() {
    type Damage = (&'static str, fn(&Path));
    let damage: [Damage; 6] = [
        ("does not begin", |path| overwrite(path, 0, b"SOMETHING")),
        ("header is damaged", |path| overwrite(path, 25, b"\xEE")),
        ("header is damaged", |path| overwrite(path, 80, b"\xEE")),
        ("its length", |path| truncate(path, 1 << 20)),
        ("does not begin", |path| truncate(path, 100)),
        ("does not begin", |path| truncate(path, 0)),
    ];
    for (reason, damage) in damage {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, _) = open(dir.path(), 100);
        let kept = record(&store, "small", 1);
        store.commit(1, |_| Some(kept), NOW);
        drop(store);
        damage(&file(dir.path()));
        let before = fs::read(file(dir.path())).expect("there");
        let (store, report) = open(dir.path(), 100);
        let aside = report.set_aside.clone().expect("set aside");
        assert!(aside.reason.contains(reason), "{} should say {reason}", aside.reason);
        assert!(aside.path.to_string_lossy().ends_with(&format!("set-aside-{NOW}")));
        assert_eq!(fs::read(&aside.path).expect("there"), before);
        assert!(report.created && report.messages().len() == 2);
        assert_eq!(store.get(1, NOW), None);
        drop(store);
        // A second one at the same time does not overwrite the first.
        overwrite(&file(dir.path()), 0, b"X");
        let second = open(dir.path(), 100).1.set_aside.expect("set aside").path;
        assert_ne!(second, aside.path);
        assert_eq!(fs::read(&aside.path).expect("there"), before);
    }
}

#[test]
fn another_capacity_keeps_the_sessions() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, _) = open(dir.path(), 100);
    store.intern("never used").expect("room");
    for n in 0..100_u32 {
        let wanted = Record { last_seen_ms: NOW - u64::from(n), ..record(&store, "small", n) };
        assert_eq!(store.commit(u128::from(n), |_| Some(wanted), NOW), CommitOutcome::Created);
    }
    let expired = Record { last_seen_ms: NOW - 86_400_001, ..record(&store, "old", 0) };
    store.commit(500, |_| Some(expired), NOW);
    let locked = Record {
        flags: Record::OPEN_TOOL_LOOP,
        tool_loop_until_ms: NOW + 1,
        last_seen_ms: 5,
        ..record(&store, "small", 0)
    };
    store.commit(501, |_| Some(locked), NOW);
    let hash_key = store.hash_key();
    drop(store);

    let (store, report) = open(dir.path(), 10_000);
    let rebuilt = report.rebuilt.expect("rebuilt");
    assert_eq!((rebuilt.from_capacity, rebuilt.to_capacity), (100, 10_000));
    assert_eq!((rebuilt.sessions, rebuilt.expired, rebuilt.evicted), (101, 1, 0));
    assert_eq!((store.hash_key(), store.stats().names), (hash_key, 2), "unused names are gone");
    assert_eq!(
        store.get(7, NOW).map(|record| (record.turns, store.name(record.model))),
        Some((7, Some("small")))
    );
    drop(store);

    let (store, report) = open(dir.path(), 1);
    let rebuilt = report.rebuilt.expect("rebuilt");
    assert_eq!((rebuilt.sessions, rebuilt.evicted, rebuilt.locked_lost), (56, 45, 0));
    assert!(store.get(501, NOW).is_some(), "locked, though idle for longest");
    assert!((0..55).all(|key| store.get(key, NOW).is_some()), "the least idle stayed");
    assert!(fs::read_dir(dir.path()).expect("there").count() == 2, "nothing unfinished is left behind");
}

#[test]
fn compaction_drops_what_is_dead() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut store, _) = open(dir.path(), 100);
    for n in 0..40_u32 {
        let wanted = record(&store, &format!("model-{n}"), n);
        store.commit(u128::from(n), |_| Some(wanted), NOW);
    }
    for n in 0..39 {
        assert!(store.remove(n).is_some());
    }
    let rebuilt = store.compact(NOW).expect("rebuilt");
    assert_eq!((rebuilt.sessions, store.stats().names), (1, 2));
    let kept = store.get(39, NOW).expect("kept");
    assert_eq!(store.name(kept.model), Some("model-39"));
    drop(store);
    assert_eq!(open(dir.path(), 100).0.get(39, NOW), Some(kept));
}

#[test]
fn after_the_machine_went_down_everything_is_verified() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, _) = open(dir.path(), 100);
    let kept = record(&store, "small", 1);
    for key in 0..50 {
        store.commit(key, |_| Some(kept), NOW);
    }
    drop(store);
    // Another boot, and a page that was never written back.
    overwrite(&file(dir.path()), 128, &7_u64.to_le_bytes());
    let heads = 4096 + 4096 * 512;
    overwrite(&file(dir.path()), heads, &[0; 128]);
    let (store, report) = open(dir.path(), 100);
    assert!(report.verified.is_some());
    assert!((0..50).all(|key| store.get(key, NOW) == Some(kept)), "tags were rebuilt from the slots");
    store.close().expect("written");
    let (_, report) = open(dir.path(), 100);
    assert_eq!(report.verified, None, "closed in order");
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(path).expect("there");
    file.write_all_at(bytes, offset).expect("written");
}

fn truncate(path: &Path, length: u64) {
    fs::OpenOptions::new().write(true).open(path).expect("there").set_len(length).expect("truncated");
}

/// Pins that a locked session was left with by its last turn outlive all others, however long those still have.
#[test]
fn a_pin_of_a_locked_session_is_never_evicted_for_one_that_nobody_waits_for() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), 1_000);
    let model = store.intern("m").unwrap();
    let pin = |session: u128, created_ms, ttl| Pin {
        session: session.into(),
        created_ms,
        expires_ms: created_ms + ttl,
        model,
        backend: model,
    };
    let (hour, month) = (3_600_000, 2_592_000_000);
    let open_loop = Record {
        flags: Record::OPEN_TOOL_LOOP,
        tool_loop_until_ms: NOW + hour,
        last_seen_ms: NOW,
        ..Record::default()
    };
    let key = |space: u128, n: u128| store.response_key(&space.to_le_bytes(), &n.to_le_bytes());
    for n in 0..100 {
        let session = key(1, n);
        assert!(store.commit(session, |_| Some(open_loop), NOW).is_remembered());
        assert!(store.pin_response(key(2, n), &pin(session, NOW, hour), NOW).is_remembered());
    }
    // Many times the room there is, every pin younger and with longer to live.
    for n in 0..20_000 {
        let later = NOW + 1 + n as u64;
        assert!(store.pin_response(key(3, n), &pin(key(4, n), later, month), later).is_remembered());
    }
    let later = NOW + 20_001;
    assert!(store.stats().pins.evicted > 10_000);
    assert!((0..100).all(|n| store.pinned(key(2, n), later).is_some()));

    // Once the session has moved on, its pin is as good as any other of its age.
    for n in 0..100 {
        let moved_on = Record { last_seen_ms: later, ..open_loop };
        assert!(store.commit(key(1, n), |_| Some(moved_on), later).is_remembered());
    }
    for n in 20_000..40_000 {
        let later = NOW + 1 + n as u64;
        store.pin_response(key(3, n), &pin(key(4, n), later, month), later);
    }
    assert!((0..100).all(|n| store.pinned(key(2, n), later).is_none()));
}
