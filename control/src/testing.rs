//! What tests of this crate share: a policy, and flows that it decided.

use std::sync::{Arc, LazyLock};

use pintle_config::Profile;
use pintle_routing::facts::Facts;
use pintle_routing::flow::{Decided, FlowRecord};
use pintle_routing::flow_id::FlowId;
use pintle_routing::live::LiveSignals;
use pintle_routing::policy::{Inputs, Policy};

/// Two models and one decision.
const POLICY: &str = r#"
version: v0.3
listeners: [{name: h, address: 127.0.0.1, port: 8801}]
providers:
  defaults: {default_model: small}
  models:
    - {name: small, backend_refs: [{name: a, endpoint: "127.0.0.1:1", protocol: http}]}
    - {name: large, backend_refs: [{name: b, endpoint: "127.0.0.1:2", protocol: http}]}
routing:
  modelCards: [{name: small}, {name: large}]
  signals: {keywords: [{name: hard, operator: OR, keywords: [prove]}]}
  decisions: [{name: hard, priority: 1, rules: {type: keyword, name: hard}, modelRefs: [{model: large}]}]
"#;

pub(crate) fn policy() -> Arc<Policy> {
    static COMPILED: LazyLock<Arc<Policy>> = LazyLock::new(|| {
        let loaded = pintle_config::load(POLICY.as_bytes(), "test.yaml", Profile::Pintle);
        let config = loaded.config.unwrap_or_else(|| panic!("{:#?}", loaded.report));
        Arc::new(Policy::compile(&config, Profile::Pintle).expect("compiles"))
    });
    Arc::clone(&COMPILED)
}

/// A flow that was decided.
pub(crate) fn record(id: FlowId, text: &str) -> Box<FlowRecord> {
    let (policy, facts) = (policy(), Facts::of_text(text));
    let live = LiveSignals::default();
    let inputs = Inputs {
        facts: &facts,
        session: None,
        provider_owner: None,
        now: id.at(),
        live: &live,
        foresight: None,
    };
    let mut record = FlowRecord::begin(id, id.at(), id.worker());
    record.request.model = "auto".to_owned();
    record.decided = Some(Decided::of(&inputs, policy.decide_with(&inputs), false));
    record
}
