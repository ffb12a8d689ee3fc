//! Promise: what `migrate` writes loads, and no field of the old document is lost without a line.
#![allow(clippy::disallowed_methods, reason = "a test finds its corpus by an environment variable")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use pintle_config::migrate::{Change, migrate};
use pintle_config::{Profile, Severity, load, to_json};
use serde_json::Value;

fn corpus() -> Option<PathBuf> {
    let named = std::env::var_os("PINTLE_CORPUS").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/config");
    named.into_iter().chain([beside]).find(|dir| dir.join("index.tsv").is_file())
}

fn texts(value: &Value, found: &mut HashMap<String, usize>) {
    match value {
        Value::Null => {}
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(members) => members.values().for_each(|member| texts(member, found)),
        Value::String(text) if text.is_empty() => {}
        scalar => {
            let text = scalar.as_str().map_or_else(|| scalar.to_string(), str::to_owned);
            *found.entry(text).or_default() += 1;
        }
    }
}

/// Scalars of the old document that are neither in the new one nor on a line that a report line names.
fn lost(old: &str, new: &str, lines: &HashSet<u32>, whys: &str) -> Vec<String> {
    let (mut before, mut after) = (HashMap::new(), HashMap::new());
    texts(&to_json(old.as_bytes()).unwrap_or_default(), &mut before);
    texts(&to_json(new.as_bytes()).unwrap_or_default(), &mut after);
    let accounted: String = old
        .lines()
        .enumerate()
        .filter(|(index, _)| lines.contains(&(*index as u32 + 1)))
        .map(|(_, line)| format!("{line}\n"))
        .chain([whys.to_owned()])
        .collect();
    before
        .into_iter()
        .filter(|(text, count)| after.get(text).copied().unwrap_or(0) < *count)
        .filter(|(text, count)| {
            accounted.matches(text.trim()).count() + after.get(text).copied().unwrap_or(0) < *count
        })
        .map(|(text, _)| text)
        .collect()
}

#[test]
fn every_legacy_file_of_the_corpus_loads_after_migration() {
    let Some(dir) = corpus() else {
        println!("SKIP: no corpus (set PINTLE_CORPUS to a folder with index.tsv)");
        return;
    };
    let index = std::fs::read_to_string(dir.join("index.tsv")).expect("the corpus has an index");
    let mut tally: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for line in index.lines().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        let (file, kind) = (cells[0], cells.get(4).copied().unwrap_or_default());
        let legacy = ["config-legacy", "extract-legacy", "helm-values", "configmap"].contains(&kind)
            || kind.starts_with("crd:");
        if !legacy {
            continue;
        }
        let Ok(bytes) = std::fs::read(dir.join(file)) else { continue };
        let migration = migrate(&bytes, file);
        let (loads, all) = tally.entry(kind.to_owned()).or_default();
        *all += 1;
        let Some(output) = migration.output else {
            wrong.push(format!("{file}: not read: {:?}", migration.report.findings.first()));
            continue;
        };
        let loaded = load(output.as_bytes(), file, Profile::Pintle);
        if loaded.config.is_some() {
            *loads += 1;
        } else {
            let errors: Vec<_> =
                loaded.report.findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
            wrong.push(format!("{file}: {errors:?}"));
        }
        if ["config-legacy", "extract-legacy"].contains(&kind) {
            let named = migration
                .lines
                .iter()
                .filter(|line| line.change != Change::Moved && !line.from.starts_with("comment "))
                .map(|line| line.line)
                .collect();
            let text = String::from_utf8_lossy(&bytes);
            let first = text.split("\n---").next().unwrap_or_default();
            let whys: String = migration.lines.iter().map(|line| format!("{}\n", line.why)).collect();
            let lost = lost(first, &output, &named, &whys);
            if !lost.is_empty() {
                wrong.push(format!("{file}: lost without a line: {lost:?}"));
            }
        }
    }
    for (kind, (loads, all)) in &tally {
        println!("{kind:<40} {loads:>3} of {all:>3} load");
    }
    assert!(wrong.is_empty(), "{} of the corpus:\n{}", wrong.len(), wrong.join("\n"));
}
