//! Promise: loading is total. Whatever the bytes, it ends soon, within its bounds, without a panic, and says
//! something when it refuses.
#![allow(clippy::disallowed_methods, reason = "a test finds its corpus by an environment variable")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pintle_config::migrate::migrate;
use pintle_config::{CheckOptions, Format, MAX_BYTES, Profile, check, load, render};
use proptest::prelude::*;

/// Far above what a bounded document takes, even unoptimised on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn try_load(bytes: &[u8]) {
    let began = Instant::now();
    for profile in [Profile::Pintle, Profile::Compat] {
        let loaded = load(bytes, "bytes", profile);
        assert_eq!(
            loaded.config.is_none(),
            loaded.report.has_errors(),
            "refused exactly when there is an error"
        );
        for format in [Format::Human, Format::Json, Format::Sarif] {
            assert!(!render(&loaded.report, format, bytes).is_empty());
        }
    }
    let migration = migrate(bytes, "bytes");
    if migration.output.is_none() {
        assert!(migration.report.has_errors(), "what cannot be migrated says why");
    }
    assert!(began.elapsed() < PATIENCE, "took {:?}", began.elapsed());
}

fn examples() -> Vec<Vec<u8>> {
    let mut all = vec![
        include_bytes!("../examples/agentic.yaml").to_vec(),
        include_bytes!("../examples/minimal.yaml").to_vec(),
    ];
    let named = std::env::var_os("PINTLE_CORPUS").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/config");
    if let Some(probes) =
        named.into_iter().chain([beside]).map(|dir| dir.join("probes")).find(|dir| dir.is_dir())
    {
        let mut files: Vec<_> =
            std::fs::read_dir(&probes).into_iter().flatten().flatten().map(|file| file.path()).collect();
        files.sort();
        let legacy = probes.with_file_name("legacy").join("v0.1.0/config");
        files.extend(std::fs::read_dir(legacy).into_iter().flatten().flatten().map(|file| file.path()));
        all.extend(files.iter().filter_map(|file| std::fs::read(file).ok()));
    }
    all
}

/// Pieces that YAML gives a meaning, so that mutations reach beyond the scanner.
const PIECES: &[&str] = &[
    "\n",
    "  ",
    "\t",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "<<: *a\n",
    "!!str ",
    "!!int ",
    "? ",
    "|\n",
    ">\n",
    "'",
    "\"",
    "#",
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "null",
    "~",
    "yes",
    "0x1F",
    "1e400",
    "-.inf",
    ".nan",
    "99999999999999999999",
    "routing:",
    "global:",
    "type: NOT",
    "\u{0}",
    "\u{feff}",
    "\u{2028}",
    "é",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        try_load(&bytes);
    }

    #[test]
    fn arbitrary_pieces(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..200)) {
        try_load(pieces.concat().as_bytes());
    }

    #[test]
    fn mutated_documents(
        which in any::<prop::sample::Index>(),
        edits in proptest::collection::vec(
            (any::<prop::sample::Index>(), 0usize..24, proptest::sample::select(PIECES)),
            1..6,
        ),
    ) {
        let all = examples();
        let mut bytes = which.get(&all).clone();
        for (at, cut, piece) in edits {
            let at = at.index(bytes.len() + 1);
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, piece.bytes());
        }
        try_load(&bytes);
    }
}

#[test]
fn the_bounds_hold() {
    let bomb = {
        let mut text = String::from("routing:\n  a: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let uses = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("  b{level}: &a{level} [{uses}]\n"));
        }
        text
    };
    let merges = {
        let mut text = String::from("routing: {}\nx0: &m0 {k: v}\n");
        for level in 1..2_000 {
            text.push_str(&format!("x{level}: &m{level} {{<<: *m{}, k{level}: v}}\n", level - 1));
        }
        text
    };
    let long_text =
        format!("routing: {{}}\na: &a \"{}\"\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 2_000].join(", "));
    let cases = [
        ("bomb", bomb),
        ("merges", merges),
        ("long text", long_text),
        ("too many bytes", " ".repeat(MAX_BYTES + 1)),
        ("deep flow", format!("routing: {}", "{a: ".repeat(100_000))),
        ("deep blocks", (0..20_000).map(|depth| format!("{}a:\n", " ".repeat(depth % 4_000))).collect()),
        ("many items", format!("routing: {{}}\na: [{}]", "1, ".repeat(2_000_000))),
        ("many anchors", (0..50_000).map(|n| format!("k{n}: &n{n} v\n")).collect()),
        ("self reference", "routing: &a [*a]\n".to_owned()),
    ];
    for (name, text) in cases {
        let began = Instant::now();
        let loaded = load(text.as_bytes(), name, Profile::Pintle);
        assert!(began.elapsed() < PATIENCE, "{name} took {:?}", began.elapsed());
        assert!(loaded.config.is_none(), "{name} is refused");
        let first = &loaded.report.findings[0];
        assert!(["PCF001", "PCF003"].contains(&first.code), "{name}: {first:?}");
    }
}

#[test]
fn many_findings_are_bounded() {
    let text: String = std::iter::once("routing: {}\n".to_owned())
        .chain((0..20_000).map(|n| format!("u{n}: 1\n")))
        .collect();
    let report = check(text.as_bytes(), "many", CheckOptions::default());
    assert!(report.findings.len() < 2_100, "{}", report.findings.len());
    assert!(report.findings.iter().any(|finding| finding.message.contains("more findings")));
}
