//! What must hold for any bytes given as a configuration: a module to the fuzz targets and to the replay test.

#![allow(unreachable_pub)]

use std::time::{Duration, Instant};

use pintle_config::migrate::migrate;
use pintle_config::{CheckOptions, Format, Keys, Profile, check, export, load, render};

/// Far above what a few kilobytes take, even unoptimised on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Loading, checking, exporting and migrating end soon, without a panic, and say why they refuse.
pub fn config_load(data: &[u8]) {
    let began = Instant::now();
    for profile in [Profile::Pintle, Profile::Compat] {
        let loaded = load(data, "input", profile);
        assert_eq!(loaded.config.is_none(), loaded.report.has_errors());
        if let Some(config) = loaded.config {
            let exported = export(&config, Keys::Written);
            let again = load(exported.as_bytes(), "export", profile).config.expect("an export loads");
            assert_eq!(export(&again, Keys::Written), exported, "an export means the same");
        }
        let report = check(data, "input", CheckOptions { profile, strict: true });
        for format in [Format::Human, Format::Json, Format::Sarif] {
            assert!(!render(&report, format, data).is_empty());
        }
    }
    let migration = migrate(data, "input");
    match migration.output {
        None => assert!(migration.report.has_errors()),
        Some(output) => {
            let readable = load(output.as_bytes(), "output", Profile::Compat).report;
            let syntax = readable.findings.iter().find(|finding| finding.code == "PCF003");
            assert!(syntax.is_none(), "what was written is no YAML: {syntax:?}\n{output}");
        }
    }
    assert!(began.elapsed() < PATIENCE, "took {:?}", began.elapsed());
}
