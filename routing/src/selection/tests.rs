//! Selectors through a policy, on live signals given as data.

use pintle_config::Profile::{self, Compat, Pintle};

use super::*;
use crate::live::{Latency, ModelLive};
use crate::outcome::Verdict;
use crate::policy::{Inputs, Policy};
use crate::testing::{NOW, facts, policy};
use crate::trace::SloBound;

mod learnt;

/// One decision over small, large and frontier with this algorithm.
fn with(algorithm: &str, profile: Profile) -> Policy {
    policy(
        &format!(
            "  decisions: [{{name: d, priority: 1, rules: {{operator: AND, conditions: []}}, modelRefs: [{{model: small}}, {{model: large}}, {{model: frontier}}], algorithm: {{{algorithm}}}}}]\n"
        ),
        profile,
    )
}

fn flat(ms: f32) -> Option<Latency> {
    Some(Latency { samples: 50, points_ms: [ms; crate::live::QUANTILE_POINTS] })
}

fn live(models: [ModelLive; 3]) -> LiveSignals {
    LiveSignals { models: models.to_vec(), ..LiveSignals::default() }
}

struct Selected {
    choice: Option<String>,
    scores: Vec<f64>,
    reasons: Vec<ScoreReason>,
    confidence: f64,
}

fn selected(policy: &Policy, live: &LiveSignals) -> Selected {
    let outcome = policy.decide(&facts("x"), None, NOW, live);
    let trace = &outcome.trace;
    Selected {
        choice: outcome.verdict.route().map(|route| policy.target_name(route.target).to_owned()),
        scores: trace.candidates.iter().map(|candidate| candidate.score).collect(),
        reasons: trace.candidates.iter().map(|candidate| candidate.reason).collect(),
        confidence: trace.selection_confidence,
    }
}

fn choice(policy: &Policy, live: &LiveSignals) -> String {
    selected(policy, live).choice.expect("a route")
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

#[test]
fn static_prefers_in_configured_order() {
    let found = selected(&with("type: static", Pintle), &LiveSignals::default());
    assert_eq!(found.choice.as_deref(), Some("small"));
    assert!(found.scores.is_sorted_by(|a, b| a > b), "{:?}", found.scores);
    let compat = selected(&with("type: static", Compat), &LiveSignals::default());
    assert_eq!(compat.scores, [1.0, 1.0, 1.0]);
}

#[test]
fn static_reads_the_scores_of_a_domain() {
    let routing = |name: &str, first: &str| {
        format!(
            "  signals: {{domains: [{{name: math, mmlu_categories: [math], model_scores: [{{model: small, score: 0.3}}, {{model: large, score: 0.9}}]}}]}}\n  decisions: [{{name: {name}, priority: 1, rules: {{operator: OR, conditions: [{{operator: AND, conditions: []}}, {{type: domain, name: math}}]}}, modelRefs: [{{model: {first}}}, {{model: large}}]}}]\n"
        )
    };
    let none = LiveSignals::default();
    assert_eq!(
        choice(&policy(&routing("math", "small"), Compat), &none),
        "large",
        "looked up by decision name"
    );
    assert_eq!(choice(&policy(&routing("other", "small"), Compat), &none), "small");
    assert_eq!(choice(&policy(&routing("other", "small"), Pintle), &none), "large", "by the domain it names");
    let missing = policy(&routing("math", "frontier"), Compat);
    assert_eq!(choice(&missing, &none), "frontier", "a model without a score has 1, and 1 means the first");
}

#[test]
fn unknown_and_learned_algorithms_act_as_static_and_say_so() {
    for kind in ["nosuch", "knn"] {
        let policy = with(&format!("type: {kind}"), Pintle);
        assert_eq!(choice(&policy, &LiveSignals::default()), "small");
        assert!(policy.notes()[0].what.contains(kind), "{:?}", policy.notes());
    }
}

#[test]
fn multi_factor_weighs_what_it_is_told_to() {
    let busy = live([
        ModelLive { in_flight: 9, tpot: flat(10.0), ..ModelLive::default() },
        ModelLive { in_flight: 0, tpot: flat(30.0), ..ModelLive::default() },
        ModelLive { in_flight: 5, tpot: flat(20.0), ..ModelLive::default() },
    ]);
    for (weights, expected) in [
        ("quality: 1", "frontier"),
        ("cost: 1", "small"),
        ("load: 1", "large"),
        ("latency: 1", "small"),
        ("quality: 0.9, cost: 0.1", "frontier"),
        ("quality: 0.1, cost: 0.9", "small"),
    ] {
        for profile in [Pintle, Compat] {
            let policy =
                with(&format!("type: multi_factor, multi_factor: {{weights: {{{weights}}}}}"), profile);
            assert_eq!(choice(&policy, &busy), expected, "{weights}");
        }
    }
}

#[test]
fn multi_factor_arithmetic() {
    let policy = with("type: multi_factor, multi_factor: {weights: {quality: 3, cost: 1}}", Pintle);
    let found = selected(&policy, &LiveSignals::default());
    // Quality 0.5, 0.75, 0.95 and prices 0.1, 1, 8, scaled between least and greatest.
    let expected = [0.25, 0.75 * (0.25 / 0.45) + 0.25 * (7.0 / 7.9), 0.75];
    for (score, expected) in found.scores.iter().zip(expected) {
        assert!(close(*score, expected), "{score} {expected}");
    }
    assert!(close(found.confidence, (expected[2] - expected[1]) / expected[2] + 0.5));
}

#[test]
fn a_factor_without_measures() {
    let weights = [0.0, 1.0, 0.0, 0.0];
    let latency = |latency| multi_factor::Measures { latency, ..multi_factor::Measures::default() };
    let some = [latency(Some(10.0)), latency(None), latency(Some(30.0))];
    let scores = |profile| {
        multi_factor::weigh(&weights, &some, profile).into_iter().map(|(s, _)| s).collect::<Vec<_>>()
    };
    assert_eq!(scores(Pintle), [1.0, 1.0, 0.0], "an unmeasured model is given the chance to be measured");
    assert_eq!(scores(Compat), [1.0, 0.0, 0.0]);
    let none = [latency(None), latency(None)];
    assert!(multi_factor::weigh(&weights, &none, Pintle).iter().all(|(s, f)| *s == 0.0 && f[1].is_none()));
    let equal = [latency(Some(5.0)), latency(Some(5.0))];
    assert!(multi_factor::weigh(&weights, &equal, Compat).iter().all(|(s, _)| *s == 0.5));
}

#[test]
fn service_level_bounds() {
    let slow = live([
        ModelLive { ttft: flat(900.0), ..ModelLive::default() },
        ModelLive { in_flight: 50, ..ModelLive::default() },
        ModelLive::default(),
    ]);
    let bounds = "slo: {max_ttft_ms: 500, max_inflight: 20, max_cost_per_1m: 5}";
    let with_bounds =
        |rest: &str, profile| with(&format!("type: multi_factor, multi_factor: {{{bounds}{rest}}}"), profile);
    let found = selected(&with_bounds("", Pintle), &slow);
    assert_eq!(
        found.reasons,
        [
            ScoreReason::DespiteSlo(SloBound::Ttft),
            ScoreReason::Slo(SloBound::InFlight),
            ScoreReason::Slo(SloBound::Cost)
        ],
        "nobody meets them"
    );
    assert_eq!(found.choice.as_deref(), Some("small"), "the cheapest remains");
    assert_eq!(choice(&with_bounds(", on_no_candidates: first", Pintle), &slow), "small");
    let refusing = with_bounds(", on_no_candidates: fail", Pintle);
    let outcome = refusing.decide(&facts("x"), None, NOW, &slow);
    assert!(matches!(outcome.verdict, Verdict::Refuse(refusal) if refusal.status == 503));
    assert_eq!(choice(&with_bounds(", on_no_candidates: fail", Compat), &slow), "small", "as v0.3.0");
    let met = live([slow.models[0], ModelLive::default(), ModelLive::default()]);
    assert_eq!(choice(&with_bounds("", Pintle), &met), "large");
}

#[test]
fn latency_aware_takes_the_fastest() {
    let policy_of = |profile| {
        with("type: latency_aware, latency_aware: {tpot_percentile: 90, ttft_percentile: 50}", profile)
    };
    let of = |tpot, ttft| ModelLive { tpot: flat(tpot), ttft: flat(ttft), ..ModelLive::default() };
    let measured = live([of(20.0, 400.0), of(10.0, 300.0), of(40.0, 200.0)]);
    // Relative latencies: (2 + 2)/2, (1 + 1.5)/2, (4 + 1)/2.
    let found = selected(&policy_of(Pintle), &measured);
    assert_eq!(found.choice.as_deref(), Some("large"));
    for (score, relative) in found.scores.iter().zip([2.0, 1.25, 2.5]) {
        assert!(close(*score, 1.0 / relative));
    }
    assert!(close(found.confidence, (2.0 - 1.25) / 1.25));
    let compat = selected(&policy_of(Compat), &measured);
    assert_eq!(compat.choice.as_deref(), Some("large"));
    assert!(close(compat.scores[1], 1.25), "v0.3.0's own scores, lower is better");
    let unmeasured = live([of(20.0, 400.0), of(10.0, 300.0), ModelLive::default()]);
    assert_eq!(choice(&policy_of(Pintle), &unmeasured), "large", "configured first among equals");
    let only_last = live([of(20.0, 400.0), ModelLive::default(), ModelLive::default()]);
    assert_eq!(choice(&policy_of(Compat), &only_last), "small");
    assert_eq!(choice(&policy_of(Pintle), &LiveSignals::default()), "small", "nothing is measured yet");
}

#[test]
fn ratings_are_win_rates() {
    let rates = elo::win_rates(&[1600.0, 1400.0]);
    assert!(close(rates[0] / rates[1], 10f64.sqrt()), "200 points are odds of √10");
    assert!(close(rates.iter().sum(), 1.0));
    let huge = elo::win_rates(&[1e6, 0.0]);
    assert!(close(huge[0], 1.0) && huge[1] >= 0.0);
    assert_eq!(choice(&with("type: elo", Pintle), &LiveSignals::default()), "frontier", "rated by quality");
    let flat = selected(&with("type: elo", Compat), &LiveSignals::default());
    assert_eq!(flat.choice.as_deref(), Some("small"), "without feedback all are equal, and the first wins");
}

#[test]
fn hybrid_of_nothing_is_uniform() {
    let compat = selected(&with("type: hybrid", Compat), &LiveSignals::default());
    assert_eq!(compat.choice.as_deref(), Some("small"), "v0.3.0's unset weights are zero");
    assert!(compat.scores.iter().all(|score| close(*score, 1.0 / 3.0)));
    let pintle = selected(&with("type: hybrid", Pintle), &LiveSignals::default());
    assert_ne!(pintle.scores[0], pintle.scores[2], "documented defaults stand in for unset weights");
}

#[test]
fn one_candidate_needs_no_selector() {
    let routing = "  decisions: [{name: d, priority: 1, rules: {operator: AND, conditions: []}, modelRefs: [{model: large}], algorithm: {type: multi_factor}}]\n";
    let found = selected(&policy(routing, Pintle), &LiveSignals::default());
    assert_eq!((found.reasons[0], found.confidence), (ScoreReason::Single, 1.0));
}

#[test]
fn images_and_tools_go_where_they_are_understood() {
    let routing = "  decisions: [{name: d, priority: 1, rules: {operator: AND, conditions: []}, modelRefs: [{model: small}, {model: frontier}]}]\n";
    let policy = policy(routing, Pintle);
    let mut request = facts("what is this?");
    request.has_image = true;
    let outcome = policy.decide(&request, None, NOW, &LiveSignals::default());
    assert_eq!(policy.target_name(outcome.verdict.route().unwrap().target), "frontier");
    assert_eq!(outcome.trace.candidates[0].reason, ScoreReason::NoVision);
    request.has_image = false;
    request.tools.definitions = 1;
    let outcome = policy.decide(&request, None, NOW, &LiveSignals::default());
    assert_eq!(policy.target_name(outcome.verdict.route().unwrap().target), "small", "all declare tools");
}

#[test]
fn percentiles_are_interpolated() {
    use crate::live::percentile_of_sorted;
    let samples = [10.0, 20.0, 30.0, 40.0];
    for (percent, value) in [(0.0, 10.0), (50.0, 25.0), (100.0, 40.0), (95.0, 38.5)] {
        assert!(close(percentile_of_sorted(&samples, percent).unwrap(), value), "{percent}");
        let kept = Latency::of_sorted(&samples).unwrap().percentile(percent);
        assert!((kept - value).abs() < 1e-4, "{percent}: {kept}");
    }
    assert_eq!(percentile_of_sorted(&[], 50.0), None);
}
