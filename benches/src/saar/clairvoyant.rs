//! What the best schedule costs for someone who knows every turn in advance.
//!
//! For a price per turn of shortfall, dynamic programming over each session finds the schedule that keeps the
//! hard locks and minimises honest cost plus price times shortfall turns. The state is the model of the turn
//! before, because a turn's cost depends on nothing else. Sweeping the price traces the lower convex hull of
//! all (shortfall, cost) pairs that any policy with the same locks can reach: no point lies below it.

use super::accounting::{CacheCredit, Schedule, Summary, summarize, turn_cost};
use super::workload::{Session, Workload};

/// The best schedule at one price of shortfall, in dollars per turn.
pub fn schedule(workload: &Workload, shortfall_price: f64) -> Schedule {
    workload.sessions.iter().map(|session| best(workload, session, shortfall_price)).collect()
}

fn best(workload: &Workload, session: &Session, price: f64) -> Vec<usize> {
    let models = workload.models.len();
    let mut value = vec![0.0; models];
    let mut choice: Vec<Vec<usize>> = Vec::with_capacity(session.turns.len());
    for (t, turn) in session.turns.iter().enumerate().rev() {
        let tier = workload.tier(turn.demand);
        let cost = |previous: usize, model: usize| {
            let below = if model < tier { price } else { 0.0 };
            turn_cost(workload, turn, model, previous != model, CacheCredit::Honest) + below + value[model]
        };
        let picks: Vec<usize> = (0..models)
            .map(|previous| {
                if t > 0 && turn.phase.is_locked() {
                    return previous;
                }
                (0..models)
                    .reduce(|a, b| if cost(previous, b) < cost(previous, a) { b } else { a })
                    .unwrap_or(previous)
            })
            .collect();
        value = picks.iter().enumerate().map(|(previous, pick)| cost(previous, *pick)).collect();
        choice.push(picks);
    }
    let mut model = 0;
    choice
        .iter()
        .rev()
        .map(|picks| {
            model = picks[model];
            model
        })
        .collect()
}

/// A point of the frontier.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Point {
    /// Price per turn of shortfall that leads to it.
    pub price: f64,
    /// Its totals.
    pub summary: Summary,
}

/// The frontier for prices from nearly nothing to far above any turn's cost, cheapest first.
pub fn frontier(workload: &Workload, points: usize) -> Vec<Point> {
    let dearest = workload
        .sessions
        .iter()
        .flat_map(|session| &session.turns)
        .map(|turn| turn_cost(workload, turn, workload.models.len() - 1, true, CacheCredit::None))
        .fold(0.0, f64::max);
    let (low, high) = ((dearest * 1e-4).ln(), (dearest * 20.0).ln());
    let price = |i: usize| (low + (high - low) * i as f64 / (points - 1).max(1) as f64).exp();
    (0..points)
        .map(|i| {
            let summary = summarize(workload, &schedule(workload, price(i)), CacheCredit::Honest);
            Point { price: price(i), summary }
        })
        .collect()
}

/// Cost of the frontier at a shortfall, on the line between its neighbours; `None` outside its range.
pub fn cost_at(frontier: &[Point], shortfall: f64) -> Option<f64> {
    frontier.windows(2).find_map(|pair| {
        let (a, b) = (pair[0].summary, pair[1].summary);
        let (high, low) = (a.shortfall, b.shortfall);
        if !(low..=high).contains(&shortfall) {
            return None;
        }
        let share = if high > low { (high - shortfall) / (high - low) } else { 0.0 };
        Some(a.cost + share * (b.cost - a.cost))
    })
}
