//! Promise: the reference pages are what the declarations say, and the JSON Schema admits what loads.
#![allow(
    clippy::disallowed_methods,
    reason = "a test finds its corpus, and is told to write, by environment variables"
)]

use std::path::{Path, PathBuf};

use pintle_config::{Profile, Report, findings_reference, json_schema, load, reference};

fn same_or_write(name: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    if std::env::var_os("PINTLE_BLESS").is_some() {
        std::fs::write(&path, wanted).expect("the page can be written");
    }
    let have = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(have == wanted, "docs/{name} is stale; run PINTLE_BLESS=1 cargo test -p pintle-config");
}

#[test]
fn the_reference_is_not_stale() {
    let text = reference();
    let links: Vec<&str> = text.split("](#").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    let anchors: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|title| {
            title.to_lowercase().chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
        })
        .collect();
    for link in links {
        assert!(anchors.iter().any(|anchor| anchor == link), "the link #{link} leads nowhere");
    }
    same_or_write("configuration.md", &text);
}

#[test]
fn the_findings_page_is_not_stale() {
    same_or_write("configuration-findings.md", &findings_reference());
}

fn errors(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|finding| finding.message.as_str()).collect()
}

#[test]
fn the_schema_admits_what_loads_and_refuses_wrong_types() {
    let schema = json_schema();
    let validator = jsonschema::validator_for(&schema).expect("the schema is a schema");
    let named = std::env::var_os("PINTLE_CORPUS").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/config");
    let corpus = named.into_iter().chain([beside]).find(|dir| dir.join("index.tsv").is_file());
    let mut files = vec![
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/agentic.yaml"),
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/minimal.yaml"),
    ];
    match &corpus {
        None => println!("SKIP corpus part: no corpus (set PINTLE_CORPUS to a folder with index.tsv)"),
        Some(dir) => files.extend(
            std::fs::read_to_string(dir.join("index.tsv"))
                .expect("the corpus has an index")
                .lines()
                .filter_map(|line| line.split('\t').next())
                .map(|file| dir.join(file)),
        ),
    }
    let mut admitted = 0;
    for file in files {
        let Ok(bytes) = std::fs::read(&file) else { continue };
        let Some(document) = pintle_config::to_json(&bytes) else { continue };
        let loaded = load(&bytes, "file", Profile::Compat);
        let mistyped =
            loaded.report.findings.iter().any(|finding| ["PCF010", "PCF007"].contains(&finding.code));
        if loaded.config.is_some() {
            let wrong: Vec<_> = validator
                .iter_errors(&document)
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect();
            assert!(wrong.is_empty(), "{}: {wrong:?}", file.display());
            admitted += 1;
        } else if mistyped {
            assert!(
                !validator.is_valid(&document),
                "{} is admitted: {:?}",
                file.display(),
                errors(&loaded.report)
            );
        }
    }
    assert!(admitted >= 2, "the examples are admitted");
    println!("{admitted} documents are admitted");
}
