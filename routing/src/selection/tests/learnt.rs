//! Selectors that read descriptions or what feedback taught.

use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::experience::{Experience, Feedback, session_hash, user_hash};
use crate::facts::{Facts, Identity};
use crate::flow::Recorded;
use crate::learned::{Learned, Reading};
use crate::outcome::Outcome;
use crate::policy::FeedbackError;
use crate::testing::{config, inputs};
use crate::units::UnixMillis;

fn goldens() -> Value {
    serde_json::from_str(include_str!("../../../tests/goldens/selectors.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// As [`with`], all three models described.
fn described(algorithm: &str, profile: Profile) -> Policy {
    let routing = format!(
        "  decisions: [{{name: d, priority: 1, rules: {{operator: AND, conditions: []}}, modelRefs: [{{model: small}}, {{model: large}}, {{model: frontier}}], algorithm: {{{algorithm}}}}}]\n"
    );
    let mut config = config(&routing, "", profile);
    for (card, text) in config.routing.model_cards.iter_mut().zip(["quick", "broad", "deep"]) {
        card.description = text.into();
    }
    Policy::compile(&config, profile).unwrap()
}

fn similar(policy: &Policy, cosines: &[f64]) -> Outcome {
    let learned = Learned { model_similarity: Reading::Given(cosines.to_vec()), ..Learned::default() };
    let (request, live) = (facts("x"), LiveSignals::default());
    policy.decide_measured(&inputs(&request, None, &live), &learned)
}

fn scores(outcome: &Outcome) -> Vec<f64> {
    outcome.trace.candidates.iter().map(|candidate| candidate.score).collect()
}

#[test]
fn router_dc_takes_the_most_similar_description() {
    let pintle = described("type: router_dc", Pintle);
    let compat = described("type: router_dc", Compat);
    assert_eq!(pintle.descriptions(), ["quick", "broad", "deep"]);
    assert!(pintle.learned_needs().model_similarity && pintle.needs().current_user);
    for case in goldens()["router_dc"].as_array().unwrap() {
        let (cosines, likeness) = (numbers(&case["cosines"]), numbers(&case["likeness"]));
        let most = (0..3).reduce(|a, b| if cosines[b] > cosines[a] { b } else { a }).unwrap();
        let outcome = similar(&pintle, &cosines);
        if cosines[most] >= 0.3 {
            assert_eq!(outcome.trace.base_choice, Some(most));
            assert!(scores(&outcome).iter().zip(numbers(&case["pintle"])).all(|(a, b)| close(*a, b)));
        } else {
            assert_eq!(outcome.trace.base_choice, Some(0), "nothing is similar");
            let reason = outcome.trace.candidates[0].reason;
            assert_eq!(reason, ScoreReason::Unlearned(Unlearned::NothingSimilar, 1, 3));
        }
        let outcome = similar(&compat, &cosines);
        assert_eq!(outcome.trace.base_choice, Some(most));
        assert!(scores(&outcome).iter().zip(numbers(&case["compat"])).all(|(a, b)| close(*a, b)));
        let sure = if likeness[most] > 0.9 { 0.95 } else { likeness[most] };
        assert!(close(outcome.trace.selection_confidence, sure));
    }
    let missing = similar(&pintle, &[0.4]);
    assert_eq!(missing.trace.candidates[1].reason, ScoreReason::NoDescription, "too few were measured");
}

#[test]
fn descriptions_are_texts_of_the_model_cards() {
    let card = |description: &str, capabilities: &[&str]| pintle_config::ModelCard {
        name: "m".into(),
        description: description.into(),
        capabilities: capabilities.iter().map(|c| (*c).to_owned()).collect(),
        ..pintle_config::ModelCard::default()
    };
    let text = |d, c: &[&str], with| router_dc::description(&card(d, c), with);
    assert_eq!(text("fast", &["chat", "sql"], true), "fast. Capabilities: chat, sql");
    assert_eq!(text("fast", &["chat", "sql"], false), "fast");
    assert_eq!(text("", &["chat"], false), "Model: m. Capabilities: chat");
    assert_eq!(text("", &["chat"], true), "Capabilities: chat");
    assert_eq!(text("", &[], true), "");
}

#[test]
fn a_blend_hears_descriptions_only_if_it_is_asked_to() {
    let asked = described("type: hybrid, hybrid: {router_dc_weight: 1, normalize_scores: true}", Pintle);
    assert!(asked.learned_needs().model_similarity);
    assert_eq!(similar(&asked, &[0.4, 0.9, 0.5]).trace.base_choice, Some(1));
    assert!(!described("type: hybrid", Pintle).learned_needs().model_similarity);
}

fn said<'a>(winner: &'a str, loser: &'a str) -> Feedback<'a> {
    Feedback { winner, loser, tie: false, decision: "d", user: None, session: None, weight: 1.0, at: NOW }
}

#[test]
fn ratings_change_as_elos_formula_says() {
    let policy = with("type: elo, elo: {k_factor: 24, initial_rating: 1500}", Compat);
    let mut experience = Experience::default();
    for game in goldens()["elo"].as_array().unwrap() {
        let text = |key: &str| game[key].as_str().unwrap().to_owned();
        let (winner, loser) = (text("winner"), text("loser"));
        let feedback = Feedback { tie: game["tie"].as_bool().unwrap(), ..said(&winner, &loser) };
        policy.learn(&mut experience, &feedback).unwrap();
        for (name, after) in ["small", "large", "frontier"].iter().zip(numbers(&game["after"])) {
            let rating = experience.overall.ratings.get(*name).map_or(1500.0, |rating| rating.rating);
            assert!((rating - after).abs() < 1e-9, "{name}: {rating} {after}");
        }
    }
    let live = LiveSignals { experience: Arc::new(experience.clone()), ..LiveSignals::default() };
    let rating = |name: &str| experience.overall.ratings[name].rating;
    let best =
        ["small", "large", "frontier"].into_iter().reduce(|a, b| if rating(b) > rating(a) { b } else { a });
    assert_eq!(selected(&policy, &live).choice.as_deref(), best);
    let counted = experience.overall.ratings.values().map(|r| r.wins + r.losses + r.ties).sum::<u32>();
    assert_eq!(counted, experience.overall.ratings.values().map(|r| r.comparisons).sum::<u32>());
    assert_eq!(experience.decisions["d"].ratings.len(), 0, "only with category_weighted");
}

#[test]
fn ratings_of_the_decision_count_if_it_keeps_them() {
    let policy = with("type: elo, elo: {category_weighted: true}", Pintle);
    let mut experience = Experience::default();
    for _ in 0..40 {
        policy.learn(&mut experience, &said("small", "frontier")).unwrap();
    }
    assert!(experience.decisions["d"].ratings["small"].rating > 1600.0);
    let live = LiveSignals { experience: Arc::new(experience), ..LiveSignals::default() };
    let found = selected(&policy, &live);
    assert_eq!(found.choice.as_deref(), Some("small"));
    assert!(found.confidence > 0.99, "40 comparisons");
}

#[test]
fn feedback_on_what_is_not_configured_is_refused() {
    let policy = with("type: elo", Pintle);
    let mut experience = Experience::default();
    let mut refused = |feedback: Feedback<'_>| policy.learn(&mut experience, &feedback).unwrap_err();
    assert_eq!(refused(said("", "")), FeedbackError::NoModel);
    assert_eq!(refused(said("small", "small")), FeedbackError::SameModel);
    assert_eq!(refused(said("auto", "")), FeedbackError::UnknownModel("auto".into()));
    let elsewhere = Feedback { decision: "gone", ..said("small", "") };
    assert_eq!(refused(elsewhere), FeedbackError::UnknownDecision("gone".into()));
    assert!(experience.is_empty());
}

fn asked_by<'a>(user: &'a str, live: &'a LiveSignals, policy: &Policy) -> Outcome {
    let request = Facts { identity: Identity { user, groups: "" }, ..facts("x") };
    policy.decide_measured(&inputs(&request, None, live), Learned::none())
}

#[test]
fn feedback_moves_beliefs_and_exploration_is_off() {
    let policy = with("type: rl_driven", Pintle);
    let mut experience = Experience::default();
    for _ in 0..30 {
        policy.learn(&mut experience, &said("large", "small")).unwrap();
        policy
            .learn(&mut experience, &Feedback { user: Some(user_hash("ada")), ..said("frontier", "large") })
            .unwrap();
    }
    let live = LiveSignals { experience: Arc::new(experience), ..LiveSignals::default() };
    let outcome = asked_by("", &live, &policy);
    // Beta(31, 31) for large, Beta(31, 1) for frontier, Beta(1, 31) for small; price moves them a little.
    assert_eq!(outcome.trace.base_choice, Some(2));
    let expected = |alpha: f64, beta: f64, n: f64| alpha / (alpha + beta) * (1.0 + (1.0 - n) * 0.2) / 1.2;
    let price = |p: f64| (p - 0.1) / (8.0 - 0.1);
    let goal = [expected(1.0, 31.0, 0.0), expected(31.0, 31.0, price(1.0)), expected(31.0, 1.0, 1.0)];
    assert!(scores(&outcome).iter().zip(goal).all(|(a, b)| close(*a, b)), "{:?} {goal:?}", scores(&outcome));
    assert!(matches!(outcome.trace.candidates[0].reason, ScoreReason::Believed { .. }));
    let ada = asked_by("ada", &live, &policy);
    assert!(scores(&ada)[1] < scores(&outcome)[1], "to this user it lost every time");
}

#[test]
fn exploration_follows_from_the_request_and_is_told() {
    let policy = with("type: rl_driven, rl_driven: {use_thompson_sampling: true}", Pintle);
    let live = LiveSignals::default();
    let at = |now: u64| {
        let request = facts("x");
        let given = Inputs { now: UnixMillis(now), ..inputs(&request, None, &live) };
        policy.decide_measured(&given, Learned::none())
    };
    assert_eq!(at(1), at(1));
    let chosen: std::collections::BTreeSet<_> = (0..50).map(|now| at(now).trace.base_choice).collect();
    assert_eq!(chosen.len(), 3, "nothing is known, so all are tried");
    assert!(matches!(at(1).trace.candidates[0].reason, ScoreReason::Sampled { .. }));
    let now_and_then = with("type: rl_driven, rl_driven: {exploration_rate: 0.3}", Pintle);
    let request = facts("x");
    let explored = (0..1000u64).filter(|now| {
        let given = Inputs { now: UnixMillis(*now), ..inputs(&request, None, &live) };
        let outcome = now_and_then.decide_measured(&given, Learned::none());
        outcome.trace.candidates.iter().any(|candidate| candidate.reason == ScoreReason::Explored)
    });
    assert!((230..370).contains(&explored.count()));
}

#[test]
fn a_session_remembers_what_succeeded_in_it() {
    let policy = with("type: rl_driven, rl_driven: {session_context_weight: 0.9}", Pintle);
    let mut experience = Experience::default();
    let here = Feedback { session: Some(session_hash(7)), ..said("small", "") };
    policy.learn(&mut experience, &here).unwrap();
    policy.learn(&mut experience, &Feedback { session: Some(session_hash(7)), ..said("", "large") }).unwrap();
    let live = LiveSignals { experience: Arc::new(experience), ..LiveSignals::default() };
    let scores = scores(&asked_by("", &live, &policy));
    assert!(scores[0] > 0.9 && scores[1] < 0.1, "{scores:?}");
}

#[test]
fn a_user_is_known_by_what_they_preferred() {
    let policy = with("type: gmtrouter", Pintle);
    let mut experience = Experience::default();
    let ada = Some(user_hash("ada"));
    let cold = asked_by("ada", &LiveSignals::default(), &policy);
    assert_eq!(scores(&cold), [0.5, 0.75, 0.95], "declared quality until there is feedback");
    for _ in 0..2 {
        policy.learn(&mut experience, &Feedback { user: ada, ..said("small", "frontier") }).unwrap();
    }
    let live = LiveSignals { experience: Arc::new(experience.clone()), ..LiveSignals::default() };
    let outcome = asked_by("ada", &live, &policy);
    let goal = [0.3 * 0.5 + 0.7, 0.9 * 0.75, 0.3 * 0.95];
    assert!(scores(&outcome).iter().zip(goal).all(|(a, b)| close(*a, b)), "{:?}", scores(&outcome));
    assert_eq!(scores(&asked_by("bob", &live, &policy)), [0.5, 0.75, 0.95], "somebody else");
}

#[test]
fn what_was_learnt_is_recorded_and_the_decision_taken_again() {
    for algorithm in ["type: elo", "type: rl_driven", "type: gmtrouter", "type: hybrid"] {
        let policy = with(algorithm, Pintle);
        let mut experience = Experience::default();
        for (winner, loser) in [("small", "large"), ("frontier", "small"), ("small", "frontier")] {
            let feedback = Feedback {
                user: Some(user_hash("ada")),
                session: Some(session_hash(7)),
                ..said(winner, loser)
            };
            policy.learn(&mut experience, &feedback).unwrap();
            policy.learn(&mut experience, &Feedback { user: Some(user_hash("eve")), ..feedback }).unwrap();
        }
        let live = LiveSignals { experience: Arc::new(experience), ..LiveSignals::default() };
        let request = Facts { identity: Identity { user: "ada", groups: "" }, ..facts("x") };
        let given = inputs(&request, None, &live);
        let outcome = policy.decide_with(&given);
        let json = serde_json::to_string(&policy.recorded(&given, &outcome, false)).unwrap();
        assert!(!json.contains("ada"), "no id is kept");
        assert!(!json.contains(&user_hash("eve").to_string()), "nor anything of other users");
        let recorded: Recorded = serde_json::from_str(&json).unwrap();
        assert_eq!(format!("{:?}", policy.replay(&recorded)), format!("{outcome:?}"), "{algorithm}");
    }
}
