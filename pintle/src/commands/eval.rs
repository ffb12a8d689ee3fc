//! `pintle eval signals`: how well a model and the language signal tell what they should.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use pintle_classifier::cpu::Precision;
use serde::Deserialize;

use crate::cli::EvalSignals;

mod language;
mod measure;
mod subject;

use measure::{area, covers, same_type};
use subject::Subject;

/// A few cases of every kind, of sources that training never sees.
const SAMPLE: &str = include_str!("../../../classifier/training/sample.jsonl");
/// Largest file of cases.
const MAX_FILE_BYTES: u64 = 1 << 28;
/// Examples that complexity is measured against, in place of those of a configuration.
const BANK: &str = "bank";
/// Threshold of `prompt_guard` where none is configured.
const SUSPECT: f32 = 0.7;
/// Neighbours in a bank that are averaged.
const NEAREST: usize = 3;

/// One text with its truth.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    head: String,
    source: String,
    text: String,
    #[serde(default)]
    label: String,
    /// Personal data: first byte, byte behind the last, type.
    #[serde(default)]
    spans: Vec<(usize, usize, String)>,
}

type BySource<'a> = BTreeMap<&'a str, Vec<&'a Case>>;

pub(super) fn signals(options: &EvalSignals) -> Result<ExitCode, Box<dyn Error>> {
    let cases = match &options.data {
        None => parse(SAMPLE.as_bytes(), Path::new("sample"))?,
        Some(path) => load(path)?,
    };
    let mut by_head: BTreeMap<&str, BySource<'_>> = BTreeMap::new();
    for case in &cases {
        by_head.entry(&case.head).or_default().entry(&case.source).or_default().push(case);
    }
    let subject = match &options.model {
        None => Subject::embedded(),
        Some(name) => {
            let precision = options.precision.unwrap_or(Precision::F32);
            Subject::fetched(&super::model::open(&options.dir)?, name, options.head, precision)?
        }
    };
    let name = options.model.as_deref().unwrap_or("embedded model");
    let mut judge = Judge { subject };
    let mut out = String::new();
    let digest: String = judge.subject.digest().iter().map(|byte| format!("{byte:02x}")).collect();
    let _ = writeln!(out, "{name} {digest}");
    let embedded = options.model.is_none();
    for (head, sources) in &by_head {
        let has = judge.subject.labels(head).is_some();
        match *head {
            "language" if embedded => language::table(sources, &mut out)?,
            "complexity" if judge.subject.has_embedding() => judge.complexity(sources, &mut out)?,
            "jailbreak" if has => judge.jailbreak(sources, &mut out)?,
            "pii" if has || embedded => judge.pii(sources, &mut out)?,
            other if has => judge.classes(other, sources, &mut out)?,
            // Of a fetched model, what it has is measured.
            _ if !embedded => {}
            other => return Err(format!("cases of an unknown head {other:?}").into()),
        }
    }
    if embedded {
        judge.speed(&cases, &mut out)?;
    }
    crate::output::print(&out)?;
    Ok(ExitCode::SUCCESS)
}

/// A file, or every `.jsonl` file of a directory.
fn load(path: &Path) -> Result<Vec<Case>, Box<dyn Error>> {
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries: Result<Vec<_>, _> =
            fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect();
        files = entries?
            .into_iter()
            .filter(|path: &PathBuf| path.extension().is_some_and(|end| end == "jsonl"))
            .collect();
        files.sort();
    }
    let mut cases = Vec::new();
    for file in files {
        if fs::metadata(&file)?.len() > MAX_FILE_BYTES {
            return Err(format!("{} is larger than {MAX_FILE_BYTES} bytes", file.display()).into());
        }
        cases.extend(parse(BufReader::new(File::open(&file)?), &file)?);
    }
    Ok(cases)
}

fn parse(reader: impl BufRead, path: &Path) -> Result<Vec<Case>, Box<dyn Error>> {
    let mut cases = Vec::new();
    for (at, line) in reader.lines().enumerate() {
        let line = line?;
        if !line.trim().is_empty() {
            let case = serde_json::from_str(&line)
                .map_err(|error| format!("{}, line {}: {error}", path.display(), at + 1))?;
            cases.push(case);
        }
    }
    Ok(cases)
}

struct Judge {
    subject: Subject,
}

type Told = Result<(), Box<dyn Error>>;

impl Judge {
    fn classes(&mut self, head: &str, sources: &BySource<'_>, out: &mut String) -> Told {
        let _ = writeln!(out, "\n{}: accuracy, and mean recall of the classes", head);
        for (source, cases) in sources {
            let mut of_class: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
            for case in cases {
                let probabilities = self.subject.probabilities(head, &case.text)?;
                let best =
                    (0..probabilities.len()).max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]));
                let labels = self.subject.labels(head).unwrap_or_default();
                let told = best.and_then(|at| labels.get(at)).map(String::as_str);
                let (right, all) = of_class.entry(&case.label).or_default();
                *right += u32::from(told == Some(&*case.label));
                *all += 1;
            }
            let right: u32 = of_class.values().map(|(right, _)| right).sum();
            let recall: f64 = of_class.values().map(|(right, all)| share(*right, *all)).sum();
            let (count, classes) = (cases.len() as u32, of_class.len().max(1) as f64);
            let _ =
                writeln!(out, "  {source:28} {count:5}  {:.3}  {:.3}", share(right, count), recall / classes);
        }
        Ok(())
    }

    fn jailbreak(&mut self, sources: &BySource<'_>, out: &mut String) -> Told {
        let _ = writeln!(
            out,
            "\njailbreak: recall and false alarms at 0.7, v0.3's default, area under the curve"
        );
        let (mut recalls, mut alarms) = (Vec::new(), Vec::new());
        for (source, cases) in sources {
            let (mut attacks, mut harmless) = (Vec::new(), Vec::new());
            for case in cases {
                let suspicion = self.subject.suspicion(&case.text)?;
                if case.label == "jailbreak" { attacks.push(suspicion) } else { harmless.push(suspicion) }
            }
            let flagged = |list: &[f32]| {
                share(list.iter().filter(|p| **p >= SUSPECT).count() as u32, list.len() as u32)
            };
            let cell = |list: &[f32]| {
                if list.is_empty() { "    -".to_owned() } else { format!("{:.3}", flagged(list)) }
            };
            if !attacks.is_empty() {
                recalls.push(flagged(&attacks));
            }
            if !harmless.is_empty() {
                alarms.push(flagged(&harmless));
            }
            let curve = area(&attacks, &harmless).map_or("    -".to_owned(), |area| format!("{area:.3}"));
            let _ = writeln!(
                out,
                "  {source:28} {:5}  {}  {}  {curve}",
                cases.len(),
                cell(&attacks),
                cell(&harmless)
            );
        }
        let mean = |list: &[f64]| list.iter().sum::<f64>() / list.len().max(1) as f64;
        let _ =
            writeln!(out, "  {:28}        {:.3}  {:.3}", "mean of sources", mean(&recalls), mean(&alarms));
        Ok(())
    }

    fn complexity(&mut self, sources: &BySource<'_>, out: &mut String) -> Told {
        let _ =
            writeln!(out, "\ncomplexity: area under the curve of the head, and of the margin between banks");
        let (mut hard_bank, mut easy_bank) = (Vec::new(), Vec::new());
        for case in sources.get(BANK).into_iter().flatten() {
            let bank = if case.label == "hard" { &mut hard_bank } else { &mut easy_bank };
            bank.push(self.subject.embedding(&case.text)?);
        }
        for (source, cases) in sources.iter().filter(|(source, _)| **source != BANK) {
            let mut by_head = [Vec::new(), Vec::new()];
            let mut by_margin = [Vec::new(), Vec::new()];
            for case in cases {
                let side = usize::from(case.label != "hard");
                if self.subject.labels("complexity").is_some() {
                    by_head[side].push(self.subject.probabilities("complexity", &case.text)?[1]);
                }
                let vector = self.subject.embedding(&case.text)?;
                by_margin[side].push(nearest(&vector, &hard_bank) - nearest(&vector, &easy_bank));
            }
            let cell = |sides: &[Vec<f32>; 2]| {
                area(&sides[0], &sides[1]).map_or("    -".to_owned(), |area| format!("{area:.3}"))
            };
            let _ =
                writeln!(out, "  {source:28} {:5}  {}  {}", cases.len(), cell(&by_head), cell(&by_margin));
        }
        Ok(())
    }

    /// A span is found if at least half of its bytes are in finds of its type.
    fn pii(&mut self, sources: &BySource<'_>, out: &mut String) -> Told {
        let _ = writeln!(
            out,
            "\npii: recall of spans as their type, and as anything personal; last, the share of other bytes that are marked"
        );
        for (source, cases) in sources {
            let mut found: BTreeMap<&str, (u32, u32, u32)> = BTreeMap::new();
            let (mut wrong, mut plain) = (0, 0);
            for case in cases {
                let spans = self.subject.spans(&case.text)?;
                for (start, end, label) in &case.spans {
                    let (hit, marked, all) = found.entry(label).or_default();
                    let covered =
                        covers(*start, *end, spans.iter().filter(|span| same_type(&span.label, label)));
                    *hit += u32::from(2 * covered >= end - start);
                    *marked += u32::from(2 * covers(*start, *end, spans.iter()) >= end - start);
                    *all += 1;
                }
                let inside =
                    |at: usize| case.spans.iter().any(|(start, end, _)| (*start..*end).contains(&at));
                for at in (0..case.text.len()).filter(|at| !inside(*at)) {
                    plain += 1;
                    wrong += u32::from(spans.iter().any(|span| (span.start..span.end).contains(&at)));
                }
            }
            for (label, (hit, marked, all)) in found {
                let _ = writeln!(
                    out,
                    "  {source:28} {all:5}  {:.3}  {:.3}  {label}",
                    share(hit, all),
                    share(marked, all)
                );
            }
            let _ =
                writeln!(out, "  {source:28} {plain:5}         {:.3}  (not personal)", share(wrong, plain));
        }
        Ok(())
    }

    fn speed(&mut self, cases: &[Case], out: &mut String) -> Told {
        let bytes: usize = cases.iter().map(|case| case.text.len()).sum();
        for (what, with_pii) in [("embedding and heads", false), ("personal data", true)] {
            let start = Instant::now();
            for case in cases {
                if with_pii {
                    self.subject.spans(&case.text)?;
                } else {
                    self.subject.embedding(&case.text)?;
                }
            }
            let micros = start.elapsed().as_secs_f64() * 1e6;
            let _ = writeln!(
                out,
                "\n{what}: {:.1} us a text, {:.1} ns a byte ({} texts of {} bytes on average)",
                micros / cases.len().max(1) as f64,
                micros * 1e3 / bytes.max(1) as f64,
                cases.len(),
                bytes / cases.len().max(1),
            );
        }
        Ok(())
    }
}

fn share(part: u32, whole: u32) -> f64 {
    f64::from(part) / f64::from(whole.max(1))
}

/// Mean similarity of the nearest examples.
fn nearest(vector: &[f32], bank: &[Vec<f32>]) -> f32 {
    let dot = |other: &Vec<f32>| vector.iter().zip(other).map(|(a, b)| a * b).sum::<f32>();
    let mut similar: Vec<f32> = bank.iter().map(dot).collect();
    similar.sort_by(|a, b| b.total_cmp(a));
    similar.truncate(NEAREST);
    similar.iter().sum::<f32>() / similar.len().max(1) as f32
}

#[cfg(test)]
mod tests {
    use pintle_classifier::embedded::{EmbeddedModel, Family};

    use super::*;

    #[test]
    fn the_sample_has_cases_of_every_head_and_spans_inside_their_texts() {
        let cases = parse(SAMPLE.as_bytes(), Path::new("sample")).unwrap();
        let has = |head: &str| cases.iter().any(|case| case.head == head);
        assert!(Family::ALL.iter().all(|family| has(family.as_str())) && has("pii") && has("language"));
        for case in &cases {
            for (start, end, _) in &case.spans {
                assert!(case.text.get(*start..*end).is_some_and(|part| !part.is_empty()), "{}", case.text);
            }
            if let Some(family) = Family::ALL.into_iter().find(|family| family.as_str() == case.head) {
                let labels = &EmbeddedModel::shared().head(family).labels;
                assert!(labels.contains(&case.label), "{} is no label of {}", case.label, case.head);
            }
        }
    }
}
