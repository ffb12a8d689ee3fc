//! Promise: any workload can be run from the command line, and a decision knows nothing of later lines.

use std::path::Path;
use std::process::Output;

use pintle_tests::pintle;

const HEADER: &str = r#"{"models":[{"name":"s","quality":0.5,"prompt_per_1m":0.1,"completion_per_1m":0.4,"cached_input_per_1m":0.01},{"name":"l","quality":0.9,"prompt_per_1m":3,"completion_per_1m":12,"cached_input_per_1m":0.3}],"tiers":[0.6]}"#;

/// Two sessions whose turns alternate, with demands and phases of every kind.
fn workload(turns: usize) -> Vec<String> {
    let phases = ["user_turn", "tool_loop", "topic_drift", "provider_state"];
    let line = |at: usize| {
        let (session, turn) = (["a", "b"][at % 2], at / 2);
        let phase = if turn == 0 { phases[0] } else { phases[at / 3 % 4] };
        let demand = ((at * 37 + 40) % 101) as f64 / 100.0;
        format!(
            r#"{{"session":"{session}","turn":{turn},"phase":"{phase}","idle":{},"demand":{demand},"prompt_tokens":{},"completion_tokens":90,"history_tokens":{}}}"#,
            at % 11 == 10,
            1000 + 200 * turn,
            200 * turn
        )
    };
    std::iter::once(HEADER.to_owned()).chain((0..turns).map(line)).collect()
}

fn run(folder: &Path, lines: &[String], policy: &str, extra: &[&str]) -> (Output, Option<String>) {
    let (workload, decisions) = (folder.join("workload.jsonl"), folder.join("decisions.jsonl"));
    std::fs::write(&workload, lines.join("\n")).unwrap();
    let [workload, out] = [&workload, &decisions].map(|path| path.display().to_string());
    let mut args = vec!["bench", "saar", "--workload", &workload, "--policy", policy, "--decisions", &out];
    args.extend(extra);
    let output = pintle(&args);
    let written = std::fs::read_to_string(&decisions).ok();
    let _ = std::fs::remove_file(&decisions);
    (output, written)
}

#[test]
fn every_turn_is_decided_in_order_and_by_what_came_before() {
    let folder = tempfile::tempdir().unwrap();
    let lines = workload(60);
    for policy in ["pintle", "pintle-live", "published", "sticky", "single-turn"] {
        let (output, whole) = run(folder.path(), &lines, policy, &[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let whole: Vec<String> = whole.unwrap().lines().map(str::to_owned).collect();
        assert_eq!(whole.len(), 60);
        for (at, line) in whole.iter().enumerate() {
            let decision: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(decision["session"], ["a", "b"][at % 2]);
            assert_eq!(decision["turn"], at / 2);
            assert!(decision["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
        }
        assert!(whole.iter().any(|line| line.contains(r#""model":"l""#)), "{policy} uses both models");
        assert!(whole.iter().any(|line| line.contains(r#""model":"s""#)), "{policy} uses both models");
        for cut in [1, 7, 30, 59] {
            let (_, part) = run(folder.path(), &lines[..=cut], policy, &[]);
            let part: Vec<String> = part.unwrap().lines().map(str::to_owned).collect();
            assert_eq!(part, whole[..cut], "{policy} cut after turn {cut}");
        }
    }
}

#[test]
fn the_shortfall_price_moves_the_policy_from_cheap_to_good() {
    let folder = tempfile::tempdir().unwrap();
    let lines = workload(60);
    let dear = |price: &str| {
        let (output, decisions) = run(folder.path(), &lines, "pintle", &["--shortfall-price", price]);
        assert!(output.status.success());
        decisions.unwrap().matches(r#""model":"l""#).count()
    };
    assert_eq!(dear("0"), 0, "nothing is paid for what is worth nothing");
    assert!(dear("0.01") < dear("1"));
}

#[test]
fn what_is_wrong_is_named_with_its_line_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = workload(4);
    lines[3] = lines[3].replace(r#""turn":1"#, r#""turn":5"#);
    let (output, decisions) = run(folder.path(), &lines, "pintle", &[]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("workload.jsonl: line 4: turn 5 of its session"), "{error}");
    assert_eq!(decisions, None);
    let (output, _) = run(folder.path(), &workload(4), "none", &[]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("single-turn") && error.contains("clairvoyant"), "{error}");
}
