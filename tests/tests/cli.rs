//! Promise: the command line says what is wrong, where, and with a status that a script can use.

use std::path::{Path, PathBuf};

use pintle_standin::{Options, StandIn};
use pintle_tests::{ConfigFile, Model, pintle};

struct File(tempfile::TempDir);

impl File {
    fn with(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.yaml"), text).unwrap();
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("config.yaml")
    }
}

fn valid() -> String {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    ConfigFile::plain(vec![Model::on(&[&stand_in], 0.1, 0.5)]).render(8899, 9190, Path::new("/run/pintle"))
}

/// Status and everything printed by `config check`.
fn check(text: &str) -> (Option<i32>, String) {
    let file = File::with(text);
    let output = pintle(&["config".as_ref(), "check".as_ref(), file.path().as_os_str()]);
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(printed).unwrap())
}

#[test]
fn a_valid_file_passes() {
    let (status, printed) = check(&valid());
    assert_eq!(status, Some(0), "{printed}");
}

#[test]
fn an_unknown_field_warns_with_place_and_nearest_name() {
    let text = valid().replace("          weight: 1", "          wieght: 1");
    let line = text.lines().position(|l| l.contains("wieght")).unwrap() + 1;
    let (status, printed) = check(&text);
    assert_eq!(status, Some(0), "a warning is no error: {printed}");
    for clue in ["wieght", "weight", &line.to_string(), "config.yaml"] {
        assert!(printed.contains(clue), "{clue} is missing in\n{printed}");
    }
}

#[test]
fn a_wrong_type_fails_with_line_and_column() {
    let text = valid().replace("port: 8899", "port: \"https\"");
    let line = text.lines().position(|l| l.contains("https")).unwrap() + 1;
    let (status, printed) = check(&text);
    assert_ne!(status, Some(0), "{printed}");
    assert!(printed.contains(&format!("{line}:")), "line {line} is missing in\n{printed}");
    assert!(printed.contains("port"), "{printed}");
}

#[test]
fn a_section_that_is_not_implemented_is_named() {
    let text = valid().replace("global:\n", "global:\n  stores: {memory: {enabled: true}}\n");
    let (status, printed) = check(&text);
    assert_eq!(status, Some(0), "{printed}");
    assert!(printed.contains("without effect in this version: memory"), "{printed}");
}

#[test]
fn a_missing_or_broken_file_stops_the_start() {
    for args in [
        vec!["serve".to_owned(), "--config".to_owned(), "/nonexistent/config.yaml".to_owned()],
        vec!["config".to_owned(), "check".to_owned(), "/nonexistent/config.yaml".to_owned()],
    ] {
        let output = pintle(&args);
        assert!(!output.status.success());
        let printed = String::from_utf8(output.stderr).unwrap();
        assert!(printed.contains("/nonexistent/config.yaml"), "{printed}");
        assert!(!printed.contains("panicked"), "{printed}");
    }
    let file = File::with("version: v0.3\nrouting: {decisions: 7}\n");
    let state = file.0.path().join("state");
    let output = pintle(&[
        "serve".as_ref(),
        "--config".as_ref(),
        file.path().as_os_str(),
        "--state-dir".as_ref(),
        state.as_os_str(),
    ]);
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("decisions"));
}

#[test]
fn help_and_version_are_there_and_nonsense_is_refused() {
    let output = pintle(&["--help"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for command in ["serve", "config", "explain", "demo", "stand-in-model"] {
        assert!(text.contains(command), "{command} is missing in\n{text}");
    }
    assert!(pintle(&["--version"]).status.success());
    let output = pintle(&["sreve"]);
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("serve"));
}
