//! What sessions are usually like, learned from all of them.
//!
//! Habits change with every turn, so they are kept beside the router and not inside it: [`Habits::foresee`] says
//! what to expect after a turn before that turn is decided, [`Habits::learn`] takes the turn in once it was served.

use super::demand::{Asked, DemandHabits};
use super::foresight::{Ahead, ByDemand, Coming, Foresight};
use super::outlook::HORIZON;
use super::phases::{Kind, PhaseHabits};
use super::track::{Past, Seen, Track};

/// Turns that a session is expected to have, unless the operator knows better.
pub const EXPECTED_TURNS: f64 = 16.0;

/// Learned over all sessions.
#[derive(Debug, Clone, Default)]
pub struct Habits {
    phases: PhaseHabits,
    demand: DemandHabits,
}

impl Habits {
    /// What to expect after the turn that a session is about to have.
    ///
    /// `track` and `turns` are of the turns before it, `lock` is its kind if it is a locked one, and `may_drift` says
    /// that a free one might turn out to be on another decision.
    pub fn foresee(&self, track: Track, turns: u32, lock: Option<Kind>, may_drift: bool) -> Foresight {
        let after = |kind| self.after(track, turns, kind);
        Foresight {
            usual: after(lock.unwrap_or(Kind::User)),
            drifted: (may_drift && lock.is_none()).then(|| after(Kind::Drift)),
        }
    }

    fn after(&self, track: Track, turns: u32, kind: Kind) -> Coming {
        let kinds = self.phases.ahead(track.context(turns).push(kind));
        let special = kinds.map(|p| 1.0 - p[Kind::User as usize]);
        let means = |demand| {
            let mut past = track.past(turns);
            past.push_newer(Asked { demand, special: kind.special() });
            let forecast = self.demand.forecast(turns as usize + 1, &past, &special);
            std::array::from_fn::<_, HORIZON, _>(|j| self.demand.mix(&forecast, j))
        };
        let (low, high) = (means(0.0), means(1.0));
        std::array::from_fn(|j| {
            let p = kinds[j];
            let locked = p[Kind::Tool as usize] + p[Kind::State as usize];
            let drift = if locked < 1.0 { p[Kind::Drift as usize] / (1.0 - locked) } else { 0.0 };
            Ahead {
                locked: locked as f32,
                free: ByDemand { at_0: low[j].given(drift) as f32, at_1: high[j].given(drift) as f32 },
                held: ByDemand { at_0: low[j].special as f32, at_1: high[j].special as f32 },
                deviation: self.demand.deviation(j) as f32,
            }
        })
    }

    /// Learns from a served turn; `track` and `turns` are of the turns before it.
    ///
    /// What is learned depends only on turns that have arrived, never on what was chosen for them.
    pub fn learn(&mut self, track: Track, turns: u32, seen: Seen) {
        self.phases.learn(track.context(turns), seen.kind);
        let Some(demand) = seen.demand.map(f64::from).filter(|demand| demand.is_finite()) else { return };
        let asked = Asked { demand: demand.clamp(0.0, 1.0), special: seen.kind.special() };
        let past: Past = track.past(turns);
        self.demand.learn(turns as usize, &past, asked);
    }
}
