//! A crash leaves the files as they are at some moment: these are tests of what is read then.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pintle_routing::experience::{Experience, Lesson};
use serde_json::json;

use super::kept::Kept;
use super::{Desk, Keeper};

fn lesson(winner: &str, user: u64) -> Lesson {
    let belief = json!({ "alpha": 1.0, "beta": 1.0, "trials": 0 });
    serde_json::from_value(json!({
        "winner": winner, "loser": "other", "user": user, "weight": 0.1, "at": 1_763_700_000_000u64,
        "learning": { "k_factor": 32.0, "initial_rating": 1500.0, "by_decision": true, "max_interactions": 9 },
        "seeds": [1512.25, 1500.0], "priors": [belief, belief],
    }))
    .unwrap()
}

fn teach(kept: &mut Kept, experience: &mut Experience, winners: &[&str]) {
    for winner in winners {
        let lesson = lesson(winner, 1);
        kept.add(&lesson, experience).unwrap();
        lesson.apply(experience);
    }
}

#[track_caller]
fn found(folder: &Path) -> (Experience, usize) {
    let (_, found) = Kept::open(folder).unwrap();
    (found.experience, found.damaged.len())
}

#[test]
fn lessons_are_there_without_a_word_of_farewell_and_folding_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut kept, mut learnt) = (Kept::open(folder.path()).unwrap().0, Experience::default());
    teach(&mut kept, &mut learnt, &["a", "b", "a"]);
    assert_eq!(found(folder.path()), (learnt.clone(), 0));
    kept.fold(&learnt).unwrap();
    assert!(kept.is_folded());
    for name in ["experience.json", "experience.log"] {
        let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}: what users like is nobody else's to read");
    }
    assert_eq!(found(folder.path()), (learnt.clone(), 0));
    teach(&mut kept, &mut learnt, &["c"]);
    assert_eq!(found(folder.path()), (learnt.clone(), 0));
    let mut again = Kept::open(folder.path()).unwrap().0;
    teach(&mut again, &mut learnt, &["d"]);
    assert_eq!(found(folder.path()), (learnt, 0));
}

#[test]
fn a_crash_between_folding_and_emptying_the_log_teaches_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (mut kept, mut learnt) = (Kept::open(folder.path()).unwrap().0, Experience::default());
    teach(&mut kept, &mut learnt, &["a", "b"]);
    let log = folder.path().join("experience.log");
    let full = fs::read(&log).unwrap();
    kept.fold(&learnt).unwrap();
    fs::write(&log, full).unwrap();
    assert_eq!(found(folder.path()), (learnt.clone(), 0));
    let mut kept = Kept::open(folder.path()).unwrap().0;
    teach(&mut kept, &mut learnt, &["c"]);
    assert_eq!(found(folder.path()), (learnt, 0));
}

#[test]
fn a_line_that_was_cut_off_anywhere_is_none_and_those_before_it_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (mut kept, mut learnt) = (Kept::open(folder.path()).unwrap().0, Experience::default());
    teach(&mut kept, &mut learnt, &["a"]);
    let log = folder.path().join("experience.log");
    let first = fs::read(&log).unwrap().len();
    let before = learnt.clone();
    teach(&mut kept, &mut learnt, &["b"]);
    let whole = fs::read(&log).unwrap();
    for length in first..whole.len() {
        fs::write(&log, &whole[..length]).unwrap();
        assert_eq!(found(folder.path()), (before.clone(), 0), "{length} bytes");
    }
    // What comes next takes the place of the torn line.
    let (mut kept, mut again) = (Kept::open(folder.path()).unwrap().0, before);
    teach(&mut kept, &mut again, &["c"]);
    assert_eq!(found(folder.path()).0, again);
}

#[test]
fn a_damaged_line_is_told_and_set_aside_with_what_follows() {
    let folder = tempfile::tempdir().unwrap();
    let (mut kept, mut learnt) = (Kept::open(folder.path()).unwrap().0, Experience::default());
    teach(&mut kept, &mut learnt, &["a"]);
    let log = folder.path().join("experience.log");
    let (first, before) = (fs::read(&log).unwrap().len(), learnt.clone());
    teach(&mut kept, &mut learnt, &["b", "c"]);
    let mut bytes = fs::read(&log).unwrap();
    bytes[first + 40] ^= 1;
    fs::write(&log, &bytes).unwrap();
    assert_eq!(found(folder.path()), (before, 1));
    assert_eq!(fs::read(folder.path().join("experience.log.unreadable")).unwrap(), bytes[first..]);
}

/// A log of three lessons, of which the first is damaged, and its bytes.
fn damaged_at_its_beginning(folder: &Path) -> (PathBuf, Vec<u8>) {
    let (mut kept, mut learnt) = (Kept::open(folder).unwrap().0, Experience::default());
    teach(&mut kept, &mut learnt, &["a", "b", "c"]);
    let log = folder.join("experience.log");
    let mut bytes = fs::read(&log).unwrap();
    bytes[40] ^= 1;
    fs::write(&log, &bytes).unwrap();
    (log, bytes)
}

#[test]
fn what_was_set_aside_is_gone_and_is_neither_told_nor_learnt_again() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = damaged_at_its_beginning(folder.path());
    assert_eq!(found(folder.path()), (Experience::default(), 1));
    assert_eq!(fs::metadata(&log).unwrap().len(), 0);
    // As long as the damaged one, whose place it takes before the two that were whole.
    let (mut kept, mut again) = (Kept::open(folder.path()).unwrap().0, Experience::default());
    teach(&mut kept, &mut again, &["d"]);
    assert_eq!(found(folder.path()), (again, 0));
}

#[test]
fn what_cannot_be_set_aside_is_not_learnt_again_either() {
    let folder = tempfile::tempdir().unwrap();
    let (log, bytes) = damaged_at_its_beginning(folder.path());
    fs::create_dir(folder.path().join("experience.log.unreadable")).unwrap();
    let (mut kept, found_then) = Kept::open(folder.path()).unwrap();
    assert_eq!(found_then.damaged.len(), 1);
    assert_eq!(fs::read(&log).unwrap(), bytes, "until something takes its place");
    let mut again = Experience::default();
    teach(&mut kept, &mut again, &["d"]);
    assert_eq!(found(folder.path()), (again, 0));
}

#[test]
fn what_is_learnt_after_another_process_had_the_files_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let desk = Desk::new(folder.path());
    let (mut kept, mut learnt) = (Kept::open(folder.path()).unwrap().0, Experience::default());
    teach(&mut kept, &mut learnt, &["a", "b"]);
    *desk.keeper() = Keeper::Open(kept);
    desk.hand_over();
    let (mut other, found_there) = Kept::open(folder.path()).unwrap();
    other.fold(&found_there.experience).unwrap();
    drop(other);
    desk.take_back();
    match &mut *desk.keeper() {
        Keeper::Open(kept) => teach(kept, &mut learnt, &["c"]),
        _ => panic!("open again"),
    }
    assert_eq!(found(folder.path()), (learnt, 0));
}

#[test]
fn the_files_are_this_process_s_when_the_other_one_has_handed_them_over() {
    let folder = tempfile::tempdir().unwrap();
    let desk = Desk::new(folder.path());
    *desk.keeper() = Keeper::Elsewhere(Some(Kept::open(folder.path()).unwrap().0));
    desk.take_back();
    assert!(matches!(*desk.keeper(), Keeper::Elsewhere(Some(_))), "they are not its own to take back");
    desk.take_charge();
    assert!(matches!(*desk.keeper(), Keeper::Open(_)));
    desk.hand_over();
    desk.take_charge();
    assert!(matches!(*desk.keeper(), Keeper::Elsewhere(None)), "they are another's now");
}

#[test]
fn the_log_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let (mut kept, mut learnt) = (Kept::open(folder.path()).unwrap().0, Experience::default());
    let long = "m".repeat(1000);
    let mut longest = 0;
    for _ in 0..300 {
        teach(&mut kept, &mut learnt, &[&long]);
        longest = longest.max(fs::metadata(folder.path().join("experience.log")).unwrap().len());
    }
    assert!((128 * 1024..=256 * 1024).contains(&longest), "{longest}");
    assert_eq!(found(folder.path()), (learnt, 0));
}

#[test]
fn what_cannot_be_kept_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (mut kept, mut learnt) = (Kept::open(folder.path()).unwrap().0, Experience::default());
    let in_the_way = folder.path().join("experience.json.new");
    fs::create_dir(&in_the_way).unwrap();
    let long = lesson(&"m".repeat(1000), 1);
    let refused = (0..300).any(|_| match kept.add(&long, &learnt) {
        Ok(()) => {
            long.apply(&mut learnt);
            false
        }
        Err(_) => true,
    });
    assert!(refused, "a full log that cannot be folded takes no more");
    assert_eq!(found(folder.path()), (learnt.clone(), 0));
    fs::remove_dir(&in_the_way).unwrap();
    kept.add(&long, &learnt).unwrap();
    long.apply(&mut learnt);
    assert_eq!(found(folder.path()), (learnt, 0));
}
