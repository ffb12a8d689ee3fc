//! Runs a check on the stable toolchain: over every seed of its target, and over mutations of them.
//!
//! The mutations are the same in each run, so a failure can be repeated; `cargo fuzz` looks further. A module of
//! the tests named `fuzz_replay`, not of the fuzz targets.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Mutations of each target's seeds, per run.
const MUTATIONS: u64 = 4000;
/// Longest mutated input: what libFuzzer uses by default.
const MAX_LEN: usize = 4096;

/// xorshift64*: enough to pick bytes and places.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("seed-")))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no seeds in {}", folder.display());
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Changes `input` in one place; `tokens` are what the target's parser treats specially.
fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], tokens: &[&[u8]], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let end = (at + random.below(16)).min(input.len());
    match random.below(7) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = random.below(256) as u8,
        2 => drop(input.drain(at..end)),
        3 => {
            let copied = input[at..end].to_vec();
            let place = random.below(input.len() + 1);
            input.splice(place..place, copied);
        }
        4 => input.truncate(at),
        5 => {
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len() + 1);
            input.splice(at.., other[from..].iter().copied());
        }
        _ => {
            let token = tokens[random.below(tokens.len())];
            input.splice(at..at, token.iter().copied());
        }
    }
    input.truncate(MAX_LEN);
}

/// Runs `check` over the seeds of `target` and their mutations.
pub(crate) fn replay(target: &str, tokens: &[&[u8]], check: fn(&[u8])) {
    let seeds = seeds(target);
    for seed in &seeds {
        check(seed);
    }
    let mut random = Random(0x5049_4e54_4c45);
    for round in 0..MUTATIONS {
        let mut input = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut input, &seeds, tokens, &mut random);
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| check(&input)));
        assert!(outcome.is_ok(), "{target}, mutation {round}: {}", input.escape_ascii());
    }
}
