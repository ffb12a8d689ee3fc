//! Time to load a configuration: `cargo bench -p pintle-config --bench load`.
//!
//! Prints the least and the median of many runs, bytes to verdict, on one core without a warm-up run. Upstream's
//! reference file is measured where it lies beside the checkout; PINTLE_CORPUS names another place.
#![allow(clippy::disallowed_methods, reason = "a benchmark finds its corpus by an environment variable")]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use pintle_config::{Profile, load};

const RUNS: usize = 300;

fn measure(name: &str, bytes: &[u8]) {
    let mut millis: Vec<f64> = (0..RUNS)
        .map(|_| {
            let began = Instant::now();
            let loaded = black_box(load(black_box(bytes), name, Profile::Pintle));
            let millis = began.elapsed().as_secs_f64() * 1e3;
            assert!(loaded.config.is_some(), "{name} loads");
            millis
        })
        .collect();
    millis.sort_by(f64::total_cmp);
    let (least, median) = (millis[0], millis[RUNS / 2]);
    println!("{name:<28} {:>7} bytes   least {least:>7.3} ms   median {median:>7.3} ms", bytes.len());
}

fn main() {
    measure("agentic.yaml", include_bytes!("../examples/agentic.yaml"));
    let named = std::env::var_os("PINTLE_CORPUS").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/config");
    let reference = named
        .into_iter()
        .chain([beside])
        .find_map(|dir| std::fs::read(dir.join("v03/v0.3.0/config/config.yaml")).ok());
    match reference {
        Some(bytes) => measure("upstream's config.yaml", &bytes),
        None => println!("SKIP upstream's config.yaml: no corpus (set PINTLE_CORPUS)"),
    }
}
