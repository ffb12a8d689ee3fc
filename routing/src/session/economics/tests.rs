use super::demand::{Asked, DemandHabits, LAGS};
use super::outlook::{DemandAt, Growth, Outlook, above};
use super::phases::{Context, PhaseHabits};
use super::track::Past;
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
    let ahead = habits.ahead(start);
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

fn asked(demand: f64) -> Asked {
    Asked { demand, special: 0.0 }
}

fn past(oldest_first: &[f64]) -> Past {
    oldest_first.iter().fold(Past::default(), |mut past, demand| {
        past.push_newer(asked(*demand));
        past
    })
}

#[test]
fn a_level_is_held_before_and_a_course_is_known_after_learning() {
    let mut habits = DemandHabits::default();
    let flat = habits.forecast(3, &past(&[0.7; 3]), &[0.0; HORIZON]);
    assert!((habits.mix(&flat, 0).ordinary - 0.7).abs() < 0.05);

    let course = [0.2, 0.4, 0.6, 0.8, 0.6, 0.4, 0.2, 0.4, 0.6, 0.8];
    for _ in 0..40 {
        for (turn, demand) in course.into_iter().enumerate() {
            habits.learn(turn, &past(&course[turn.saturating_sub(LAGS)..turn]), asked(demand));
        }
    }
    let forecast = habits.forecast(3, &past(&[0.2, 0.4, 0.6]), &[0.0; HORIZON]);
    assert!((habits.mix(&forecast, 0).ordinary - 0.8).abs() < 0.05);
    assert!((habits.mix(&forecast, 2).ordinary - 0.4).abs() < 0.08);
    assert!(habits.deviation(0) < 0.1);
}

#[test]
fn a_track_keeps_the_latest_turns() {
    let kinds = [Kind::User, Kind::Tool, Kind::State, Kind::Drift];
    let mut track = Track::default();
    let mut all: Vec<(Kind, f32)> = Vec::new();
    for turn in 0..40_u32 {
        let (context, kept) = (track.context(turn), track.past(turn));
        let expected =
            all.iter().rev().take(phases::ORDER).rev().fold(Context::default(), |c, (kind, _)| c.push(*kind));
        assert_eq!(context, expected);
        assert_eq!(kept.newest_first().len(), all.len().min(LAGS));
        for (read, (kind, demand)) in kept.newest_first().iter().zip(all.iter().rev()) {
            assert!((read.demand - f64::from(*demand)).abs() < 0.002);
            assert_eq!(read.special, kind.special());
        }
        let raw: [u32; 2] = track.into();
        assert_eq!(Track::from(raw), track);
        let seen = (kinds[(turn as usize * 7 + 3) % 4], (turn % 11) as f32 / 10.0);
        all.push(seen);
        track = track.push(Seen { kind: seen.0, demand: Some(seen.1) });
    }
}

#[test]
fn a_turn_that_was_not_measured_ends_what_is_known_of_demand() {
    let seen = |demand| Seen { kind: Kind::User, demand };
    for unknown in [None, Some(f32::NAN), Some(f32::INFINITY)] {
        let track = Track::default().push(seen(Some(0.5))).push(seen(unknown)).push(seen(Some(9.0)));
        assert_eq!(track.past(3).newest_first(), &[asked(1.0)]);
    }
}

#[test]
fn a_past_can_be_cut_anywhere() {
    let all = past(&[0.1, 0.2, 0.3, 0.4]);
    for cut in 0..=8 {
        let demands: Vec<f64> = all.before(cut).newest_first().iter().map(|a| a.demand).collect();
        let expected: Vec<f64> = [0.4, 0.3, 0.2, 0.1].into_iter().skip(cut).collect();
        assert_eq!(demands, expected);
    }
}

#[test]
fn whatever_habits_learn_what_they_expect_makes_sense() {
    let mut habits = Habits::default();
    let mut track = Track::default();
    let kinds = [Kind::User, Kind::Tool, Kind::User, Kind::State, Kind::Drift];
    for turn in 0..3_000_u32 {
        let kind = kinds[(turn as usize * turn as usize) % kinds.len()];
        let demand = match turn % 7 {
            0 => None,
            1 => Some(f32::NAN),
            2 => Some(-4.0),
            n => Some(n as f32 / 3.0),
        };
        let foresight = habits.foresee(track, turn, kind.is_locked().then_some(kind), true);
        assert_eq!(foresight.drifted.is_none(), kind.is_locked());
        for at in [0.0, 0.3, 1.0] {
            for drifted in [false, true] {
                for ahead in foresight.after(at, drifted) {
                    assert!((0.0..=1.0).contains(&ahead.locked), "{ahead:?}");
                    assert!(ahead.free.abs() < 3.0 && ahead.held.abs() < 3.0, "{ahead:?}");
                    assert!(ahead.deviation > 0.0 && ahead.deviation < 3.0, "{ahead:?}");
                }
            }
        }
        let seen = Seen { kind, demand };
        habits.learn(track, turn, seen);
        track = track.push(seen);
    }
}

#[test]
fn a_foresight_survives_its_record() {
    let mut habits = Habits::default();
    for demand in [0.31_f32, 0.77, 0.13, 0.99] {
        habits.learn(Track::default(), 0, Seen { kind: Kind::User, demand: Some(demand) });
    }
    let foresight = habits.foresee(Track::default(), 1, None, true);
    let text = serde_json::to_string(&foresight).unwrap();
    assert_eq!(serde_json::from_str::<Foresight>(&text).unwrap(), foresight);
}
