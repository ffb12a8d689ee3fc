//! Promise: two processes may use one memory while one takes over from the other, and whichever dies leaves
//! nothing that the other has to wait for.
//!
//! The second process is this test binary, started again with its part in the environment.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pintle_sessions::{OpenError, Options, Record, Store};

const ROLE: &str = "PINTLE_SESSIONS_SUCCESSOR";
/// Few, so that both processes meet in the same buckets.
const KEYS: u128 = 64;
const OPTIONS: Options = Options::with_capacity(200);

fn bump(store: &Store, key: u128) -> bool {
    let turn = |before: Option<&Record>| {
        let before = before.copied().unwrap_or_default();
        Some(Record { turns: before.turns + 1, last_seen_ms: 1, ..before })
    };
    store.commit(key, turn, 1).is_remembered()
}

/// Lets the child inherit `lock` as its standard input.
fn successor(dir: &Path, lock: OwnedFd, rounds: u32) -> Child {
    Command::new(std::env::current_exe().expect("a test has a path"))
        .args(["successor_role", "--exact", "--ignored", "--nocapture"])
        .env(ROLE, format!("{rounds}:{}", dir.display()))
        .stdin(Stdio::from(lock))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test binary starts")
}

/// The successor's part; does nothing when it is not one.
#[test]
#[ignore = "a child process of the other tests"]
#[expect(clippy::disallowed_methods, reason = "tests talk to their child processes so")]
fn successor_role() {
    let Ok(part) = std::env::var(ROLE) else { return };
    let (rounds, dir) = part.split_once(':').expect("rounds and directory");
    let lock: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned().expect("standard input is open");
    let (store, report) = Store::adopt(&PathBuf::from(dir), &OPTIONS, lock).expect("adopted");
    assert!(!report.created && report.kept_capacity.is_none());
    let name = store.intern("given by the successor").expect("room");
    println!("adopted {}", store.name(name).is_some());
    let rounds: u32 = rounds.parse().expect("a number");
    for round in 0..rounds {
        assert!(bump(&store, u128::from(round) % KEYS));
    }
    println!("done");
    std::io::stdout().flush().expect("a parent listens");
}

fn line(child: &mut BufReader<std::process::ChildStdout>, wanted: &str) {
    let mut text = String::new();
    while child.read_line(&mut text).expect("the child writes text") > 0 {
        if text.trim_end().ends_with(wanted) {
            return;
        }
        text.clear();
    }
    panic!("the successor ended without {wanted:?}");
}

#[test]
fn no_commit_of_either_process_is_lost() {
    const ROUNDS: u32 = 200_000;
    let dir = tempfile::tempdir().expect("a folder");
    let (store, _) = Store::open(dir.path(), &OPTIONS, 0).expect("opened");
    let mut child = successor(dir.path(), store.share().expect("shared"), ROUNDS);
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    line(&mut output, "adopted true");
    for round in 0..ROUNDS {
        assert!(bump(&store, u128::from(round) % KEYS));
    }
    line(&mut output, "done");
    assert!(child.wait().expect("it ends").success());
    let turns: u64 = (0..KEYS).map(|key| u64::from(store.get(key, 1).expect("known").turns)).sum();
    assert_eq!(turns, 2 * u64::from(ROUNDS));
    let stats = store.stats();
    assert_eq!((stats.sessions.corrupt, stats.sessions.recovered, stats.sessions.busy), (0, 0, 0));
    // A name that the successor gave is known here without asking anyone, and its number is not given again.
    let next = store.intern("given by the first").expect("room");
    let known = store.intern("given by the successor").expect("known");
    assert_ne!(next, known);
    assert_eq!(store.name(known), Some("given by the successor"));
}

#[test]
fn the_lock_of_a_killed_successor_is_inherited() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().expect("a folder");
        let (store, _) = Store::open(dir.path(), &OPTIONS, 0).expect("opened");
        let mut child = successor(dir.path(), store.share().expect("shared"), u32::MAX);
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        line(&mut output, "adopted true");
        for round in 0..1_000 {
            assert!(bump(&store, round % KEYS));
        }
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        for key in 0..KEYS {
            assert!(bump(&store, key), "nothing waits for the dead");
        }
        assert_eq!(store.stats().sessions.busy, 0);
    }
}

#[test]
fn the_memory_belongs_to_whoever_is_left() {
    let dir = tempfile::tempdir().expect("a folder");
    let (first, _) = Store::open(dir.path(), &OPTIONS, 0).expect("opened");
    assert!(bump(&first, 1));
    let lock = first.share().expect("shared");
    let (second, report) = Store::adopt(dir.path(), &Options::with_capacity(500), lock).expect("adopted");
    assert_eq!(report.kept_capacity, Some(200));
    assert!(report.messages()[0].contains("capacity of 200"), "{:?}", report.messages());
    assert!(bump(&second, 1) && bump(&first, 1));
    drop(first);
    let busy = Store::open(dir.path(), &OPTIONS, 0).map(|_| ()).expect_err("in use");
    assert!(matches!(busy, OpenError::InUse { .. }), "{busy}");
    assert_eq!(second.get(1, 1).map(|record| record.turns), Some(3));
    let lock = second.share().expect("shared again");
    let (third, _) = Store::adopt(dir.path(), &OPTIONS, lock).expect("adopted");
    drop(second);
    third.close().expect("written");
    let (fourth, report) = Store::open(dir.path(), &OPTIONS, 0).expect("opened");
    assert_eq!(report.messages(), [""; 0]);
    assert_eq!(fourth.get(1, 1).map(|record| record.turns), Some(3));
    drop(fourth);
    let left: Vec<_> = std::fs::read_dir(dir.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .filter(|name| name.starts_with("sessions.owner"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn another_lock_is_refused() {
    let (here, there) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (first, _) = Store::open(here.path(), &OPTIONS, 0).expect("opened");
    let (other, _) = Store::open(there.path(), &OPTIONS, 0).expect("opened");
    let wrong = Store::adopt(here.path(), &OPTIONS, other.share().expect("shared")).map(|_| ());
    assert!(matches!(wrong, Err(OpenError::NotShared { .. })), "{wrong:?}");
    drop(first);
}
