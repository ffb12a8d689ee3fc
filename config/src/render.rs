//! Reports for people, programs and code hosts.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::codes;
use crate::report::{Finding, Report, Severity};

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Format {
    /// With the source line and a caret.
    #[default]
    Human,
    /// One JSON object.
    Json,
    /// SARIF 2.1.0.
    Sarif,
}

/// Characters of a source line that are shown.
const MAX_LINE: usize = 160;

/// Writes a report. `source` is the document that was checked; a line that may hold a key is never shown.
pub fn render(report: &Report, format: Format, source: &[u8]) -> String {
    match format {
        Format::Human => human(report, source),
        Format::Json => format!("{:#}\n", machine(report)),
        Format::Sarif => format!("{:#}\n", sarif(report)),
    }
}

fn human(report: &Report, source: &[u8]) -> String {
    let lines: Vec<&[u8]> = source.split(|byte| *byte == b'\n').collect();
    let mut out = String::new();
    for finding in &report.findings {
        let _ = writeln!(out, "{}[{}]: {}", finding.severity, finding.code, clean(&finding.message));
        let name = &report.source_name;
        if finding.line == 0 {
            let _ = writeln!(out, "  --> {name}");
        } else {
            let _ = writeln!(out, "  --> {name}:{}:{}", finding.line, finding.column);
            snippet(&mut out, &lines, finding);
        }
        if !finding.path.is_empty() {
            let _ = writeln!(out, "   = at: {}", clean(&finding.path));
        }
        if let Some(help) = &finding.help {
            let _ = writeln!(out, "   = help: {}", clean(help));
        }
        out.push('\n');
    }
    let _ = writeln!(out, "{}: {}", report.source_name, report.summary());
    out
}

fn snippet(out: &mut String, lines: &[&[u8]], finding: &Finding) {
    let Some(line) = lines.get(finding.line as usize - 1) else { return };
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end_matches('\r');
    if holds_key(line) {
        return;
    }
    let number = finding.line.to_string();
    let margin = " ".repeat(number.len());
    let before = (finding.column as usize).saturating_sub(1);
    // A long line is shown around the place, not from its start.
    let skipped = before.saturating_sub(MAX_LINE / 2);
    let shown = clean(&line.chars().skip(skipped).take(MAX_LINE).collect::<String>());
    let width = line
        .chars()
        .skip(before)
        .take(MAX_LINE / 2)
        .take_while(|c| !c.is_whitespace() && !",]}:".contains(*c))
        .count();
    let _ = writeln!(out, " {margin} |");
    let _ = writeln!(out, " {number} | {shown}");
    let _ = writeln!(out, " {margin} | {}{}", " ".repeat(before - skipped), "^".repeat(width.max(1)));
}

/// A key, password or token may stand on this line.
fn holds_key(line: &str) -> bool {
    let lower = line.to_lowercase();
    ["api_key", "access_key", "password", "token:", "auth_token", "secret", "bearer "]
        .iter()
        .any(|word| lower.contains(word) && !lower.contains("api_key_env"))
}

/// No control character reaches a terminal.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control()
                || ('\u{202a}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c) =>
            {
                char::REPLACEMENT_CHARACTER
            }
            c => c,
        })
        .collect()
}

fn machine(report: &Report) -> Value {
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "severity": finding.severity.to_string(),
                "code": finding.code,
                "path": finding.path,
                "line": finding.line,
                "column": finding.column,
                "message": finding.message,
                "help": finding.help,
            })
        })
        .collect();
    json!({
        "version": 1,
        "source": report.source_name,
        "errors": report.count(Severity::Error),
        "warnings": report.count(Severity::Warning),
        "notes": report.count(Severity::Note),
        "findings": findings,
    })
}

fn sarif(report: &Report) -> Value {
    let mut used: Vec<&str> = report.findings.iter().map(|finding| finding.code).collect();
    used.sort_unstable();
    used.dedup();
    let rules: Vec<Value> = used
        .iter()
        .filter_map(|code| codes::explain(code))
        .map(|rule| {
            json!({
                "id": rule.code,
                "shortDescription": { "text": rule.title },
                "fullDescription": { "text": rule.why },
                "help": { "text": rule.fix },
            })
        })
        .collect();
    let results: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            let text = match &finding.help {
                Some(help) => format!("{} ({help})", finding.message),
                None => finding.message.clone(),
            };
            let mut physical = json!({ "artifactLocation": { "uri": report.source_name } });
            if finding.line > 0 {
                physical["region"] = json!({ "startLine": finding.line, "startColumn": finding.column });
            }
            json!({
                "ruleId": finding.code,
                "level": finding.severity.to_string(),
                "message": { "text": text },
                "locations": [{
                    "physicalLocation": physical,
                    "logicalLocations": [{ "fullyQualifiedName": finding.path }],
                }],
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "pintle", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

#[cfg(test)]
mod tests;
