//! Promise: what v0.3.0's router loads, loads; what it refuses is refused. Differences are listed with
//! their reason in `differences.tsv`.
//!
//! The corpus is upstream's own files and probes, each with the verdict its real loader gave. It is looked
//! for in `PINTLE_CORPUS`, then in `../shared/corpus/config` beside the repository.
#![allow(clippy::disallowed_methods, reason = "a test finds its corpus by an environment variable")]

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use pintle_config::{Config, Keys, Profile, Report, Severity, export, load};

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
    /// Warnings of v0.3.0's loader; nearly all are unknown keys.
    warnings: usize,
}

fn rows(dir: &Path) -> Vec<Row> {
    let index = std::fs::read_to_string(dir.join("index.tsv")).expect("the corpus has an index");
    let mut lines = index.lines();
    let header: Vec<&str> = lines.next().expect("the index has a header").split('\t').collect();
    let column = |name: &str| header.iter().position(|have| *have == name).expect("a known column");
    let (file, kind, verdict, detail) =
        (column("file"), column("kind"), column("go_v0.3.0"), column("go_v0.3.0_detail"));
    let warnings = column("go_v0.3.0_warnings");
    lines
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .filter(|cells| cells.len() > detail)
        .map(|cells| Row {
            file: cells[file].to_owned(),
            kind: cells[kind].to_owned(),
            verdict: cells[verdict].to_owned(),
            warnings: cells[warnings].parse().unwrap_or(0),
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

/// What upstream's message is about, and the code under which we report it.
const REASONS: &[(&str, &str)] = &[
    ("no longer supported", "PCF008"),
    ("must use canonical", "PCF007"),
    ("failed to parse canonical", "PCF010"),
    ("failed to parse config file", "PCF003"),
    ("routing.modelCards", "PCF020"),
    ("default_model", "PCF021"),
    ("does not match any", "PCF022"),
    ("must define backend_refs", "PCF022"),
    ("requires endpoint", "PCF023"),
    ("reasoning_family", "PCF024"),
    ("lora_name", "PCF025"),
    ("model name cannot be empty", "PCF025"),
    ("model_ref", "PCF026"),
    ("mmlu_categories", "PCF030"),
    ("routing.signals.structure", "PCF031"),
    ("routing.signals.reasks", "PCF032"),
    ("conversation rule", "PCF033"),
    ("routing.signals.kb", "PCF034"),
    ("embedding rule", "PCF035"),
    ("modality_rules", "PCF036"),
    ("routing.projections.partitions", "PCF040"),
    ("routing.projections.scores", "PCF041"),
    ("routing.projections.mappings", "PCF042"),
    ("references projection", "PCF050"),
    ("references domain", "PCF050"),
    ("algorithm", "PCF052"),
    ("candidateIterations", "PCF053"),
    ("emits", "PCF054"),
    ("plugin", "PCF055"),
    ("model_switch_gate", "PCF060"),
    ("advanced_filtering", "PCF061"),
    ("prompt_compression", "PCF062"),
    ("modality_detector", "PCF063"),
];

/// We refuse for the reason that upstream gives, perhaps among others.
fn same_reason(detail: &str, report: &Report) -> bool {
    REASONS
        .iter()
        .filter(|(part, _)| detail.contains(part))
        .any(|(_, code)| report.findings.iter().any(|finding| finding.code == *code))
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
    let mut counted = Vec::new();
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
            if agrees && !wanted && !same_reason(&row.detail, &loaded.report) {
                unexplained.push(format!("{profile:?}\t{file}: for another reason: {}", row.detail));
            }
            if profile == Profile::Compat && wanted {
                let unknown = loaded
                    .report
                    .findings
                    .iter()
                    .filter(|finding| ["PCF009", "PCF015"].contains(&finding.code))
                    .count();
                if row.warnings != unknown {
                    counted.push(format!(
                        "{file}: upstream warns {} times, ours names {unknown} keys",
                        row.warnings
                    ));
                }
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
    counted.iter().for_each(|line| println!("{line}"));
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
