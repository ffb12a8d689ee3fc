//! The policy as a whole.

use std::sync::LazyLock;

use pintle_config::Profile;

use super::*;
use crate::evidence::Truth;
use crate::facts::ProviderState;
use crate::flow::{FlowDocument, Recorded};
use crate::live::ModelLive;
use crate::outcome::{Hold, SessionAction, SessionPhase, Switch, Verdict};
use crate::testing::{NOW, config, decide, decided, facts, inputs, policy, routed, snapshot};

mod assume;
mod matched;
mod properties;
mod session;

const AGENTIC: &str = include_str!("../../../config/examples/agentic.yaml");

const TWO: &str = r#"
  signals:
    keywords:
      - {name: code, operator: OR, keywords: [rust, python]}
      - {name: hard, operator: OR, keywords: [prove, deadlock]}
  decisions:
    - {name: coding, priority: 10, rules: {type: keyword, name: code}, modelRefs: [{model: small}, {model: large}]}
    - {name: reasoning, priority: 20, rules: {type: keyword, name: hard}, modelRefs: [{model: frontier, use_reasoning: true}]}
"#;

static AGENTIC_POLICY: LazyLock<Policy> = LazyLock::new(|| rotated(0));

fn agentic() -> &'static Policy {
    &AGENTIC_POLICY
}

/// The shipped example with its decisions declared in another order, and its keyword rules in reverse.
fn rotated(by: usize) -> Policy {
    let loaded = pintle_config::load(AGENTIC.as_bytes(), "agentic.yaml", Profile::Pintle);
    let mut config = loaded.config.unwrap();
    config.routing.decisions.rotate_left(by);
    if by > 0 {
        config.routing.signals.keywords.reverse();
    }
    Policy::compile(&config, Profile::Pintle).unwrap()
}

#[test]
fn the_shipped_example_routes_as_its_descriptions_say() {
    let policy = agentic();
    assert_eq!(policy.notes(), []);
    let target = |text: &str| {
        let stateless = Facts { session: None, ..facts(text) };
        routed(policy, &decide(policy, &stateless, None)).0
    };
    assert_eq!(target("What is the capital of France?"), "qwen3-8b");
    assert_eq!(target("Plan the migration"), "qwen3-32b");
    assert_eq!(target("Find the race condition"), "frontier-reasoner");
}

#[test]
fn the_decision_of_higher_priority_wins() {
    let policy = policy(TWO, Profile::Pintle);
    assert_eq!(decided(&policy, "prove it in rust"), Some("reasoning"));
    assert_eq!(decided(&policy, "write python"), Some("coding"));
    assert_eq!(decided(&policy, "hello"), None);
}

#[test]
fn without_a_decision_the_default_model_serves() {
    let policy = policy(TWO, Profile::Pintle);
    let (name, route) = routed(&policy, &decide(&policy, &facts("hello"), None));
    assert_eq!((name, route.decision, route.confidence), ("large", None, 0.0));
}

#[test]
fn reasoning_follows_the_model_reference() {
    let policy = policy(TWO, Profile::Pintle);
    assert!(routed(&policy, &decide(&policy, &facts("prove"), None)).1.reasoning);
    assert!(!routed(&policy, &decide(&policy, &facts("rust"), None)).1.reasoning);
}

#[test]
fn a_decision_edits_the_request() {
    use crate::edits::{Reasoning, ToolsEdit};
    let routing = r#"
  decisions:
    - name: edited
      priority: 1
      rules: {operator: AND, conditions: []}
      modelRefs: [{model: small, use_reasoning: true}, {model: large, use_reasoning: true, reasoning_effort: high}, {model: frontier}]
      plugins:
        - {type: system_prompt, configuration: {system_prompt: Be brief., mode: replace}}
        - {type: header_mutation, configuration: {add: [{name: x-a, value: "1"}], delete: [x-b]}}
        - {type: request_params, configuration: {blocked_params: [logit_bias], max_tokens_limit: 100, strip_unknown: true}}
        - {type: tools, configuration: {enabled: true, mode: filtered, block_tools: [shell]}}
        - {type: system_prompt, configuration: {system_prompt: the second of a type is not read}}
"#;
    let mut config = config(routing, "", Profile::Pintle);
    let family =
        |kind: &str| pintle_config::ReasoningFamily { kind: kind.into(), parameter: "thinking".into() };
    config.providers.defaults.reasoning_families =
        [("t".into(), family("chat_template_kwargs")), ("e".into(), family("reasoning_effort"))].into();
    for (model, family) in config.providers.models.iter_mut().zip(["t", "e", "e"]) {
        model.reasoning_family = family.into();
    }
    let policy = Policy::compile(&config, Profile::Pintle).unwrap();
    let outcome = decide(&policy, &facts("x"), None);
    let decision = routed(&policy, &outcome).1.decision;
    let edits = policy.edits(decision.unwrap());
    let prompt = edits.system_prompt.as_ref().unwrap();
    assert_eq!((prompt.text.as_str(), prompt.replace), ("Be brief.", true));
    assert_eq!((edits.params.max_tokens, edits.params.strip_unknown), (Some(100), true));
    assert_eq!(edits.tools, ToolsEdit::Filter { allow: vec![], block: vec!["shell".into()] });
    assert_eq!(edits.headers.add, [("x-a".to_owned(), "1".to_owned())]);
    let reasoning = |model: &str| policy.reasoning(decision, policy.target(model).unwrap());
    assert_eq!(reasoning("small"), Some(Reasoning::TemplateFlag { parameter: "thinking", on: true }));
    assert_eq!(reasoning("large"), Some(Reasoning::Effort { effort: Some("high") }));
    assert_eq!(reasoning("frontier"), Some(Reasoning::Effort { effort: None }), "off leaves the client's");
    assert_eq!(policy.reasoning(None, policy.target("small").unwrap()), None);
}

#[test]
fn names_that_a_client_may_ask_for() {
    let policy = policy(TWO, Profile::Pintle);
    let ask = |model: &str| {
        let mut request = facts("rust");
        request.requested_model = model.to_owned().into();
        decide(&policy, &request, None).verdict
    };
    for (asked, target) in
        [("frontier", "frontier"), ("frontier-2026", "frontier"), ("sql-adapter", "large#sql-adapter")]
    {
        let verdict = ask(asked);
        let route = verdict.route().unwrap();
        assert_eq!(policy.target_name(route.target), target, "{asked}");
        assert_eq!(route.action, SessionAction::Explicit);
        assert!(route.alternatives.is_empty());
    }
    for automatic in ["auto", "MoM"] {
        assert_eq!(policy.target_name(ask(automatic).route().unwrap().target), "small");
    }
    let Verdict::Refuse(refusal) = ask("gpt-17") else { panic!("an unknown model must be refused") };
    assert_eq!((refusal.status, refusal.code), (404, "model_not_found"));
    assert_eq!(refusal.message, "The model `gpt-17` does not exist or you do not have access to it.");
}

#[test]
fn an_adapter_is_asked_for_by_its_own_name() {
    let policy = policy(TWO, Profile::Pintle);
    let target = policy.target("large#sql-adapter").unwrap();
    assert_eq!(policy.lora_name(target), Some("sql-adapter"));
    assert_eq!(policy.target_name(target), "large#sql-adapter");
    assert_eq!(policy.model_id("large"), Some(target.model));
    assert_eq!(policy.model_id("large#sql-adapter"), None);
}

#[test]
fn a_named_model_does_not_slip_past_a_fixed_answer() {
    let routing = r#"
  signals: {keywords: [{name: bad, operator: OR, keywords: [forbidden]}]}
  decisions:
    - {name: block, priority: 1, rules: {type: keyword, name: bad}, modelRefs: [], plugins: [{type: fast_response, configuration: {message: "No."}}]}
"#;
    let policy = policy(routing, Profile::Pintle);
    for model in ["auto", "frontier"] {
        let mut request = facts("a forbidden thing");
        request.requested_model = model.into();
        let outcome = decide(&policy, &request, None);
        let Verdict::Answer(answer) = outcome.verdict else { panic!("{model}: {:?}", outcome.verdict) };
        assert_eq!(policy.fast_response(answer.decision), Some("No."));
    }
}

#[test]
fn a_down_model_is_passed_over_and_never_an_alternative() {
    let policy = policy(TWO, Profile::Pintle);
    let down = |names: &[&str]| LiveSignals {
        models: policy
            .models()
            .iter()
            .map(|model| ModelLive {
                available: !names.contains(&model.name.as_str()),
                ..ModelLive::default()
            })
            .collect(),
        ..LiveSignals::default()
    };
    let text = facts("rust");
    let outcome = policy.decide(&text, None, NOW, &down(&[]));
    let route = outcome.verdict.route().unwrap();
    assert_eq!(policy.target_name(route.target), "small");
    assert_eq!(route.alternatives.iter().map(|t| policy.target_name(*t)).collect::<Vec<_>>(), ["large"]);
    let outcome = policy.decide(&text, None, NOW, &down(&["small"]));
    let route = outcome.verdict.route().unwrap();
    assert_eq!(policy.target_name(route.target), "large");
    assert!(route.alternatives.is_empty());
    let Verdict::Refuse(refusal) = policy.decide(&text, None, NOW, &down(&["small", "large"])).verdict else {
        panic!("nothing can serve")
    };
    assert_eq!(refusal.status, 503);
}

#[test]
fn a_prompt_too_long_for_a_window_goes_to_a_larger_one() {
    let policy = policy(TWO, Profile::Pintle);
    let mut request = facts("rust");
    request.envelope_bytes = 4 * 8000;
    assert_eq!(routed(&policy, &decide(&policy, &request, None)).0, "small");
    request.max_completion = Some(Tokens(1000));
    assert_eq!(routed(&policy, &decide(&policy, &request, None)).0, "large");
    request.envelope_bytes = 4 * 1_000_000;
    assert_eq!(routed(&policy, &decide(&policy, &request, None)).0, "small", "an estimate refuses nobody");
}

#[test]
fn roles_need_an_identity() {
    let routing = r#"
  signals: {role_bindings: [{name: b, role: premium, subjects: [{kind: User, name: ada}, {kind: Group, name: staff}]}]}
  decisions:
    - {name: vip, priority: 1, rules: {type: authz, name: premium}, modelRefs: [{model: frontier}]}
    - {name: rest, priority: 0, rules: {operator: NOT, conditions: [{type: authz, name: premium}]}, modelRefs: [{model: small}]}
"#;
    let closed = policy(routing, Profile::Pintle);
    let as_user = |policy: &Policy, user: &'static str, groups: &'static str| {
        let mut request = facts("hi");
        request.identity = crate::facts::Identity { user, groups };
        decide(policy, &request, None)
    };
    let target = |user, groups| routed(&closed, &as_user(&closed, user, groups)).0;
    assert_eq!(target("ada", ""), "frontier");
    assert_eq!(target("bob", "dev, staff"), "frontier");
    assert_eq!(target("bob", "Staff"), "small", "names are exact");
    let Verdict::Refuse(refusal) = as_user(&closed, "", "staff").verdict else { panic!("no identity") };
    assert_eq!(refusal.status, 403);

    let open = config(routing, "global: {services: {authz: {fail_open: true}}}", Profile::Pintle);
    let open = Policy::compile(&open, Profile::Pintle).unwrap();
    let outcome = as_user(&open, "", "");
    assert_eq!(outcome.trace.chosen, None, "an unknown role satisfies neither a rule nor its negation");
    assert_eq!(routed(&open, &outcome).0, "large");
}

#[test]
fn an_unknown_guard_stays_shut_except_in_compat() {
    let routing = r#"
  signals: {jailbreak: [{name: jb, threshold: 0.5}]}
  decisions:
    - {name: allow, priority: 1, rules: {operator: NOT, conditions: [{type: jailbreak, name: jb}]}, modelRefs: [{model: frontier}]}
"#;
    assert_eq!(decided(&policy(routing, Profile::Pintle), "hi"), None);
    assert_eq!(decided(&policy(routing, Profile::Compat), "hi"), Some("allow"));
}

#[test]
fn a_condition_on_nothing_is_noted_and_never_satisfied() {
    let routing = r#"
  decisions:
    - {name: a, priority: 1, rules: {operator: NOT, conditions: [{type: keyword, name: nowhere}]}, modelRefs: [{model: small}]}
    - {name: b, priority: 0, rules: {operator: OR, conditions: [{type: nosuchtype, name: x}, {operator: AND, conditions: []}]}, modelRefs: [{model: frontier}]}
"#;
    let policy = policy(routing, Profile::Pintle);
    assert_eq!(decided(&policy, "hi"), Some("b"));
    assert_eq!(policy.notes().len(), 2, "{:?}", policy.notes());
}

#[test]
fn a_decision_without_tier_is_last_or_in_compat_first() {
    let routing = r#"
  signals: {keywords: [{name: k, operator: OR, keywords: [x]}]}
  decisions:
    - {name: untiered, priority: 99, rules: {type: keyword, name: k}, modelRefs: [{model: small}]}
    - {name: second, priority: 1, tier: 2, rules: {type: keyword, name: k}, modelRefs: [{model: large}]}
    - {name: first, priority: 0, tier: 1, rules: {type: keyword, name: k}, modelRefs: [{model: frontier}]}
"#;
    assert_eq!(decided(&policy(routing, Profile::Pintle), "x"), Some("first"));
    assert_eq!(decided(&policy(routing, Profile::Compat), "x"), Some("untiered"));
}

#[test]
fn a_request_without_text_is_decided_except_in_compat() {
    let routing = r#"
  signals: {conversation: [{name: any, feature: {type: exists, source: {type: message}}}]}
  decisions: [{name: all, priority: 1, rules: {type: conversation, name: any}, modelRefs: [{model: small}]}]
"#;
    assert_eq!(decided(&policy(routing, Profile::Pintle), ""), Some("all"));
    assert_eq!(decided(&policy(routing, Profile::Compat), ""), None);
}

#[test]
fn the_document_holds_every_leaf_of_every_tree() {
    let policy = policy(TWO, Profile::Pintle);
    let (request, live) = (facts("prove it in rust"), LiveSignals::default());
    let given = inputs(&request, None, &live);
    let outcome = policy.decide_with(&given);
    let mut doc = FlowDocument::default();
    policy.describe(&given, &outcome, Record::Evidence, &mut doc);
    assert_eq!(doc.policy_digest, policy.digest_hex());
    let trees: Vec<_> =
        doc.decisions.iter().map(|d| (d.name.as_str(), d.chosen, d.rules.node.as_str())).collect();
    assert_eq!(trees, [("reasoning", true, "keyword:hard"), ("coding", false, "keyword:code")]);
    assert!(doc.decisions.iter().all(|d| d.rules.truth == Truth::True), "the loser's leaves are there too");
    assert_eq!(doc.verdict.target.as_deref(), Some("frontier"));
    assert_eq!(doc.selection.candidates.len(), 1);
    let json = serde_json::to_string(&doc).unwrap();
    assert_eq!(serde_json::from_str::<FlowDocument>(&json).unwrap(), doc);
    assert!(!json.contains("prove it"), "texts are private unless asked for");
}

#[test]
fn a_document_can_be_written_from_facts_without_texts() {
    let routing = r#"
  signals: {role_bindings: [{name: b, role: premium, subjects: [{kind: User, name: ada}]}]}
  decisions: [{name: vip, priority: 1, rules: {type: authz, name: premium}, modelRefs: [{model: frontier}]}]
"#;
    let policy = policy(routing, Profile::Pintle);
    let live = LiveSignals::default();
    let mut request = facts("hi");
    request.identity = crate::facts::Identity { user: "ada", groups: "" };
    let outcome = policy.decide_with(&inputs(&request, None, &live));
    let kept = crate::flow::recorded::RecordedFacts::of(&request, false);
    let (mut early, mut late) = (FlowDocument::default(), FlowDocument::default());
    policy.describe(&inputs(&request, None, &live), &outcome, Record::Evidence, &mut early);
    let bare = kept.facts();
    policy.describe(&inputs(&bare, None, &live), &outcome, Record::Evidence, &mut late);
    assert_eq!(early, late);
    assert_eq!(policy.replay(early.inputs.as_ref().unwrap()), outcome);
}

#[test]
fn a_document_of_the_first_version_with_missing_parts_can_be_read() {
    let doc: FlowDocument = serde_json::from_str(r#"{"version":1,"id":"x","unknown_part":{"a":1}}"#).unwrap();
    assert_eq!((doc.version, doc.id.as_str()), (1, "x"));
}

#[test]
fn equal_configurations_have_equal_digests_and_others_do_not() {
    let one = policy(TWO, Profile::Pintle);
    assert_eq!(one.digest(), policy(TWO, Profile::Pintle).digest());
    assert_ne!(one.digest(), policy(TWO, Profile::Compat).digest());
    assert_ne!(one.digest(), policy(&TWO.replace("deadlock", "livelock"), Profile::Pintle).digest());
    let pool = config(TWO, "global: {pintle: {pool: {idle_ms: 5}}}", Profile::Pintle);
    assert_eq!(one.digest(), Policy::compile(&pool, Profile::Pintle).unwrap().digest());
}

#[test]
fn rules_that_nest_too_deep_are_refused() {
    let mut config = config(TWO, "", Profile::Pintle);
    let mut node = config.routing.decisions[0].rules.clone();
    for _ in 0..crate::rules::MAX_DEPTH {
        node = pintle_config::RuleNode {
            operator: "NOT".into(),
            conditions: vec![node],
            ..pintle_config::RuleNode::default()
        };
    }
    config.routing.decisions[0].rules = node;
    let errors = Policy::compile(&config, Profile::Pintle).unwrap_err();
    assert!(errors[0].to_string().contains("deeper than 64"), "{errors:?}");
}

#[test]
fn a_policy_can_be_shared_between_threads() {
    const fn shared<T: Send + Sync>() {}
    shared::<Policy>();
}
