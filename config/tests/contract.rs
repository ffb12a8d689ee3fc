//! Promise: every field of the v0.3.0 contract is known with its type, and defaults are v0.3.0's.
//!
//! The lists of fields and defaults were printed by upstream's own loader. They are looked for beside the
//! corpus, in `../../reference`.
#![allow(clippy::disallowed_methods, reason = "a test finds its reference by an environment variable")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pintle_config::{Config, Profile, json_schema, load};
use serde_json::Value;

fn reference(file: &str) -> Option<String> {
    let named = std::env::var_os("PINTLE_CORPUS").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/config");
    named
        .into_iter()
        .chain([beside])
        .find_map(|dir| std::fs::read_to_string(dir.join("../../reference").join(file)).ok())
}

/// Every path of the schema with the kind of its value, list and map steps left out.
fn paths(schema: &Value, root: &Value, path: &str, depth: usize, found: &mut BTreeMap<String, String>) {
    if depth > 14 {
        return;
    }
    let schema = match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => {
            root.pointer(reference.trim_start_matches('#')).expect("references lead somewhere")
        }
        None => schema,
    };
    let kinds: Vec<&str> =
        schema["type"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let kind = kinds.first().copied().unwrap_or("any");
    if !path.is_empty() {
        found
            .entry(path.to_owned())
            .or_insert_with(|| if kinds.contains(&"string") { "text" } else { kind }.to_owned());
    }
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        if inner.get("x-later-version").is_some() {
            continue;
        }
        let inner_path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        // A rule tree repeats below itself.
        if !path.contains(".conditions") || key != "conditions" {
            paths(inner, root, &inner_path, depth + 1, found);
        }
    }
    for below in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(below) {
            paths(inner, root, path, depth, found);
        }
    }
}

#[test]
fn every_field_of_the_contract_is_known_with_its_type() {
    let Some(table) = reference("v03.schema.tsv") else {
        println!("SKIP: no list of the contract's fields beside the corpus");
        return;
    };
    let schema = json_schema();
    let mut known = BTreeMap::new();
    paths(&schema, &schema, "", 0, &mut known);
    let mut wrong = Vec::new();
    let mut leaves = 0;
    for line in table.lines() {
        let Some((path, kind)) = line.split_once('\t') else { continue };
        let path = path.replace("[]", "").replace("{}", "");
        let wanted = match kind.trim_end_matches('?') {
            "string" => "text",
            "int" | "int64" | "float32" | "float64" => "number",
            "bool" => "boolean",
            kind if kind.starts_with("[]") => "array",
            kind if kind.starts_with("map[") => "object",
            kind if kind.starts_with('(') => continue,
            "config.AggregationMethod"
            | "config.QueryModality"
            | "config.TokenCount"
            | "config.ConfigSource" => "text",
            "config.StructuredPayload" => "any",
            _ => "object",
        };
        leaves += usize::from(wanted != "object");
        match known.get(&path) {
            None => wrong.push(format!("{path} is unknown")),
            Some(have) if have != wanted => wrong.push(format!("{path} is {have}, not {wanted}")),
            Some(_) => {}
        }
    }
    assert!(leaves > 800, "the list is whole");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{leaves} leaf fields of v0.3.0 are known with their types");
}

#[test]
fn defaults_are_those_of_the_contract() {
    let Some(defaults) = reference("v03.defaults.yaml") else {
        println!("SKIP: no list of the contract's defaults beside the corpus");
        return;
    };
    let indented: String = defaults.lines().map(|line| format!("  {line}\n")).collect();
    let written = load(format!("global:\n{indented}").as_bytes(), "defaults", Profile::Compat);
    let written = written.config.unwrap_or_else(|| panic!("{:?}", written.report)).global;
    let ours = Config::default().global;
    assert_eq!(written, ours);
    let empty = load(b"global: {}\n", "empty", Profile::Compat).config.expect("it loads").global;
    assert_eq!(empty, ours);
}

/// Sections of later versions that are acted on, and so in the contract.
const ADOPTED: &[&str] = &["routing.signals.metadata"];

/// What a field of a later version holds, in the words of `later.tsv`.
fn holds(kind: &str) -> String {
    let kind = kind.trim_end_matches('?');
    if let Some(inner) = kind.strip_prefix("[]") {
        return format!("list {}", holds(inner));
    }
    if let Some(inner) = kind.strip_prefix("map[string]") {
        return format!("map {}", holds(inner));
    }
    match kind {
        "string" | "config.RoutingStrategy" => "text",
        "int" | "int64" => "whole",
        "float32" | "float64" => "number",
        "bool" => "bool",
        "interface {}" => "any",
        kind => {
            assert!(kind.starts_with("config.") || kind.starts_with("struct "), "{kind} has a word");
            "object"
        }
    }
    .to_owned()
}

/// The name of the type at each path of the contract.
fn types(
    schema: &Value,
    root: &Value,
    (name, path): (&str, &str),
    depth: usize,
    found: &mut BTreeMap<String, String>,
) {
    if depth > 14 {
        return;
    }
    let (name, schema) = match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => (
            reference.rsplit('/').next().expect("a reference has a name"),
            root.pointer(reference.trim_start_matches('#')).expect("references lead somewhere"),
        ),
        None => (name, schema),
    };
    let known = found.entry(path.to_owned()).or_default();
    if known.is_empty() {
        name.clone_into(known);
    }
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        let inner_path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        if inner.get("x-later-version").is_none() && (!path.contains(".conditions") || key != "conditions") {
            types(inner, root, ("", &inner_path), depth + 1, found);
        }
    }
    for below in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(below) {
            types(inner, root, (name, path), depth, found);
        }
    }
}

#[test]
fn every_field_of_a_later_version_is_known_with_its_type() {
    let (Some(head), Some(now)) = (reference("head.schema.tsv"), reference("v03.schema.tsv")) else {
        println!("SKIP: no list of the later contract's fields beside the corpus");
        return;
    };
    let plain = |path: &str| path.replace("[]", "").replace("{}", "");
    let now: BTreeSet<String> =
        now.lines().filter_map(|line| Some(plain(line.split_once('\t')?.0))).collect();
    let head: BTreeMap<String, &str> = head
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(path, kind)| (plain(path), kind))
        .collect();
    let schema = json_schema();
    let mut names = BTreeMap::new();
    types(&schema, &schema, ("Config", ""), 0, &mut names);
    let mut rows = BTreeSet::new();
    for (path, kind) in head.iter().filter(|(path, _)| !now.contains(*path)) {
        if ADOPTED.iter().any(|section| path.starts_with(section)) {
            continue;
        }
        if let Some(inner) = path.strip_prefix("recipes.routing.") {
            assert_eq!(head.get(&format!("routing.{inner}")), Some(kind), "a recipe's routing is like any");
            continue;
        }
        let mut at = path.as_str();
        let owner = loop {
            at = at.rsplit_once('.').map_or("", |(outer, _)| outer);
            if at.is_empty() || now.contains(at) {
                break names.get(at).unwrap_or_else(|| panic!("{path} belongs to no type"));
            }
        };
        assert!(!owner.is_empty(), "{at} is of no named type");
        let inner = path[at.len()..].trim_start_matches('.');
        let holds = if path == "recipes.routing" { "Routing".to_owned() } else { holds(kind) };
        rows.insert(format!("{owner}.{inner}\t{holds}\n"));
    }
    let wanted: String = rows.into_iter().collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/later.tsv");
    if std::env::var_os("PINTLE_BLESS").is_some() {
        std::fs::write(&file, &wanted).expect("the table can be written");
    }
    assert!(wanted.lines().count() > 250, "the list is whole");
    assert!(
        std::fs::read_to_string(&file).unwrap_or_default() == wanted,
        "config/src/later.tsv is stale; run PINTLE_BLESS=1 cargo test -p pintle-config"
    );
}

#[test]
fn fields_of_a_later_version_are_checked_and_have_no_effect() {
    let text = "\
routing:
  strategy: [priority]
  decisions:
    - name: d
      annotations: {owner: ann, level: 3}
      rules: {operator: OR, conditions: [{type: keyword, name: k, label: {}}]}
  signals:
    keywords: [{name: k, operator: OR, keywords: [x]}]
recipes:
  - name: r
    routing: {decisions: text}
global:
  router: {learning: {enabled: maybe, protection: {scope: session}}}
";
    for profile in [Profile::Pintle, Profile::Compat] {
        let loaded = load(text.as_bytes(), "later", profile);
        let found: Vec<(&str, &str)> = loaded
            .report
            .findings
            .iter()
            .filter(|finding| ["PCF010", "PCF015", "PCF009"].contains(&finding.code))
            .map(|finding| (finding.code, finding.path.as_str()))
            .collect();
        println!("{found:?}");
        assert!(loaded.config.is_some(), "{:?}", loaded.report);
        for wanted in [
            "routing.strategy",
            "routing.decisions[0].rules.conditions[0].label",
            "recipes[0].routing.decisions",
            "global.router.learning.enabled",
        ] {
            let mistyped = loaded
                .report
                .findings
                .iter()
                .filter(|finding| finding.path == wanted && finding.message.starts_with("expected "))
                .count();
            assert_eq!(mistyped, 1, "{wanted}: {found:?}");
        }
        let later = loaded.report.findings.iter().filter(|finding| finding.code == "PCF015").count();
        assert_eq!(later, 5, "once for each: {found:?}");
    }
}

#[test]
fn off_is_a_word_where_pintle_is_configured() {
    let yaml = "version: v0.3\nglobal:\n  pintle:\n    steering: off\n    classifier: {models: {pii: off}}\n";
    let loaded = load(yaml.as_bytes(), "test.yaml", Profile::Pintle);
    let pintle = loaded.config.expect("it loads").global.pintle;
    assert_eq!(pintle.steering.as_str(), "off");
    assert_eq!(pintle.classifier.models.pii, "off");
}
