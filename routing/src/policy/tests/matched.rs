//! The `x-vsr-matched-*` headers.

use super::*;

fn headers(policy: &Policy, outcome: &Outcome) -> Vec<(&'static str, String)> {
    let mut headers = Vec::new();
    policy.matched_headers(outcome, |name, value| headers.push((name, value.to_owned())));
    headers
}

const MANY: &str = r#"
  signals:
    keywords:
      - {name: code, operator: OR, keywords: [rust]}
      - {name: unread, operator: OR, keywords: [python]}
      - {name: also code, operator: OR, keywords: [rust]}
    context:
      - {name: short, min_tokens: "0", max_tokens: 1K}
    conversation:
      - {name: single, feature: {type: count, source: {type: message, role: user}}, predicate: {lte: 1}}
    events:
      - {name: soon, temporal: true}
  projections:
    scores:
      - {name: load, method: weighted_sum, inputs: [{type: keyword, name: code, weight: 1}]}
    mappings:
      - {name: m, source: load, method: threshold_bands, outputs: [{name: heavy, gte: 0.5}, {name: light, lt: 0.5}]}
  decisions:
    - name: d
      priority: 1
      rules: {operator: AND, conditions: [{type: projection, name: heavy}, {type: context, name: short}]}
      modelRefs: [{model: small}]
"#;

#[test]
fn each_family_that_held_has_a_header_of_names_in_configured_order() {
    for profile in [Profile::Pintle, Profile::Compat] {
        let policy = policy(MANY, profile);
        let outcome = decide(&policy, &facts("rust now"), None);
        // One keyword rule at most in v0.3. No decision reads conversation or event.
        let keywords = if profile == Profile::Compat { "code" } else { "code,also code" };
        let expected = [
            ("x-vsr-matched-context", "short".to_owned()),
            ("x-vsr-matched-keywords", keywords.to_owned()),
            ("x-vsr-matched-projections", "heavy".to_owned()),
        ];
        assert_eq!(headers(&policy, &outcome), expected, "{profile:?}");
    }
}

#[test]
fn a_request_that_was_not_decided_has_none() {
    let policy = policy(TWO, Profile::Pintle);
    let unknown = Facts { requested_model: "nobody".into(), ..facts("rust") };
    assert_eq!(headers(&policy, &decide(&policy, &unknown, None)), []);
    assert_eq!(headers(&policy, &decide(&policy, &facts("hello"), None)), []);
}

#[test]
fn the_names_of_the_headers_are_those_of_v0_3_and_one_more() {
    let names = "authz complexity context conversation domains embeddings event fact-check jailbreak kb keywords \
                 language metadata modality pii preference projections reask structure user-feedback";
    let expected: Vec<String> = names.split(' ').map(|name| format!("x-vsr-matched-{name}")).collect();
    let found: Vec<&str> = crate::signals::SignalKind::ALL.iter().map(|kind| kind.matched_header()).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_header_ends_before_it_grows_too_long() {
    let rules: Vec<String> =
        (0..900).map(|n| format!("      - {{name: rule{n:03}, operator: OR, keywords: [rust]}}")).collect();
    let routing = format!(
        "
  signals:
    keywords:
{}
  decisions:
    - {{name: d, priority: 1, rules: {{type: keyword, name: rule000}}, modelRefs: [{{model: small}}]}}",
        rules.join("\n")
    );
    let policy = policy(&routing, Profile::Pintle);
    let headers = headers(&policy, &decide(&policy, &facts("rust"), None));
    let value = &headers[0].1;
    assert!(value.len() <= MATCHED_BYTES && value.len() > MATCHED_BYTES - 8, "{}", value.len());
    assert!(value.starts_with("rule000,rule001,") && value.ends_with("rule511"), "{value}");
}
