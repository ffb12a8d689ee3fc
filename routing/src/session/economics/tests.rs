use super::demand::{Asked, DemandHabits};
use super::outlook::{DemandAt, Growth, Outlook, above};
use super::phases::{Context, Kind, PhaseHabits};
use super::*;
use crate::units::UsdPerMillion;

fn prices() -> Vec<Pricing> {
    [(0.05, 0.01, 0.10), (0.30, 0.06, 0.60), (8.0, 1.2, 24.0)]
        .into_iter()
        .map(|(prompt, cached, completion)| Pricing {
            prompt: UsdPerMillion(prompt),
            cached: UsdPerMillion(cached),
            completion: UsdPerMillion(completion),
        })
        .collect()
}

fn outlook(locked: f64, demand: f64) -> Outlook {
    let growth = Growth { prompt: 5_000.0, history: 4_200.0, per_turn: 500.0, completion: 300.0 };
    let at = DemandAt { free: demand, held: demand, deviation: 0.05, locked };
    Outlook::new([at; HORIZON], &[0.55, 0.78], &growth, 1e9)
}

fn now(tier: usize) -> Now {
    Now {
        prompt: 5_000.0,
        history: 4_200.0,
        completion: 300.0,
        tier,
        phase: SessionPhase::UserTurn,
        freshness: 1.0,
        measured_share: None,
    }
}

/// The definition of the value, without any of the sharing that `values` does.
fn naive(models: &[Pricing], terms: &Terms, steps: &[Step], m: usize) -> f64 {
    let Some((step, rest)) = steps.split_first() else { return 0.0 };
    let last = models.len() - 1;
    let cost = |a: usize, phase, switched| {
        let share = terms.cache.share(phase, step.history, a == last, switched);
        token_cost(&models[a], step.prompt, share, step.completion).total()
    };
    let below = |a: usize, tier: usize| if a < tier { terms.shortfall_price } else { 0.0 };
    let mut locked = cost(m, SessionPhase::ToolLoop, false) + naive(models, terms, rest, m);
    locked += terms.shortfall_price * step.held.get(m).copied().unwrap_or(0.0);
    let mut free = 0.0;
    for tier in 0..models.len() {
        let reach = |t: usize| if t == 0 { 1.0 } else { step.free.get(t - 1).copied().unwrap_or(0.0) };
        let p = reach(tier) - if tier < last { reach(tier + 1) } else { 0.0 };
        let least = (0..models.len())
            .map(|a| {
                let handoff = if a == m { 0.0 } else { terms.switch_price };
                cost(a, SessionPhase::UserTurn, a != m)
                    + below(a, tier)
                    + handoff
                    + naive(models, terms, rest, a)
            })
            .fold(f64::INFINITY, f64::min);
        free += p * least;
    }
    step.comes * (step.locked * locked + (1.0 - step.locked) * free)
}

#[test]
fn values_are_the_definition() {
    let models = prices();
    for locked in [0.0, 0.3, 1.0] {
        for demand in [0.3, 0.6, 0.77, 0.9] {
            let terms = Terms::at(0.05);
            let mut outlook = outlook(locked, demand);
            outlook.steps.truncate(4);
            for (m, value) in values(&models, &terms, &outlook, |_| true).iter().enumerate() {
                let expected = naive(&models, &terms, &outlook.steps, m);
                assert!((value - expected).abs() < 1e-12, "{value} {expected}");
            }
        }
    }
}

#[test]
fn a_coming_tool_loop_is_prepared_for() {
    let models = prices();
    let terms = Terms::at(0.06);
    let choose = |outlook: &Outlook| {
        let plan = plan(&models, &terms, &now(1), outlook, Some(1), |_| true);
        cheapest(&plan, Some(1), |_| true)
    };
    assert_eq!(choose(&outlook(0.0, 0.5)), Some(1));
    assert_eq!(choose(&outlook(1.0, 0.95)), Some(2));
}

#[test]
fn an_idle_pause_makes_the_current_model_no_warmer_than_another() {
    let models = prices();
    let terms = Terms::at(0.05);
    let cost = |freshness| {
        let turn = Now { freshness, ..now(2) };
        plan(&models, &terms, &turn, &outlook(0.3, 0.8), Some(2), |_| true)[2].tokens.total()
    };
    assert!(cost(0.1) > cost(1.0));
}

#[test]
fn the_default_price_scales_with_the_models_prices() {
    let models = prices();
    let dearer: Vec<Pricing> = models
        .iter()
        .map(|m| Pricing {
            prompt: UsdPerMillion(m.prompt.get() * 10.0),
            cached: UsdPerMillion(m.cached.get() * 10.0),
            completion: UsdPerMillion(m.completion.get() * 10.0),
        })
        .collect();
    let (one, ten) = (default_shortfall_price(&models), default_shortfall_price(&dearer));
    assert!((ten - 10.0 * one).abs() < 1e-12);
    assert!((one - 0.051_22).abs() < 1e-9, "{one}");
    assert_eq!(default_shortfall_price(&models[..1]), 0.0);
}

#[test]
fn the_normal_tail_is_right() {
    for (z, p) in [(0.0, 0.5), (1.0, 0.158_655_254), (-1.0, 0.841_344_746), (3.0, 0.001_349_898)] {
        assert!((above(z) - p).abs() < 1e-7, "{z}");
    }
}

fn learn(habits: &mut PhaseHabits, kinds: &[Kind]) -> Context {
    kinds.iter().fold(Context::default(), |context, kind| {
        habits.learn(context, *kind);
        context.push(*kind)
    })
}

#[test]
fn a_repeated_pattern_becomes_certain() {
    use Kind::{Tool, User};
    let mut habits = PhaseHabits::default();
    let pattern: Vec<Kind> = [User, User, Tool, Tool, User].repeat(6);
    for _ in 0..8 {
        learn(&mut habits, &pattern);
    }
    let start = [User, User].iter().fold(Context::default(), |c, k| c.push(*k));
    let ahead = habits.ahead(start, 4);
    for (p, kind) in ahead.iter().zip([Tool, Tool, User, User]) {
        assert!(p[kind as usize] > 0.8, "{kind:?} {p:?}");
        assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
}

#[test]
fn crowds_of_like_sessions_do_not_speak_for_what_nobody_has_seen() {
    let mut habits = PhaseHabits::default();
    // A thousand sessions, all at their first two turns.
    for _ in 0..1000 {
        learn(&mut habits, &[Kind::User, Kind::User]);
    }
    let start = Context::default().push(Kind::User).push(Kind::User);
    assert!(habits.next(start)[Kind::Tool as usize] > 0.05, "{:?}", habits.next(start));
}

#[test]
fn a_level_is_held_before_and_a_course_is_known_after_learning() {
    let asked = |demand| Asked { demand, special: 0.0 };
    let mut habits = DemandHabits::default();
    let flat = habits.forecast(3, &[asked(0.7); 3], &[0.0; HORIZON]);
    assert!((habits.mix(&flat, 0).ordinary - 0.7).abs() < 0.05);

    let course = [0.2, 0.4, 0.6, 0.8, 0.6, 0.4, 0.2, 0.4, 0.6, 0.8];
    for _ in 0..40 {
        let mut past: Vec<Asked> = Vec::new();
        let mut forecasts = Vec::new();
        for (turn, demand) in course.into_iter().enumerate() {
            habits.learn(turn, &past, &forecasts, asked(demand));
            past.push(asked(demand));
            if past.len() > HORIZON {
                past.remove(0);
            }
            forecasts.push(habits.forecast(turn + 1, &past, &[0.0; HORIZON]));
        }
    }
    let past = [asked(0.2), asked(0.4), asked(0.6)];
    let forecast = habits.forecast(3, &past, &[0.0; HORIZON]);
    assert!((habits.mix(&forecast, 0).ordinary - 0.8).abs() < 0.05);
    assert!((habits.mix(&forecast, 2).ordinary - 0.4).abs() < 0.08);
    assert!(habits.deviation(0) < 0.1);
}

#[test]
fn what_is_learned_is_bounded() {
    let mut habits = Habits::default();
    let mut memory = Memory::default();
    for turn in 0..3_000u32 {
        let seen = SeenTurn {
            phase: if turn % 3 == 1 { SessionPhase::ToolLoop } else { SessionPhase::UserTurn },
            drift: turn % 7 == 0,
            demand: f64::from(turn % 10) / 10.0,
            prompt: 1_000.0,
            history: 500.0,
        };
        let outlook = habits.see(&mut memory, &seen, &[0.5], 16.0);
        assert_eq!(outlook.steps.len(), HORIZON);
        assert!(outlook.steps.iter().all(|s| (0.0..=1.0 + 1e-9).contains(&s.locked)));
    }
    assert_eq!(memory.turns(), 3_000);
}
