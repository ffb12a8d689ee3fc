//! Checks and measures the kernels and encoders on a GPU: `scripts/gpu-check.sh` runs it.
//!
//! `gpu_check LIBRARY KERNELS RESULTS`: LIBRARY is a libamdhip64 (on NVIDIA machines the one of `cuda-shim`), KERNELS a
//! folder with code objects, or `auto` for what is built in or compiled by hipRTC. Every output that is timed is compared
//! with sums in binary64 at samples, and small networks as a whole. RESULTS becomes a table, tab-separated:
//! kind, model, what, batch, tokens, us, texts/s, GFLOP, MB, note. It ends with 1 if anything differs.
#![allow(unsafe_code, reason = "launches promise the kernels what their contract asks")]

mod encoders;
/// The tests' networks and their definition, at the places that these files know.
#[path = "../../src/encoder"]
mod library {
    pub(crate) use pintle_hip::encoder as spec;

    #[path = "tests"]
    pub(crate) mod shared {
        #[allow(dead_code, reason = "the tests use more of it")]
        mod networks;
        #[allow(dead_code, reason = "the tests use more of it")]
        mod reference;

        use super::spec::EncoderSpec;

        pub(crate) const VOCABULARY: usize = networks::VOCABULARY;

        pub(crate) fn all() -> Vec<EncoderSpec<'static>> {
            networks::Network::ALL.into_iter().map(networks::Network::spec).collect()
        }

        /// The embedding of a text.
        pub(crate) fn embedding(spec: &EncoderSpec<'_>, ids: &[u32]) -> Vec<f64> {
            reference::encode(spec, ids, spec.blocks.len()).embedding
        }
    }
}
mod goldens;
mod kernels;
mod numbers;

use std::fmt::Write as _;
use std::process::ExitCode;

use pintle_hip::{Hip, Kernels, Source};

/// What can go wrong.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How much is done: everything, or as much as the emulator can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    Full,
    #[cfg_attr(not(test), expect(dead_code, reason = "of the emulator's test"))]
    Small,
}

/// A shape of encoder.
#[derive(Debug, Clone, Copy)]
struct Shape {
    name: &'static str,
    layers: u32,
    hidden: u32,
    inner: u32,
    heads: u32,
    vocabulary: u32,
    /// Gated, rotary, norms first, attention within 64 tokens but for every third layer; else as BERT.
    modern: bool,
}

impl Shape {
    /// Whether a layer's attention has a window.
    fn local(&self, layer: u32) -> bool {
        self.modern && !layer.is_multiple_of(3)
    }
}

const SHAPES: [Shape; 2] = [
    Shape {
        name: "MiniLM-L6",
        layers: 6,
        hidden: 384,
        inner: 1536,
        heads: 12,
        vocabulary: 30_522,
        modern: false,
    },
    Shape {
        name: "ModernBERT-base",
        layers: 22,
        hidden: 768,
        inner: 1152,
        heads: 12,
        vocabulary: 50_368,
        modern: true,
    },
];
const TINY: [Shape; 2] = [
    Shape { name: "tiny", layers: 2, hidden: 64, inner: 96, heads: 2, vocabulary: 40, modern: false },
    Shape { name: "tiny-modern", layers: 4, hidden: 128, inner: 64, heads: 2, vocabulary: 40, modern: true },
];

/// Texts and tokens of each.
const BATCHES: [(u32, u32); 12] = [
    (1, 16),
    (1, 64),
    (1, 128),
    (1, 512),
    (8, 16),
    (8, 64),
    (8, 512),
    (64, 16),
    (64, 128),
    (256, 16),
    (256, 64),
    (32, 512),
];

impl Extent {
    fn shapes(self) -> &'static [Shape] {
        if self == Self::Full { &SHAPES } else { &TINY }
    }

    fn batches(self) -> &'static [(u32, u32)] {
        if self == Self::Full { &BATCHES } else { &[(1, 16), (2, 70)] }
    }
}

/// Lines of the table, and what differed.
#[derive(Debug, Default)]
struct Report {
    rows: String,
    defects: Vec<String>,
}

/// One line.
#[derive(Debug, Default)]
struct Row<'a> {
    kind: &'a str,
    model: &'a str,
    what: &'a str,
    batch: u32,
    tokens: u32,
    microseconds: f64,
    texts_per_second: f64,
    flops: f64,
    bytes: f64,
    note: &'a str,
}

impl Report {
    fn add(&mut self, row: &Row<'_>) {
        let Row { kind, model, what, batch, tokens, microseconds, texts_per_second, flops, bytes, note } =
            row;
        let (giga, mega) = (flops / 1e9, bytes / 1e6);
        let written = writeln!(
            self.rows,
            "{kind}\t{model}\t{what}\t{batch}\t{tokens}\t{microseconds:.2}\t{texts_per_second:.0}\t{giga:.4}\t{mega:.3}\t{note}"
        );
        written.expect("a string takes everything");
    }
}

fn check(hip: &Hip, extent: Extent) -> Result<Report> {
    let mut report = Report::default();
    goldens::run(hip, &mut report)?;
    kernels::run(hip, extent, &mut report)?;
    encoders::run(hip, extent, &mut report)?;
    Ok(report)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [library, kernels, results] = arguments.as_slice() else {
        eprintln!("gpu_check LIBRARY KERNELS|auto RESULTS");
        return ExitCode::from(2);
    };
    let kernels = match kernels.as_str() {
        "auto" => Kernels::Automatic,
        folder => Kernels::Folder(folder.into()),
    };
    let run = || -> Result<Report> {
        let hip = Hip::open(&Source::File(library.into()))?.with_kernels(kernels);
        let info = hip.describe(0)?;
        println!("{}, {}, {} processors", info.name, info.isa, info.compute_units);
        let report = check(&hip, Extent::Full)?;
        let head = format!("device\t{}\t{}\t{}\n", info.name, info.isa, info.compute_units);
        std::fs::write(results, head + &report.rows)?;
        Ok(report)
    };
    match run() {
        Ok(report) if report.defects.is_empty() => {
            println!("everything agrees");
            ExitCode::SUCCESS
        }
        Ok(report) => {
            report.defects.iter().for_each(|defect| eprintln!("DIFFERS {defect}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use pintle_hip_emulator::{Emulator, Target};

    use super::*;

    #[test]
    fn the_emulated_gpus_agree() {
        if cfg!(feature = "hip-rs") {
            return;
        }
        for target in [Target::Sm90, Target::Gfx942] {
            let Some(emulator) = Emulator::take(target) else { return };
            let hip = Hip::open(&Source::File(emulator.path().to_owned())).unwrap();
            let report = check(&hip, Extent::Small).unwrap();
            assert_eq!(report.defects, Vec::<String>::new(), "{target:?}");
            // Of two batches: four products, attention, twice where there is a window, two kinds of rows.
            let kernels = report.rows.lines().filter(|row| row.starts_with("kernel\t")).count();
            let encoders = report.rows.lines().filter(|row| row.starts_with("encoder\t")).count();
            assert_eq!((kernels, encoders), (2 * (7 + 8), 4), "{}", report.rows);
        }
    }

    #[test]
    fn what_differs_is_told() {
        if cfg!(feature = "hip-rs") {
            return;
        }
        let Some(emulator) = Emulator::take(Target::Sm90) else { return };
        let hip = Hip::open(&Source::File(emulator.path().to_owned())).unwrap();
        let mut report = Report::default();
        kernels::run_with(&hip, Extent::Small, &mut report, 1.25).unwrap();
        assert!(report.defects.iter().any(|defect| defect.contains("qkv")), "{:?}", report.defects);
    }
}
