use pintle_config::Config;
use pintle_config::Profile::{self, Compat, Pintle};
use proptest::prelude::*;

use super::*;
use crate::ids::DecisionId;
use crate::policy::Policy;
use crate::testing::config;

/// Three models of 70b, 8b and 500m, in this order.
fn policy(algorithm: &str, profile: Profile) -> Policy {
    Policy::compile(&config_of(algorithm, profile), profile).unwrap()
}

fn config_of(algorithm: &str, profile: Profile) -> Config {
    let routing = format!(
        "  decisions: [{{name: d, priority: 1, rules: {{operator: AND, conditions: []}}, modelRefs: [{{model: small}}, {{model: large}}, {{model: frontier}}], algorithm: {{{algorithm}}}}}]\n"
    );
    let mut config = config(&routing, "", profile);
    for (card, size) in config.routing.model_cards.iter_mut().zip(["70b", "8B", "500m"]) {
        card.param_size = size.into();
    }
    config
}

fn plan(algorithm: &str, profile: Profile) -> Plan {
    policy(algorithm, profile).looper(DecisionId(0)).expect("a plan").clone()
}

fn models(calls: &[Call]) -> Vec<u16> {
    calls.iter().map(|call| call.target.model.0).collect()
}

fn all(run: &mut Run<'_>) -> Vec<Call> {
    std::iter::from_fn(|| run.next_call()).collect()
}

fn sure(logprob: f64) -> Answered {
    let logprobs = Logprobs { average: logprob, ..Logprobs::default() };
    Answered { content: "an answer".into(), logprobs: Some(logprobs), ..Answered::default() }
}

fn text(content: &str) -> Answered {
    Answered { content: content.into(), ..Answered::default() }
}

fn choices(run: &Run<'_>) -> Vec<usize> {
    match run.conclusion() {
        Some(Conclusion::Answer { choices, .. }) => choices.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_least_model_is_asked_first_and_the_first_sure_answer_is_taken() {
    let plan = plan("type: confidence", Pintle);
    let mut run = plan.begin("why?");
    let calls = all(&mut run);
    assert_eq!(models(&calls), [2], "500m");
    assert_eq!(calls[0].ask, Ask::Original { top_logprobs: Some(1), temperature: None });
    run.answered(0, sure(-1.5));
    assert_eq!(run.confidence(0), Some(0.5));
    assert_eq!(models(&all(&mut run)), [1], "8b, for 0.5 is below 0.75");
    run.answered(1, sure(-0.3));
    assert_eq!((choices(&run), run.iterations()), (vec![1], 2));
    assert!(run.next_call().is_none());
}

#[test]
fn an_answer_of_unknown_confidence_is_not_accepted_but_the_last_one_stands() {
    let asked = |profile| {
        let plan = plan("type: confidence", profile);
        let mut run = plan.begin("why?");
        while let Some(call) = run.next_call() {
            run.answered(call.id, text("no log probabilities"));
        }
        (run.iterations(), choices(&run))
    };
    assert_eq!(asked(Pintle), (3, vec![2]));
    assert_eq!(asked(Compat), (1, vec![0]), "v0.3.0 accepts anything");
}

#[test]
fn order_is_by_size_price_or_value() {
    let order = |order: &str| {
        let plan = plan(&format!("type: confidence, confidence: {{escalation_order: {order}}}"), Pintle);
        plan.targets().iter().map(|target| target.model.0).collect::<Vec<_>>()
    };
    assert_eq!(order("size"), [2, 1, 0]);
    assert_eq!(order("cost"), [0, 1, 2]);
    // 0.7·quality + 0.3·cheapness: 0.65, 0.525 + 0.266, 0.665.
    assert_eq!(order("automix"), [0, 2, 1]);
    for (text, size) in [
        ("7B", 7000.0),
        ("1.5", 1500.0),
        ("350m", 350.0),
        ("500k", 0.0),
        ("2000k", 2.0),
        ("big", 0.0),
        ("", 0.0),
        ("1e3b", 0.0),
        ("7bb", 0.0),
    ] {
        assert_eq!(compile::millions(text), size, "{text:?}");
    }
}

#[test]
fn confidence_follows_the_formulas() {
    let measure = |method, tokens, logprobs: Logprobs| {
        Confidence { method, threshold: 0.5, tokens }.measure(Some(&logprobs), Pintle)
    };
    let all = TokenFilter::All;
    let given = |average, margin| Logprobs { average, margin: Some(margin), ..Logprobs::default() };
    assert_eq!(measure(Method::AverageLogprob, all, given(-9.0, 0.0)), Some(0.0));
    let close =
        |found: Option<f64>, goal: f64| assert!((found.unwrap() - goal).abs() < 1e-12, "{found:?} {goal}");
    close(measure(Method::AverageLogprob, all, given(-0.6, 0.0)), 0.8);
    close(measure(Method::Margin, all, given(0.0, 3.0)), 1.0 - (-1f64).exp());
    let hybrid = Method::Hybrid { logprob: 0.25, margin: 0.75 };
    close(measure(hybrid, all, given(-1.5, 3.0)), 0.125 + 0.75 * (1.0 - (-1f64).exp()));
    let filtered = Logprobs { filtered_average: Some(-0.3), ..given(-3.0, 0.0) };
    close(measure(Method::AverageLogprob, TokenFilter::ToolCallArguments, filtered), 0.9);
    assert_eq!(measure(Method::AverageLogprob, all, filtered), Some(0.0));
    let no_margin = Logprobs { average: -0.1, ..Logprobs::default() };
    assert_eq!(measure(Method::Margin, all, no_margin), None);
    assert_eq!(measure(Method::AverageLogprob, all, given(f64::NAN, 0.0)), None);
}

#[test]
fn a_model_judges_its_own_answer() {
    let plan = plan("type: confidence, confidence: {confidence_method: self_verify}", Pintle);
    let mut run = plan.begin("why?");
    assert_eq!(run.next_call().unwrap().ask, Ask::Original { top_logprobs: None, temperature: None });
    run.answered(0, text("because"));
    let judge = run.next_call().unwrap();
    assert_eq!(judge.target.model.0, 2, "the same model");
    let Ask::Verification { prompt } = &judge.ask else { panic!("{judge:?}") };
    assert!(prompt.contains("why?") && prompt.contains("because"));
    run.answered(1, text(r#"Sure: {"confidence": 0.4, "reason": "short"}"#));
    assert_eq!(run.confidence(0), Some(0.4));
    assert_eq!(run.next_call().unwrap().target.model.0, 1);
    run.answered(2, text("because of that"));
    let judge = run.next_call().unwrap();
    run.failed(judge.id, "timeout");
    assert_eq!(run.confidence(2), None, "unjudged, so not accepted");
    assert_eq!(run.next_call().unwrap().target.model.0, 0);
    run.answered(4, text("certainly"));
    let judge = run.next_call().unwrap();
    run.answered(judge.id, text("0.9"));
    assert_eq!(choices(&run), [4]);
}

#[test]
fn a_verifier_is_asked_about_the_answer() {
    let plan = plan(
        "type: confidence, confidence: {confidence_method: automix_entailment, verifier_server_url: 'http://v', on_error: fail}",
        Pintle,
    );
    let mut run = plan.begin("why?");
    let first = run.next_call().unwrap();
    run.answered(first.id, text("because"));
    let judge = run.next_call().unwrap();
    assert_eq!(
        judge.ask,
        Ask::Entailment { question: "why?".into(), answer: "because".into(), threshold: 0.7 }
    );
    run.failed(judge.id, "refused");
    assert!(matches!(run.conclusion(), Some(Conclusion::Failed { .. })), "on_error: fail");
}

#[test]
fn judgements_are_read_from_what_models_write() {
    for (text, expected) in [
        (r#"{"confidence": 0.8, "reason": "x"}"#, Some(0.8)),
        (r#"Here: {"confidence": 1} ok"#, Some(1.0)),
        (r#"{"reason": "none"}"#, Some(0.0)),
        (r#"{"confidence": "high"}"#, None),
        ("I would say 0.75.", Some(0.75)),
        ("about 80 percent", None),
        ("0.75 out of 1", Some(0.75)),
        ("Confidence: 1.", Some(1.0)),
        ("no idea", None),
        ("} {", None),
    ] {
        for profile in [Pintle, Compat] {
            let read = Judgement::read(text, profile).map(|judged| judged.confidence);
            assert_eq!(read, expected, "{profile:?}, {text:?}");
        }
    }
    // Of ten, or of a hundred, is not what was asked for, and nobody is sure by mistake.
    for text in [r#"{"confidence": 1.7}"#, r#"{"confidence": 10}"#, "1 out of 10", "1/10", "1%", "1 percent"]
    {
        assert!(Judgement::read(text, Pintle).is_none(), "{text:?}");
        assert_eq!(Judgement::read(text, Compat).map(|judged| judged.confidence), Some(1.0), "{text:?}");
    }
}

/// A judge may be sure of its words and say nothing of the answer.
#[test]
fn a_judge_s_own_tokens_are_no_judgement() {
    let judged = |profile| {
        let plan = plan("type: confidence, confidence: {confidence_method: self_verify}", profile);
        let mut run = plan.begin("why?");
        let asked = run.next_call().unwrap();
        run.answered(asked.id, text("because"));
        let judge = run.next_call().unwrap();
        let logprobs = Some(Logprobs { average: -0.01, ..Logprobs::default() });
        run.answered(judge.id, Answered { logprobs, ..text("That is wrong.") });
        run.confidence(0)
    };
    assert_eq!(judged(Pintle), None);
    assert!(judged(Compat).is_some_and(|sure| sure > 0.99), "as in v0.3.0");
}

#[test]
fn ratings_ask_everybody_and_keep_every_answer() {
    let plan = plan("type: ratings, ratings: {max_concurrent: 2}", Pintle);
    let mut run = plan.begin("why?");
    assert_eq!(models(&all(&mut run)), [0, 1], "two at once");
    run.failed(1, "down");
    assert_eq!(models(&all(&mut run)), [2]);
    run.answered(2, text("c"));
    assert!(run.conclusion().is_none());
    run.answered(0, text("a"));
    assert_eq!(choices(&run), [0, 2], "in configured order, whoever was first");
}

#[test]
fn a_failure_ends_the_run_if_it_is_to() {
    let plan = plan("type: ratings, ratings: {on_error: fail}", Pintle);
    let mut run = plan.begin("why?");
    all(&mut run);
    run.failed(1, "down");
    assert!(matches!(run.conclusion(), Some(Conclusion::Failed { reason }) if reason.contains("down")));
    run.answered(0, text("late"));
    assert!(matches!(run.conclusion(), Some(Conclusion::Failed { .. })));
}

#[test]
fn rounds_see_the_answers_before_them() {
    let plan = plan(
        "type: remom, remom: {breadth_schedule: [3, 2], include_reasoning: true, temperature: 0.7, compaction_strategy: last_n_tokens, compaction_tokens: 2}",
        Pintle,
    );
    let mut run = plan.begin("why?");
    let calls = all(&mut run);
    let mut asked = models(&calls);
    asked.sort_unstable();
    assert_eq!(asked, [0, 1, 2]);
    assert_eq!(calls[0].ask, Ask::Original { top_logprobs: None, temperature: Some(0.7) });
    run.answered(0, Answered { reasoning: "thinking".into(), ..text("0123456789") });
    run.failed(1, "down");
    run.answered(2, text("ü23456789"));
    let second = all(&mut run);
    assert_eq!(second.len(), 2);
    let Ask::Synthesis { prompt, .. } = &second[0].ask else { panic!("{second:?}") };
    for part in ["why?", "Reference 1", "Reference 2", "thinking", "23456789"] {
        assert!(prompt.contains(part), "{part}: {prompt}");
    }
    assert!(!prompt.contains("0123456789") && !prompt.contains('ü'), "only the last eight bytes");
    run.answered(3, text("x"));
    run.answered(4, text("longer"));
    let last = all(&mut run);
    assert_eq!(last.len(), 1, "a round of one follows");
    run.answered(5, text("the end"));
    assert_eq!((choices(&run), run.iterations()), (vec![5], 6));
}

#[test]
fn a_round_without_answers_fails() {
    let plan = plan("type: remom, remom: {breadth_schedule: [2]}", Pintle);
    let mut run = plan.begin("why?");
    for call in all(&mut run) {
        run.failed(call.id, "down");
    }
    assert!(matches!(run.conclusion(), Some(Conclusion::Failed { .. })));
}

#[test]
fn calls_are_bounded_however_many_are_configured() {
    let plan = plan("type: remom, remom: {breadth_schedule: [1000000, 9]}", Pintle);
    let mut run = plan.begin("why?");
    let mut made = 0;
    while let Some(call) = run.next_call() {
        made += 1;
        run.answered(call.id, text("x"));
    }
    assert_eq!(made, MAX_CALLS);
    assert_eq!(choices(&run), [MAX_CALLS - 1]);
}

#[test]
fn templates_are_filled_in_once() {
    let template = "'Q={{question}} A={{ answers }} {{other}} {{open'";
    let plan = plan(
        &format!("type: remom, remom: {{breadth_schedule: [1], synthesis_template: {template}}}"),
        Pintle,
    );
    let mut run = plan.begin("{{answers}}?");
    run.next_call();
    run.answered(0, text("{{question}}"));
    let Ask::Synthesis { prompt, .. } = run.next_call().unwrap().ask else { panic!() };
    assert_eq!(prompt, "Q={{answers}}? A=Reference 1:\n{{question}}\n\n {{other}} {{open");
}

#[test]
fn only_loopers_have_a_plan_and_only_with_enough_candidates() {
    for algorithm in ["type: static", "type: elo", "type: nosuch"] {
        assert_eq!(policy(algorithm, Pintle).looper(DecisionId(0)), None);
    }
    let routing = |kind: &str| {
        format!(
            "  decisions: [{{name: d, priority: 1, rules: {{operator: AND, conditions: []}}, modelRefs: [{{model: small}}], algorithm: {{type: {kind}}}}}]\n"
        )
    };
    let of = |kind: &str| {
        let policy = crate::testing::policy(&routing(kind), Pintle);
        let said = policy.notes().iter().any(|note| note.what.contains("too few candidates"));
        let asks = policy.looper(DecisionId(0)).is_some();
        assert_ne!(asks, said, "{:?}", policy.notes());
        asks
    };
    assert!(!of("confidence") && !of("ratings") && of("remom"));
}

#[test]
fn without_an_endpoint_no_decision_asks_several() {
    let mut config = config_of("type: remom", Pintle);
    config.global.integrations.looper.endpoint.clear();
    let policy = Policy::compile(&config, Pintle).unwrap();
    assert!(policy.looper(DecisionId(0)).is_none());
    assert!(policy.notes()[0].what.contains("switches calls of several models off"), "{:?}", policy.notes());
}

#[test]
fn calls_are_told_by_round() {
    let plan = plan("type: remom, remom: {breadth_schedule: [3, 2]}", Pintle);
    assert!(!plan.shows_rounds(), "a block that does not ask for them");
    let mut run = plan.begin("why?");
    while run.conclusion().is_none() {
        for call in all(&mut run) {
            run.answered(call.id, text("because"));
        }
    }
    assert_eq!(run.rounds().collect::<Vec<_>>(), [0..3, 3..5, 5..6]);
}

#[test]
fn time_that_is_over_leaves_what_is_there() {
    let plan = plan("type: ratings", Pintle);
    let mut run = plan.begin("why?");
    all(&mut run);
    run.answered(2, text("c"));
    run.give_up("The time is over.");
    assert_eq!(choices(&run), [2]);
    let mut silent = plan.begin("why?");
    silent.give_up("The time is over.");
    assert!(matches!(silent.conclusion(), Some(Conclusion::Failed { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    /// Whatever fails, and in whatever order calls end, a run ends after a bounded number of calls, never has more
    /// of them in flight than it may, and answers only with what was answered.
    #[test]
    fn every_run_ends(
        algorithm in prop::sample::select(vec![
            "type: confidence",
            "type: confidence, confidence: {confidence_method: self_verify}",
            "type: ratings, ratings: {max_concurrent: 2}",
            "type: remom, remom: {breadth_schedule: [5, 2], max_concurrent: 3}",
            "type: remom, remom: {breadth_schedule: [2], on_error: fail}",
        ]),
        ends in prop::collection::vec((0usize..8, any::<bool>(), -3.0f64..0.0), 0..200),
    ) {
        let plan = plan(algorithm, Pintle);
        let mut run = plan.begin("why?");
        let mut flying: Vec<Call> = Vec::new();
        let mut failed = std::collections::HashSet::new();
        let mut ends = ends.into_iter().chain(std::iter::repeat((0, true, -1.0)));
        loop {
            flying.extend(all(&mut run));
            prop_assert!(flying.len() <= plan.concurrency);
            if flying.is_empty() {
                break;
            }
            let (which, answers, logprob) = ends.next().unwrap();
            let call = flying.remove(which % flying.len());
            if answers {
                run.answered(call.id, sure(logprob));
            } else {
                failed.insert(call.id);
                run.failed(call.id, "down");
            }
        }
        prop_assert!(run.conclusion().is_some() && run.iterations() <= MAX_CALLS);
        if let Some(Conclusion::Answer { choices, .. }) = run.conclusion() {
            prop_assert!(!choices.is_empty());
            prop_assert!(choices.iter().all(|id| run.answer(*id).is_some() && !failed.contains(id)));
        }
    }
}
