//! Locks and session policy as the policy applies them.

use super::*;

const SESSIONS: &str = r#"
  signals:
    keywords:
      - {name: easy, operator: OR, keywords: [easy]}
      - {name: hard, operator: OR, keywords: [hard]}
  decisions:
    - {name: plain, priority: 1, rules: {type: keyword, name: easy}, modelRefs: [{model: small}, {model: large}]}
    - {name: aware, priority: 2, rules: {type: keyword, name: hard}, modelRefs: [{model: frontier}, {model: large}], algorithm: {type: session_aware, session_aware: {base_method: static}}}
"#;

fn tool_turn(text: &str) -> Facts<'_> {
    let mut request = facts(text);
    request.tools.calls = 1;
    request.tools.results = 1;
    request.tools.last_is_result = true;
    request
}

fn refers(text: &str) -> Facts<'_> {
    let mut request = facts(text);
    request.provider_state = Some(ProviderState::PreviousResponse("resp_1".into()));
    request
}

fn down(policy: &Policy, name: &str) -> LiveSignals {
    let of = |model: &ModelInfo| ModelLive { available: model.name != name, ..ModelLive::default() };
    LiveSignals { models: policy.models().iter().map(of).collect(), ..LiveSignals::default() }
}

#[test]
fn a_tool_loop_keeps_its_model_whatever_matches() {
    let policy = policy(SESSIONS, Profile::Pintle);
    for text in ["easy", "hard", "nothing matches this"] {
        for model in ["small", "large", "frontier"] {
            let session = snapshot(model, "other");
            let (name, route) = routed(&policy, &decide(&policy, &tool_turn(text), Some(&session)));
            assert_eq!(name, model, "{text}");
            assert_eq!(route.action, SessionAction::Held(Hold::ToolLoop), "{text}");
            assert_eq!(route.phase, SessionPhase::ToolLoop);
            assert!(route.alternatives.is_empty(), "a locked turn has no alternatives");
            assert!(!route.switched);
        }
    }
}

#[test]
fn provider_state_goes_to_its_owner() {
    let policy = policy(SESSIONS, Profile::Pintle);
    let (request, live) = (refers("easy"), LiveSignals::default());
    let session = snapshot("large", "plain");
    let given = Inputs { provider_owner: Some("frontier"), ..inputs(&request, Some(&session), &live) };
    let (name, route) = routed(&policy, &policy.decide_with(&given));
    assert_eq!((name, route.action), ("frontier", SessionAction::Held(Hold::ProviderState)));
    let given = inputs(&request, Some(&session), &live);
    assert_eq!(routed(&policy, &policy.decide_with(&given)).0, "large", "the last model stands in for a pin");
}

#[test]
fn an_adapter_is_held_as_itself() {
    let policy = policy(SESSIONS, Profile::Pintle);
    let session = snapshot("large#sql-adapter", "plain");
    let (name, route) = routed(&policy, &decide(&policy, &tool_turn("easy"), Some(&session)));
    assert_eq!((name, route.switched), ("large#sql-adapter", false));
}

#[test]
fn a_locked_model_that_is_gone_is_released_or_refused_as_configured() {
    for text in ["easy", "hard"] {
        let released = policy(SESSIONS, Profile::Pintle);
        for (model, live) in [("gone", LiveSignals::default()), ("small", down(&released, "small"))] {
            let session = snapshot(model, "plain");
            let outcome = released.decide(&tool_turn(text), Some(&session), NOW, &live);
            let (name, route) = routed(&released, &outcome);
            assert_ne!(name, model);
            assert_eq!(route.action, SessionAction::Released(Hold::ToolLoop), "{text} {model}");
            let Verdict::Refuse(refusal) = released.decide(&refers(text), Some(&session), NOW, &live).verdict
            else {
                panic!("provider state refuses by default")
            };
            assert_eq!((refusal.status, refusal.code), (409, "session_model_unavailable"));
            assert!(refusal.message.contains(&format!("`{model}`")), "{}", refusal.message);
        }
        let global =
            "global: {pintle: {session: {on_missing_model: {tool_loop: refuse, provider_state: release}}}}";
        let refusing = Policy::compile(&config(SESSIONS, global, Profile::Pintle), Profile::Pintle).unwrap();
        let session = snapshot("gone", "plain");
        let outcome = decide(&refusing, &tool_turn(text), Some(&session));
        assert!(matches!(outcome.verdict, Verdict::Refuse(refusal) if refusal.status == 409));
        let outcome = decide(&refusing, &refers(text), Some(&session));
        assert_eq!(routed(&refusing, &outcome).1.action, SessionAction::Released(Hold::ProviderState));
    }
}

#[test]
fn without_session_policy_a_free_turn_goes_to_the_base_choice() {
    let policy = policy(SESSIONS, Profile::Pintle);
    let turn = |model: &str| {
        let session = snapshot(model, "plain");
        routed(&policy, &decide(&policy, &facts("easy"), Some(&session))).1
    };
    assert_eq!(turn("small").action, SessionAction::Stayed);
    assert_eq!(turn("large").action, SessionAction::Switched(Switch::NoPolicy));
    assert!(turn("large").switched);
    assert_eq!(turn("frontier").action, SessionAction::Switched(Switch::NotACandidate));
    let first = routed(&policy, &decide(&policy, &facts("easy"), None)).1;
    assert_eq!((first.action, first.switched), (SessionAction::New, false));
}

#[test]
fn a_turn_commits_its_decision() {
    let policy = policy(SESSIONS, Profile::Pintle);
    let route = routed(&policy, &decide(&policy, &facts("hard"), None)).1;
    assert_eq!(route.session_commit.decision.map(|d| policy.decision_name(d)), Some("aware"));
}

#[test]
fn a_session_aware_decision_explains_itself_in_dollars() {
    let policy = policy(SESSIONS, Profile::Pintle);
    let mut request = facts("hard");
    request.history_bytes = 16_000;
    request.envelope_bytes = 18_000;
    let session = snapshot("large", "aware");
    let live = LiveSignals::default();
    let given = inputs(&request, Some(&session), &live);
    let outcome = policy.decide_with(&given);
    let mut doc = FlowDocument::default();
    policy.describe(&given, &outcome, Record::Nothing, &mut doc);
    let trace = doc.session.policy.as_ref().expect("a session trace");
    assert_eq!(trace.candidates.len(), 2);
    assert!(!doc.session.reason.is_empty());
    assert_eq!(doc.session.before.as_ref().map(|s| s.model.as_str()), Some("large"));
    assert!(doc.selection.candidates.iter().all(|c| c.adjusted_score.is_some()));
}

#[test]
fn compat_leaves_a_tool_loop_whose_model_is_no_candidate() {
    let policy = policy(SESSIONS, Profile::Compat);
    let session = snapshot("small", "aware");
    let outcome = decide(&policy, &tool_turn("hard"), Some(&session));
    assert_eq!(routed(&policy, &outcome).0, "frontier", "as v0.3.0: previous_model_not_in_candidates");
    let session = snapshot("large", "aware");
    let outcome = decide(&policy, &tool_turn("hard"), Some(&session));
    assert_eq!(routed(&policy, &outcome).0, "large");
}

#[test]
fn a_lock_holds_where_no_decision_and_no_default_would_route() {
    let mut config = config(SESSIONS, "", Profile::Pintle);
    config.providers.defaults.default_model.clear();
    let policy = Policy::compile(&config, Profile::Pintle).unwrap();
    let session = snapshot("large", "plain");
    let (name, route) = routed(&policy, &decide(&policy, &tool_turn("unmatched"), Some(&session)));
    assert_eq!((name, route.action), ("large", SessionAction::Held(Hold::ToolLoop)));
    let outcome = decide(&policy, &facts("unmatched"), Some(&session));
    assert!(matches!(outcome.verdict, Verdict::Refuse(refusal) if refusal.code == "no_route"));
}

#[test]
fn bounds_that_nobody_meets_leave_a_session_its_fallback() {
    let routing = r#"
  decisions: [{name: d, priority: 1, rules: {operator: AND, conditions: []}, modelRefs: [{model: large}, {model: frontier}], algorithm: {type: session_aware, session_aware: {base_method: multi_factor}, multi_factor: {slo: {max_inflight: 1}}}}]
"#;
    let mut config =
        config(&routing.replace(", multi_factor: {slo: {max_inflight: 1}}", ""), "", Profile::Pintle);
    let block = pintle_config::MultiFactorSelection {
        slo: Some(pintle_config::MultiFactorSlo { max_inflight: 1, ..Default::default() }),
        ..Default::default()
    };
    config.routing.decisions[0].algorithm.as_mut().unwrap().multi_factor = Some(block);
    let policy = Policy::compile(&config, Profile::Pintle).unwrap();
    let busy = ModelLive { in_flight: 9, ..ModelLive::default() };
    let live = LiveSignals { models: vec![busy; 3], ..LiveSignals::default() };
    let outcome = policy.decide(&facts("x"), None, NOW, &live);
    assert_eq!(routed(&policy, &outcome).0, "large", "the cheapest serves nevertheless");
}

const MEASURED: &str = r#"
  signals:
    keywords:
      - {name: easy, operator: OR, keywords: [easy]}
      - {name: hard, operator: OR, keywords: [hard]}
  projections:
    scores:
      - {name: demand, method: weighted_sum, inputs: [{type: keyword, name: hard, weight: 0.6}]}
  decisions:
    - {name: aware, priority: 2, rules: {operator: OR, conditions: [{type: keyword, name: hard}, {type: keyword, name: easy}]}, modelRefs: [{model: small}, {model: large}, {model: frontier}], algorithm: {type: session_aware, session_aware: {base_method: static}}}
"#;

/// What habits foresaw is an input like any other: it moves the decision, and the decision is repeated from the
/// record without the habits.
#[test]
fn foresight_decides_and_is_recorded() {
    use crate::session::economics::{Habits, Kind, Seen, Track};
    let policy = policy(MEASURED, Profile::Pintle);
    assert!(policy.learns_habits());
    assert!(!super::policy(SESSIONS, Profile::Pintle).learns_habits(), "nothing measures demand");
    assert!(!super::policy(MEASURED, Profile::Compat).learns_habits());

    let mut habits = Habits::default();
    let course = [(Kind::User, 0.0), (Kind::Tool, 1.0), (Kind::Tool, 1.0), (Kind::Tool, 1.0)].repeat(3);
    for _ in 0..30 {
        let mut track = Track::default();
        for (turn, (kind, demand)) in course.iter().enumerate() {
            let seen = Seen { kind: *kind, demand: Some(*demand) };
            habits.learn(track, turn as u32, seen);
            track = track.push(seen);
        }
    }
    let (request, live) = (facts("easy"), LiveSignals::default());
    let foresight = habits.foresee(Track::default(), 0, None, false);
    let bare = inputs(&request, None, &live);
    let given = Inputs { foresight: Some(&foresight), ..bare };
    let (without, with) = (policy.decide_with(&bare), policy.decide_with(&given));
    let future = |outcome: &Outcome| {
        let candidates = &outcome.trace.session.as_ref().unwrap().candidates;
        candidates[0].future.get() - candidates[2].future.get()
    };
    assert!(future(&with) > future(&without), "the small model is worse where hard calls are sure to follow");

    let recorded = policy.recorded(&given, &with, false);
    let text = serde_json::to_string(&recorded).unwrap();
    let read = serde_json::from_str(&text).unwrap();
    assert_eq!(recorded, read);
    assert_eq!(policy.replay(&read), with, "bit for bit");
    assert_eq!(
        routed(&policy, &with).1.session_commit.seen,
        Some(Seen { kind: Kind::User, demand: Some(0.0) })
    );
}

#[test]
fn the_switch_gate_reports_and_where_it_may_keeps_the_model() {
    let gated = |mode: &str, profile| {
        let global = format!(
            "global: {{router: {{model_selection: {{model_switch_gate: {{enabled: true, mode: {mode}, min_switch_advantage: 0.05, default_handoff_penalty: 0.02, cache_warmth_weight: 0.1}}}}}}}}"
        );
        Policy::compile(&config(SESSIONS, &global, profile), profile).unwrap()
    };
    let (request, session) = (facts("easy"), snapshot("large", "plain"));
    for (mode, serves) in [("shadow", "small"), ("enforce", "large")] {
        let policy = gated(mode, Profile::Compat);
        let outcome = decide(&policy, &request, Some(&session));
        assert_eq!(routed(&policy, &outcome).0, serves);
        let gate = outcome.trace.gate.as_ref().expect("the gate ran");
        assert_eq!(gate.reason, "stay_cost_not_exceeded");
        assert_eq!((gate.enforced_stay, gate.final_model.as_str()), (mode == "enforce", serves));
        let mut document = FlowDocument::default();
        let live = LiveSignals::default();
        policy.describe(&inputs(&request, Some(&session), &live), &outcome, Record::Evidence, &mut document);
        let text = serde_json::to_string(&document).unwrap();
        assert_eq!(
            serde_json::from_str::<FlowDocument>(&text).unwrap().selection.switch_gate,
            Some(*gate.clone())
        );

        let first = decide(&policy, &request, None);
        assert_eq!(first.trace.gate.unwrap().reason, "missing_signal_audit_only");
        let aware = decide(&policy, &facts("hard"), Some(&session));
        assert!(aware.trace.gate.is_none(), "session_aware weighs changes itself");
    }
    let policy = gated("enforce", Profile::Pintle);
    let outcome = decide(&policy, &request, Some(&session));
    assert!(outcome.trace.gate.is_none() && routed(&policy, &outcome).0 == "small");
}
