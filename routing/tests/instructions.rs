//! What a decision costs in instructions, counted by callgrind: unlike time, the same on a busy machine.
//!
//! Bounds are for unoptimised builds, which is what the test suite makes, and lie a third above what was counted: a
//! change that makes deciding dearer by more than that is noticed, whatever the machine. Where valgrind is missing the
//! test says so and passes.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;

use pintle_routing::live::LiveSignals;
use pintle_routing::policy::Policy;
use pintle_routing::units::UnixMillis;

mod common;

use common::{compile, facts, policy};

/// Decisions by which the longer run is longer.
const MORE: u64 = 20;

/// Each case with the instructions of one decision that are allowed.
const CASES: [(&str, u64); 3] = [("small", SMALL), ("large", LARGE), ("agentic", AGENTIC)];
/// 10 decisions of 3 conditions: 59,537 counted.
const SMALL: u64 = 80_000;
/// 100 decisions of 5 conditions: 318,643 counted.
const LARGE: u64 = 425_000;
/// The shipped example on 1 kB of text: 338,351 counted.
const AGENTIC: u64 = 450_000;

fn case(name: &str) -> (Policy, String) {
    let sentence = "Please look at the scheduler, it seems that a task is never woken up again. ";
    match name {
        "small" => (policy(10, 3), String::new()),
        "large" => (policy(100, 5), String::new()),
        "agentic" => (
            compile(include_str!("../../config/examples/agentic.yaml")),
            sentence.repeat(14)[..1000].to_owned(),
        ),
        other => panic!("no case {other}"),
    }
}

fn decide(name: &str, times: u64) {
    let (policy, text) = case(name);
    let request = facts(&text);
    let live = LiveSignals::default();
    for _ in 0..times {
        black_box(policy.decide(black_box(&request), None, UnixMillis(1), &live));
    }
}

macro_rules! run {
    ($($few:ident $many:ident $name:literal),*) => {
        $(
            #[test]
            #[ignore = "run by the test below, under callgrind"]
            fn $few() {
                decide($name, 1);
            }

            #[test]
            #[ignore = "run by the test below, under callgrind"]
            fn $many() {
                decide($name, 1 + MORE);
            }
        )*
    };
}

run!(small_few small_many "small", large_few large_many "large", agentic_few agentic_many "agentic");

/// Instructions of a whole run of one of the tests above.
fn count(test: &str, directory: &Path) -> u64 {
    let program = std::env::current_exe().expect("the path of this test");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(&program)
        .args(["--exact", test, "--ignored", "--test-threads=1"])
        .current_dir(directory)
        .output()
        .expect("valgrind was there a moment ago");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{test}: {log}");
    let line = log.lines().find_map(|line| line.split_once("Collected :")).expect(&log);
    line.1.trim().parse().expect("a number of instructions")
}

#[test]
fn decisions_stay_within_their_instructions() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("SKIP: instruction counts of decisions: valgrind is not installed");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut dear = Vec::new();
    for (name, allowed) in CASES {
        let few = count(&format!("{name}_few"), directory.path());
        let many = count(&format!("{name}_many"), directory.path());
        let each = (many - few) / MORE;
        println!("{name}: {each} instructions per decision, {allowed} allowed");
        if each > allowed && cfg!(debug_assertions) {
            dear.push(format!("{name}: {each} instructions, {allowed} allowed"));
        }
    }
    assert!(dear.is_empty(), "{dear:?}");
}
