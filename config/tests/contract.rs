//! Promise: every field of the v0.3.0 contract is known with its type, and defaults are v0.3.0's.
//!
//! The lists of fields and defaults were printed by upstream's own loader. They are looked for beside the
//! corpus, in `../../reference`.
#![allow(clippy::disallowed_methods, reason = "a test finds its reference by an environment variable")]

use std::collections::BTreeMap;
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
