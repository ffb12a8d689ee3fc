//! Promise: what v0.3.0's router loads, loads; what it refuses is refused. Differences are listed with
//! their reason in `differences.tsv`.
//!
//! The corpus is upstream's own files and probes, each with the verdict its real loader gave. It is looked
//! for in `PINTLE_CORPUS`, then in `../shared/corpus/config` beside the repository.
#![allow(clippy::disallowed_methods, reason = "a test finds its corpus by an environment variable")]

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use pintle_config::{Config, Keys, Profile, Severity, export, load};

fn corpus() -> Option<PathBuf> {
    let named = std::env::var_os("PINTLE_CORPUS").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/config");
    named.into_iter().chain([beside]).find(|dir| dir.join("index.tsv").is_file())
}

struct Row {
    file: String,
    kind: String,
    verdict: String,
    detail: String,
}

fn rows(dir: &Path) -> Vec<Row> {
    let index = std::fs::read_to_string(dir.join("index.tsv")).expect("the corpus has an index");
    let mut lines = index.lines();
    let header: Vec<&str> = lines.next().expect("the index has a header").split('\t').collect();
    let column = |name: &str| header.iter().position(|have| *have == name).expect("a known column");
    let (file, kind, verdict, detail) =
        (column("file"), column("kind"), column("go_v0.3.0"), column("go_v0.3.0_detail"));
    lines
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .filter(|cells| cells.len() > detail)
        .map(|cells| Row {
            file: cells[file].to_owned(),
            kind: cells[kind].to_owned(),
            verdict: cells[verdict].to_owned(),
            detail: cells[detail].trim_matches('"').replace("\"\"", "\""),
        })
        .collect()
}

fn differences() -> HashSet<String> {
    include_str!("differences.tsv")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let mut cells = line.splitn(3, '\t');
            let (profile, file) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
            assert!(
                cells.next().is_some_and(|reason| reason.len() > 20),
                "{file} is listed without a reason"
            );
            format!("{profile}\t{file}")
        })
        .collect()
}

/// Load, export, load is the identity on everything but the version.
fn survives_export(config: &Config, file: &str, profile: Profile) {
    let text = export(config, Keys::Written);
    let again = load(text.as_bytes(), file, profile);
    let again = again
        .config
        .unwrap_or_else(|| panic!("{file}: the export does not load: {:?}\n{text}", again.report));
    let wanted = Config { version: again.version.clone(), ..config.clone() };
    assert!(again == wanted, "{file}: the export means something else:\n{text}");
}

#[test]
fn corpus_agreement() {
    let Some(dir) = corpus() else {
        println!("SKIP corpus_agreement: no corpus (set PINTLE_CORPUS to a folder with index.tsv)");
        return;
    };
    let known = differences();
    let mut used = Vec::new();
    let mut unexplained = Vec::new();
    let mut tally: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for row in rows(&dir) {
        let wanted = match row.verdict.as_str() {
            "valid" => true,
            "invalid" => false,
            _ => continue,
        };
        let Ok(bytes) = std::fs::read(dir.join(&row.file)) else { continue };
        let (kind, file) = (row.kind.clone(), row.file.clone());
        for profile in [Profile::Compat, Profile::Pintle] {
            let loaded = load(&bytes, &file, profile);
            let agrees = loaded.config.is_some() == wanted;
            if let Some(config) = &loaded.config {
                survives_export(config, &file, profile);
            }
            if profile == Profile::Compat {
                let (agreed, all) = tally.entry(kind.clone()).or_default();
                *all += 1;
                *agreed += usize::from(agrees);
            }
            if agrees {
                continue;
            }
            let key = format!("{profile:?}\t{file}");
            if known.contains(&key) {
                used.push(key);
                continue;
            }
            let errors: Vec<_> = loaded
                .report
                .findings
                .iter()
                .filter(|finding| finding.severity == Severity::Error)
                .map(|finding| {
                    format!("{}:{} {} {}", finding.line, finding.path, finding.code, finding.message)
                })
                .collect();
            unexplained.push(format!("{key}: upstream {} ({}), ours {errors:?}", row.verdict, row.detail));
        }
    }
    let (agreed, all) = tally.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    for (kind, (agreed, all)) in &tally {
        println!("{kind:<24} {agreed:>4} of {all:>4}");
    }
    println!("{:<24} {agreed:>4} of {all:>4} agree with v0.3.0", "all");
    assert!(all > 0, "the corpus has files with a verdict");
    assert!(
        unexplained.is_empty(),
        "{} differences without a reason:\n{}",
        unexplained.len(),
        unexplained.join("\n")
    );
    let stale: Vec<_> = known
        .iter()
        .filter(|key| {
            key.split_once('\t').is_some_and(|(_, file)| dir.join(file).exists()) && !used.contains(key)
        })
        .collect();
    assert!(stale.is_empty(), "listed as different, but they agree: {stale:?}");
}
