use proptest::prelude::*;

use super::*;
use crate::facts::{SessionSnapshot, ToolFacts};

const NAMES: [&str; 4] = ["small", "mid", "large", "gone"];

fn pricing(prompt: f64) -> Pricing {
    Pricing {
        prompt: UsdPerMillion(prompt),
        cached: UsdPerMillion(prompt * 0.15),
        completion: UsdPerMillion(prompt * 3.0),
    }
}

fn candidates(available: [bool; 3]) -> Vec<Candidate<'static>> {
    [0.05, 0.30, 8.0]
        .into_iter()
        .enumerate()
        .map(|(i, price)| Candidate {
            name: NAMES[i],
            base_score: 0.2 + 0.3 * i as f64,
            quality: Some(0.6 + 0.15 * i as f64),
            pricing: Some(pricing(price)),
            context_window: None,
            available: available[i],
        })
        .collect()
}

fn snapshot(model: &'static str) -> SessionSnapshot<'static> {
    SessionSnapshot {
        model,
        decision: "code",
        turns: 4,
        switches: 1,
        turns_on_model: 3,
        last_seen: UnixMillis(1_000_000),
        open_tool_loop: false,
        provider_state: false,
        last_prompt_tokens: Tokens(4_000),
        last_cached_tokens: Some(Tokens(2_500)),
        last_completion_tokens: Tokens(200),
        prompt_tokens: Tokens(12_000),
        cached_tokens: Tokens(5_000),
        completion_tokens: Tokens(800),
        demand: 0.5,
    }
}

fn input<'a>(candidates: &'a [Candidate<'a>], snapshot: Option<SessionSnapshot<'a>>) -> SessionInput<'a> {
    SessionInput {
        snapshot,
        tools: ToolFacts::default(),
        provider_state: None,
        decision: "code",
        category: "",
        candidates,
        base_choice: 2,
        demand: None,
        prompt_tokens: Tokens(5_000),
        history_tokens: Tokens(4_200),
        expected_completion: Tokens(300),
        foresight: None,
        now: UnixMillis(1_010_000),
    }
}

fn results() -> ToolFacts {
    ToolFacts { definitions: 2, calls: 1, results: 1, last_is_result: true, ..ToolFacts::default() }
}

#[test]
fn a_tool_loop_holds_through_idleness_drift_and_any_price() {
    let all = candidates([true; 3]);
    for model in ["small", "mid", "large"] {
        for price in [0.0, 0.05, 1e6] {
            let params = SessionParams { shortfall_price: Some(Usd(price)), ..SessionParams::default() };
            let mut turn = input(&all, Some(snapshot(model)));
            turn.tools = results();
            turn.decision = "another";
            turn.now = UnixMillis(1_000_000 + 90_000_000);
            turn.demand = Some(1.0);
            let verdict = decide(&params, &turn);
            assert_eq!(verdict.index().map(|i| all[i].name), Some(model));
            assert_eq!(verdict.action, SessionAction::Held);
            assert_eq!(verdict.hard_lock, Some(LockKind::ToolLoop));
            assert_eq!(verdict.reset, Some(ResetKind::Idle));
        }
    }
}

#[test]
fn a_loop_goes_on_until_a_model_has_seen_the_results() {
    let user_after =
        ToolFacts { calls: 1, results: 1, last_is_user_after_result: true, ..ToolFacts::default() };
    let partial =
        ToolFacts { calls: 2, results: 1, unanswered: 1, last_is_result: true, ..ToolFacts::default() };
    for tools in [results(), user_after, partial] {
        assert!(lock::continues_tool_loop(&tools), "{tools:?}");
    }
}

#[test]
fn neither_an_abandoned_call_nor_another_conversations_loop_holds_a_turn() {
    let open = SessionSnapshot { open_tool_loop: true, ..snapshot("small") };
    let abandoned = ToolFacts { calls: 3, results: 1, unanswered: 2, ..ToolFacts::default() };
    let long_answered = ToolFacts { calls: 2, results: 2, ..ToolFacts::default() };
    let compacted = ToolFacts::default();
    for tools in [abandoned, long_answered, compacted] {
        assert_eq!(lock::held(Some(&open), &tools, None), None, "{tools:?}");
        let state = ProviderStateRef { owner: None };
        assert_eq!(lock::held(Some(&open), &tools, Some(&state)), Some((LockKind::ProviderState, "small")));
    }
}

#[test]
fn provider_state_goes_to_the_target_that_made_it() {
    let all = candidates([true; 3]);
    let mut turn = input(&all, Some(snapshot("large")));
    turn.provider_state = Some(ProviderStateRef { owner: Some("small") });
    for tools in [ToolFacts::default(), results()] {
        turn.tools = tools;
        let verdict = decide(&SessionParams::default(), &turn);
        assert_eq!(verdict.index(), Some(0));
        assert_eq!(verdict.hard_lock, Some(LockKind::ProviderState));
    }
    turn.tools = ToolFacts::default();
    turn.provider_state = Some(ProviderStateRef { owner: None });
    assert_eq!(decide(&SessionParams::default(), &turn).index(), Some(2));
}

#[test]
fn state_that_the_request_does_not_refer_to_holds_nothing() {
    let all = candidates([true; 3]);
    let kept = SessionSnapshot { provider_state: true, ..snapshot("small") };
    let verdict = decide(&SessionParams::default(), &input(&all, Some(kept)));
    assert_eq!(verdict.hard_lock, None);
    assert_eq!(verdict.phase, SessionPhase::UserTurn);
}

#[test]
fn a_lock_on_a_missing_model_is_said_and_not_hidden() {
    for (model, available, cause) in [
        ("gone", [true; 3], MissingCause::NotACandidate),
        ("large", [true, true, false], MissingCause::Unavailable),
    ] {
        let all = candidates(available);
        let mut turn = input(&all, Some(snapshot(model)));
        turn.tools = results();
        let verdict = decide(&SessionParams::default(), &turn);
        let Choice::LockedModelMissing { lock, cause: said, on_missing, release_to } = verdict.choice else {
            panic!("{:?}", verdict.choice);
        };
        assert_eq!((lock, said, on_missing), (LockKind::ToolLoop, cause, OnMissingModel::Release));
        assert!(release_to.is_some_and(|i| all[i].available));
        assert_eq!(verdict.action, SessionAction::Breached);

        turn.tools = ToolFacts::default();
        turn.provider_state = Some(ProviderStateRef { owner: None });
        let verdict = decide(&SessionParams::default(), &turn);
        assert!(matches!(
            verdict.choice,
            Choice::LockedModelMissing { on_missing: OnMissingModel::Refuse, .. }
        ));
    }
}

#[test]
fn no_candidate_is_an_answer() {
    let none = candidates([false; 3]);
    assert_eq!(decide(&SessionParams::default(), &input(&none, None)).choice, Choice::NoCandidate);
    for profile in [SessionProfile::Pintle, SessionProfile::Compat] {
        let params = SessionParams { profile, ..SessionParams::default() };
        assert_eq!(decide(&params, &input(&[], None)).choice, Choice::NoCandidate);
    }
}

#[test]
fn the_price_decides_how_well_a_hard_turn_is_served() {
    let all = candidates([true; 3]);
    let choice = |price: f64| {
        let params = SessionParams { shortfall_price: Some(Usd(price)), ..SessionParams::default() };
        let turn = SessionInput { demand: Some(0.95), ..input(&all, Some(snapshot("small"))) };
        decide(&params, &turn).index()
    };
    assert_eq!(choice(0.0), Some(0));
    assert_eq!(choice(10.0), Some(2));
}

#[test]
fn a_small_gain_does_not_pay_for_a_cold_prefix() {
    let mut all = candidates([false, true, true]);
    all[1].pricing = Some(pricing(7.5));
    let mut turn = input(&all, Some(snapshot("large")));
    turn.prompt_tokens = Tokens(60_000);
    turn.history_tokens = Tokens(59_000);
    turn.demand = Some(0.5);
    let verdict = decide(&SessionParams::default(), &turn);
    assert_eq!((verdict.index(), verdict.action), (Some(2), SessionAction::Stayed));
    assert!(verdict.trace.candidates[1].rebuild.get() > 0.0);
}

#[test]
fn a_turn_goes_where_it_fits() {
    let mut all = candidates([true; 3]);
    all[0].context_window = Some(Tokens(4_096));
    all[1].context_window = Some(Tokens(4_096));
    let turn = SessionInput { demand: Some(0.1), ..input(&all, Some(snapshot("small"))) };
    assert_eq!(decide(&SessionParams::default(), &turn).index(), Some(2));
}

#[test]
fn unpriced_candidates_are_ordered_by_quality_and_still_told_apart() {
    let mut all = candidates([true; 3]);
    for candidate in &mut all {
        candidate.pricing = None;
    }
    let turn = |demand| SessionInput { demand: Some(demand), ..input(&all, None) };
    let choice = |demand| decide(&SessionParams::default(), &turn(demand)).index();
    assert_eq!(choice(0.05), Some(0));
    assert_eq!(choice(0.99), Some(2));
}

#[test]
fn demand_follows_the_base_selector() {
    let all = candidates([true; 3]);
    let market = market::Market::of(&all, &[]);
    for favourite in 0..3 {
        let mut scored = all.clone();
        scored[favourite].base_score = 1.0;
        assert_eq!(market.tier(market.demand(&scored, favourite)), favourite);
    }
    let lean = |upper: f64| {
        let mut scored = all.clone();
        (scored[0].base_score, scored[1].base_score, scored[2].base_score) = (0.1, 0.9, upper);
        market.demand(&scored, 1)
    };
    assert!(lean(0.85) > lean(0.3));
}

#[test]
fn compat_repeats_v03_and_says_so() {
    let all = candidates([true; 3]);
    let params = SessionParams { profile: SessionProfile::Compat, ..SessionParams::default() };
    let mut turn = input(&all, Some(snapshot("small")));
    turn.tools = results();
    let verdict = decide(&params, &turn);
    assert_eq!(verdict.hard_lock, Some(LockKind::ToolLoop));
    assert_eq!(verdict.trace.reason, "hard_lock=tool_loop");
    // v0.3.0 lets the base selector choose as soon as the session's model is no candidate, even in a tool loop.
    let turn = SessionInput { snapshot: Some(snapshot("gone")), ..turn };
    assert_eq!(decide(&params, &turn).choice, Choice::Model(2));
}

prop_compose! {
    fn any_turn()(
        model in 0usize..4, tools in any::<[bool; 3]>(), calls in 0u32..4, results in 0u32..4, open in any::<bool>(),
        owner in proptest::option::of(proptest::option::of(0usize..4)), available in any::<[bool; 3]>(),
        idle in 0u64..100_000_000, drift in any::<bool>(), demand in proptest::option::of(-0.5f64..1.5),
        prompt in 0u64..2_000_000, price in proptest::option::of(0.0f64..100.0), first in any::<bool>(),
        old in -1.0f32..1.0, thresholds in proptest::collection::vec(0.0f64..1.0, 0..4),
    ) -> (SessionParams, SessionInput<'static>) {
        let all: &'static [Candidate<'static>] = candidates(available).leak();
        let before = SessionSnapshot { open_tool_loop: open, demand: old, ..snapshot(NAMES[model]) };
        let mut turn = input(all, (!first).then_some(before));
        turn.tools = ToolFacts {
            definitions: 1, calls, results, unanswered: calls.saturating_sub(results),
            last_is_result: tools[0], last_is_user_after_result: tools[1],
        };
        turn.provider_state = owner.map(|owner| ProviderStateRef { owner: owner.map(|i| NAMES[i]) });
        turn.now = UnixMillis(1_000_000 + idle);
        turn.decision = if drift { "another" } else { "code" };
        turn.demand = demand;
        turn.prompt_tokens = Tokens(prompt);
        let mut sorted = thresholds;
        sorted.sort_by(f64::total_cmp);
        let params = SessionParams {
            shortfall_price: price.map(Usd), tier_thresholds: sorted, ..SessionParams::default()
        };
        (params, turn)
    }
}

proptest! {
    #[test]
    fn a_lock_is_kept_or_reported(case in any_turn()) {
        let (params, turn) = case;
        let verdict = decide(&params, &turn);
        let held = lock::held(turn.snapshot.as_ref(), &turn.tools, turn.provider_state.as_ref());
        if let Some((kind, model)) = held {
            prop_assert_eq!(verdict.hard_lock, Some(kind));
            match verdict.choice {
                Choice::Model(i) => prop_assert_eq!(turn.candidates[i].name, model),
                Choice::LockedModelMissing { .. } => {
                    prop_assert!(!turn.candidates.iter().any(|c| c.name == model && c.available));
                }
                Choice::NoCandidate => prop_assert!(false, "a lock was dropped"),
            }
        }
        if let Some(i) = verdict.index() {
            prop_assert!(turn.candidates[i].available);
        }
    }

    #[test]
    fn verdicts_repeat_and_their_numbers_add_up(case in any_turn()) {
        let (params, turn) = case;
        let verdict = decide(&params, &turn);
        prop_assert_eq!(&verdict, &decide(&params, &turn));
        prop_assert!((0.0..=1.0).contains(&verdict.confidence));
        prop_assert!((0.0..=1.0).contains(&f64::from(verdict.demand)));
        for c in &verdict.trace.candidates {
            let sum = c.prompt.get() + c.cached.get() + c.completion.get() + c.shortfall.get() + c.switch.get()
                + c.future.get();
            prop_assert!((sum - c.total.get()).abs() <= 1e-9 * sum.abs().max(1.0));
            prop_assert!(c.total.get().is_finite() && (0.0..=1.0).contains(&c.adjusted_score));
        }
        let names: Vec<&str> = turn.candidates.iter().map(|candidate| candidate.name).collect();
        prop_assert!(!describe(&verdict.trace, &names, None).is_empty());
    }
}
