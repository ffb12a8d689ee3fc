//! Guards and assumed signals.

use super::*;
use crate::evidence::Unknown;
use crate::learned::{JailbreakReading, Learned, Reading};
use crate::outcome::Outcome;

const ROUTING: &str = r#"
  signals:
    jailbreak: [{name: attack, threshold: 0.5}]
    keywords: [{name: code, operator: OR, keywords: [rust]}]
  decisions:
    - name: block
      priority: 100
      rules: {type: jailbreak, name: attack}
      plugins: [{type: fast_response, configuration: {message: Refused.}}]
    - {name: coding, priority: 10, rules: {type: keyword, name: code}, modelRefs: [{model: small}]}
    - {name: safe, priority: 50, rules: {operator: NOT, conditions: [{type: jailbreak, name: attack}]}, modelRefs: [{model: frontier}]}
"#;

fn policy_with(pintle: &str, profile: Profile) -> Result<Policy, Vec<crate::signals::CompileError>> {
    let global = format!("global: {{pintle: {{{pintle}}}}}");
    Policy::compile(&config(ROUTING, &global, profile), profile)
}

fn ask(policy: &Policy, jailbreak: Option<f64>) -> Outcome {
    let learned = Learned {
        jailbreak: match jailbreak {
            Some(current) => Reading::Given(JailbreakReading { current, ..JailbreakReading::default() }),
            None => Reading::Missing(Unknown::Deadline),
        },
        ..Learned::default()
    };
    let (request, live) = (facts("rust"), LiveSignals::default());
    policy.decide_measured(&inputs(&request, None, &live), &learned)
}

fn name(policy: &Policy, outcome: &Outcome) -> String {
    outcome.trace.chosen.map_or(String::new(), |decision| policy.decision_name(decision).to_owned())
}

#[test]
fn a_guard_matches_while_it_cannot_tell() {
    let plain = policy_with("", Profile::Pintle).unwrap();
    assert_eq!(name(&plain, &ask(&plain, None)), "coding", "the block is passed over, and so is NOT");
    let guarded = policy_with("decisions: [{name: block, guard: true}]", Profile::Pintle).unwrap();
    let outcome = ask(&guarded, None);
    assert_eq!(name(&guarded, &outcome), "block");
    assert!(matches!(outcome.verdict, Verdict::Answer(_)));
    assert!(guarded.results(&outcome)[0].truth.is_unknown(), "it is not claimed to have matched");
    for (probability, expected) in [(0.9, "block"), (0.1, "safe")] {
        assert_eq!(name(&guarded, &ask(&guarded, Some(probability))), expected);
    }
    assert_ne!(plain.digest(), guarded.digest());
}

#[test]
fn a_guard_is_not_outranked_by_confidence() {
    let routing = ROUTING.replace("priority: 100", "priority: 10");
    let global =
        "global: {router: {strategy: confidence}, pintle: {decisions: [{name: block, guard: true}]}}";
    let policy = Policy::compile(&config(&routing, global, Profile::Pintle), Profile::Pintle).unwrap();
    assert_eq!(name(&policy, &ask(&policy, None)), "block", "full confidence, and its name comes first");
}

#[test]
fn an_unknown_signal_counts_as_it_is_told_to() {
    let cases = [("unknown", "coding"), ("match", "block"), ("no_match", "safe")];
    for (on_error, expected) in cases {
        let settings = format!("signals: [{{signal: 'jailbreak:attack', on_error: {on_error}}}]");
        let policy = policy_with(&settings, Profile::Pintle).unwrap();
        let outcome = ask(&policy, None);
        assert_eq!(name(&policy, &outcome), expected, "{on_error}");
        let (request, live) = (facts("rust"), LiveSignals::default());
        let given = inputs(&request, None, &live);
        let mut doc = FlowDocument::default();
        policy.describe(&given, &outcome, Record::Evidence, &mut doc);
        let record = doc.evidence.iter().find(|record| record.signal == "jailbreak:attack").unwrap();
        assert_eq!(record.assumed, (on_error != "unknown").then_some(Unknown::Deadline));
        let recorded = doc.inputs.unwrap();
        assert_eq!(policy.replay(&recorded), outcome, "the evidence is recorded as it was read");
        assert_eq!(name(&policy, &ask(&policy, Some(0.9))), "block", "known, it counts as itself");
    }
}

#[test]
fn names_of_nothing_are_refused() {
    for settings in [
        "decisions: [{name: blok, guard: true}]",
        "signals: [{signal: 'jailbreak:atack', on_error: match}]",
        "signals: [{signal: attack, on_error: match}]",
        "signals: [{signal: 'nosuch:attack', on_error: match}]",
    ] {
        let errors = policy_with(settings, Profile::Pintle).unwrap_err();
        assert_eq!(errors.len(), 1, "{settings}: {errors:?}");
    }
}

#[test]
fn compat_has_no_unknown() {
    let settings =
        "decisions: [{name: block, guard: true}], signals: [{signal: 'jailbreak:attack', on_error: match}]";
    let policy = policy_with(settings, Profile::Compat).unwrap();
    assert_eq!(name(&policy, &ask(&policy, None)), "safe", "as v0.3.0: an error is no match");
}
