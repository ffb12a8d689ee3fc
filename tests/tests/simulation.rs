//! Promise: whatever happens around a session, a turn inside a tool loop or with provider state reaches its
//! model, or is released or refused as configured; and memory holds the turns that were served, no others.
//!
//! `PINTLE_SIM_SEEDS` sets how many seeds are tried (default 160), `PINTLE_SIM_FIRST` the first of them.

use pintle_tests::simulation::{Run, Sabotage, Tally, run};

const STEPS: usize = 300;
const SEEDS: u64 = 160;

fn setting(name: &str, default: u64) -> u64 {
    pintle_tests::setting(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn no_seed_breaks_a_promise() {
    let (first, seeds) = (setting("PINTLE_SIM_FIRST", 0), setting("PINTLE_SIM_SEEDS", SEEDS));
    let mut sum = Tally::default();
    for seed in first..first + seeds {
        match run(Run { seed, steps: STEPS, sabotage: Sabotage::None }) {
            Ok(tally) => sum.add(&tally),
            Err(violation) => panic!("\n{violation}"),
        }
    }
    println!("{seeds} seeds: {sum:?}");
    // Otherwise the search would have passed by what it is for.
    let per_seed = |count: u64, at_least: u64| assert!(count >= seeds * at_least, "{sum:?}");
    per_seed(sum.turns, 100);
    per_seed(sum.held, 10);
    per_seed(sum.switched, 5);
    per_seed(sum.failed, 5);
    per_seed(sum.crashes, 2);
    per_seed(sum.reloads, 5);
    per_seed(sum.released, 1);
    per_seed(sum.refused, 1);
    assert!(seeds < 50 || sum.evicted > 0 && sum.full > 0, "no table was ever full: {sum:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [6, 7] {
        let once =
            || format!("{:?}", run(Run { seed, steps: STEPS, sabotage: Sabotage::None }).map_err(|v| v.what));
        assert_eq!(once(), once());
    }
}

#[test]
fn every_broken_rule_is_found() {
    let all = [
        Sabotage::ForgetPins,
        Sabotage::CommitFailures,
        Sabotage::OverlookResults,
        Sabotage::LoseMemory,
        Sabotage::AlwaysRelease,
    ];
    for sabotage in all {
        let found = (0..20).find_map(|seed| run(Run { seed, steps: STEPS, sabotage }).err());
        let violation = found.unwrap_or_else(|| panic!("{sabotage:?} goes unnoticed"));
        assert!(!violation.trace.is_empty());
        println!(
            "{sabotage:?}: seed {}, step {}: {}",
            violation.run.seed,
            violation.trace.len(),
            violation.what
        );
    }
}
