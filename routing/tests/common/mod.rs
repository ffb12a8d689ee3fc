//! What the cost tests share.

use std::fmt::Write as _;

use pintle_config::Profile;
use pintle_routing::facts::{Facts, MessageCounts, SessionIdentity, SessionSource};
use pintle_routing::policy::Policy;

#[allow(dead_code, reason = "not every test that shares this uses all of it")]
pub(crate) const HEAD: &str = "
version: v0.3
listeners: [{name: l, address: 127.0.0.1, port: 8899}]
providers:
  defaults: {default_model: small}
  models:
    - {name: small, backend_refs: [{endpoint: 127.0.0.1:1}], pricing: {prompt_per_1m: 0.1, completion_per_1m: 0.2}}
    - {name: large, backend_refs: [{endpoint: 127.0.0.1:2}], pricing: {prompt_per_1m: 1, completion_per_1m: 2}}
routing:
  modelCards: [{name: small, quality_score: 0.5}, {name: large, quality_score: 0.8}]
";

/// Decisions with as many conditions each, over conversation and context signals.
pub(crate) fn policy(decisions: usize, conditions: usize) -> Policy {
    let mut yaml = HEAD.to_owned();
    yaml.push_str("  signals:\n    conversation:\n");
    for n in 0..conditions {
        let _ = writeln!(
            yaml,
            "      - {{name: c{n}, feature: {{type: count, source: {{type: message}}}}, predicate: {{gte: {n}}}}}"
        );
    }
    yaml.push_str("  decisions:\n");
    for d in 0..decisions {
        let _ = write!(
            yaml,
            "    - {{name: d{d}, priority: {d}, modelRefs: [{{model: small}}, {{model: large}}], rules: {{operator: AND, conditions: ["
        );
        for n in 0..conditions {
            let _ = write!(yaml, "{{type: conversation, name: c{n}}}, ");
        }
        yaml.push_str("]}}\n");
    }
    compile(&yaml)
}

pub(crate) fn compile(yaml: &str) -> Policy {
    let loaded = pintle_config::load(yaml.as_bytes(), "cost.yaml", Profile::Pintle);
    let config = loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.report));
    Policy::compile(&config, Profile::Pintle).unwrap_or_else(|errors| panic!("{errors:?}"))
}

pub(crate) fn facts(text: &str) -> Facts<'_> {
    let session = Some(SessionIdentity { key: 1, source: SessionSource::XSessionId });
    let messages = MessageCounts { user: 9, ..MessageCounts::default() };
    Facts { session, messages, ..Facts::of_text(text) }
}
