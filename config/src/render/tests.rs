use super::*;
use crate::{CheckOptions, check};

const SOURCE: &[u8] =
    b"listeners:\n  - {name: a, address: 127.0.0.1, port: \"8899\"}\nrouting:\n  modelCardz: []\n";

fn report() -> Report {
    check(SOURCE, "config.yaml", CheckOptions::default())
}

#[test]
fn people_see_file_line_source_and_caret() {
    let text = render(&report(), Format::Human, SOURCE);
    let expected = "\
error[PCF010]: expected a whole number, found text `8899`
  --> config.yaml:2:41
   |
 2 |   - {name: a, address: 127.0.0.1, port: \"8899\"}
   |                                         ^^^^^^
   = at: listeners[0].port
   = help: remove the quotes

warning[PCF009]: unknown key `modelCardz`
  --> config.yaml:4:3
   |
 4 |   modelCardz: []
   |   ^^^^^^^^^^
   = at: routing.modelCardz
   = help: did you mean `modelCards`?

config.yaml: 1 error, 1 warning
";
    assert_eq!(text, expected);
}

#[test]
fn a_line_with_a_key_is_never_shown() {
    let source = b"routing: {}\nproviders:\n  models:\n    - name: m\n      backend_refs: [{endpoint: h, api_key: hunter2, wat: 1}]\n";
    let report = check(source, "c", CheckOptions::default());
    assert!(report.findings.iter().any(|finding| finding.line == 5));
    for format in [Format::Human, Format::Json, Format::Sarif] {
        assert!(!render(&report, format, source).contains("hunter2"));
    }
}

#[test]
fn control_characters_do_not_reach_a_terminal() {
    let source = b"routing: {}\n\"wa\\x1b[31mt\": 1\n";
    let text = render(&check(source, "c", CheckOptions::default()), Format::Human, source);
    assert!(text.contains("PCF009") && !text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn json_carries_every_field() {
    let value: Value = serde_json::from_str(&render(&report(), Format::Json, SOURCE)).expect("valid JSON");
    assert_eq!(value["errors"], 1);
    assert_eq!(value["findings"][0]["code"], "PCF010");
    assert_eq!(value["findings"][0]["line"], 2);
    assert_eq!(value["findings"][1]["help"], "did you mean `modelCards`?");
}

#[test]
fn sarif_names_a_rule_for_every_result() {
    let value: Value = serde_json::from_str(&render(&report(), Format::Sarif, SOURCE)).expect("valid JSON");
    let run = &value["runs"][0];
    let rules: Vec<_> =
        run["tool"]["driver"]["rules"].as_array().expect("rules").iter().map(|rule| &rule["id"]).collect();
    for result in run["results"].as_array().expect("results") {
        assert!(rules.contains(&&result["ruleId"]));
    }
    assert_eq!(run["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"], 2);
}
