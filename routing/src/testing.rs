//! What tests of this crate share: policies from YAML, facts from a few words.

use pintle_config::Profile;

use crate::facts::{Facts, SessionIdentity, SessionSnapshot, SessionSource};
use crate::live::LiveSignals;
use crate::outcome::{Outcome, Route, Verdict};
use crate::policy::{Inputs, Policy};
use crate::units::{Tokens, UnixMillis};

pub(crate) const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

/// Three models, small to frontier, without adapters.
pub(crate) const MODELS: &str = "
version: v0.3
listeners: [{name: l, address: 127.0.0.1, port: 8899}]
providers:
  defaults: {default_model: large}
  models:
    - {name: small, backend_refs: [{endpoint: 127.0.0.1:1}], pricing: {prompt_per_1m: 0.1, completion_per_1m: 0.2, cached_input_per_1m: 0.02}}
    - {name: large, backend_refs: [{endpoint: 127.0.0.1:2}], pricing: {prompt_per_1m: 1, completion_per_1m: 2, cached_input_per_1m: 0.2}}
    - {name: frontier, backend_refs: [{endpoint: 127.0.0.1:3}], pricing: {prompt_per_1m: 8, completion_per_1m: 24, cached_input_per_1m: 1.6}, external_model_ids: {openai: frontier-2026}}
";

pub(crate) const CARDS: &str = "
  modelCards:
    - {name: small, context_window_size: 8192, quality_score: 0.5, capabilities: [chat, tools]}
    - {name: large, context_window_size: 131072, quality_score: 0.75, capabilities: [chat, tools], loras: [{name: sql-adapter}]}
    - {name: frontier, context_window_size: 200000, quality_score: 0.95, capabilities: [chat, tools, vision]}
";

/// `routing` is YAML below `routing:`, indented by two, `global` whole or empty.
pub(crate) fn config(routing: &str, global: &str, profile: Profile) -> pintle_config::Config {
    let text = format!("{MODELS}routing:{CARDS}{routing}\n{global}\n");
    let loaded = pintle_config::load(text.as_bytes(), "test.yaml", profile);
    match loaded.config {
        Some(config) => config,
        None => panic!("{:#?}\n{text}", loaded.report),
    }
}

pub(crate) fn policy(routing: &str, profile: Profile) -> Policy {
    match Policy::compile(&config(routing, "", profile), profile) {
        Ok(policy) => policy,
        Err(errors) => panic!("{errors:#?}"),
    }
}

/// A one-message chat request to `auto`, in a session.
pub(crate) fn facts(text: &str) -> Facts<'_> {
    let session = Some(SessionIdentity { key: 7, source: SessionSource::XSessionId });
    Facts { session, ..Facts::of_text(text) }
}

/// A session that was served by `model` a second ago.
pub(crate) fn snapshot<'a>(model: &'a str, decision: &'a str) -> SessionSnapshot<'a> {
    SessionSnapshot {
        model,
        decision,
        turns: 4,
        switches: 0,
        turns_on_model: 4,
        last_seen: UnixMillis(NOW.get() - 1000),
        open_tool_loop: false,
        provider_state: false,
        last_prompt_tokens: Tokens(4000),
        last_cached_tokens: Some(Tokens(3000)),
        last_completion_tokens: Tokens(400),
        prompt_tokens: Tokens(12_000),
        cached_tokens: Tokens(8000),
        completion_tokens: Tokens(1600),
        demand: 0.5,
    }
}

pub(crate) fn decide(policy: &Policy, facts: &Facts<'_>, session: Option<&SessionSnapshot<'_>>) -> Outcome {
    policy.decide(facts, session, NOW, &LiveSignals::default())
}

pub(crate) fn inputs<'a>(
    facts: &'a Facts<'a>,
    session: Option<&'a SessionSnapshot<'a>>,
    live: &'a LiveSignals,
) -> Inputs<'a> {
    Inputs { facts, session, provider_owner: None, now: NOW, live, foresight: None }
}

/// The route and its target's name; panics on any other verdict.
pub(crate) fn routed<'p>(policy: &'p Policy, outcome: &Outcome) -> (&'p str, Route) {
    match &outcome.verdict {
        Verdict::Route(route) => (policy.target_name(route.target), route.clone()),
        other => panic!("not routed: {other:?}"),
    }
}

/// The name of the decision that matched.
pub(crate) fn decided<'p>(policy: &'p Policy, text: &str) -> Option<&'p str> {
    let outcome = decide(policy, &facts(text), None);
    outcome.trace.chosen.map(|decision| policy.decision_name(decision))
}

/// Whether the signal `type:name` holds for a text: `Some(true)`, `Some(false)`, or `None` if unknown.
pub(crate) fn holds(policy: &Policy, facts: &Facts<'_>, signal: &str) -> Option<bool> {
    use crate::evidence::Truth;
    match evidence(policy, facts, signal).truth {
        Truth::True => Some(true),
        Truth::False => Some(false),
        Truth::Unknown(_) => None,
    }
}

pub(crate) fn evidence(policy: &Policy, facts: &Facts<'_>, signal: &str) -> crate::evidence::Evidence {
    let at = policy.signals().iter().position(|def| def.key == signal).expect("a declared signal");
    decide(policy, facts, None).trace.base[at]
}
