//! Policies by name.

use std::fmt;
use std::str::FromStr;

use pintle_routing::session::Pricing;
use pintle_routing::session::economics;

use super::accounting::Schedule;
use super::baselines::{self, Ablation, Published, PublishedState};
use super::clairvoyant;
use super::live::{Live, foresee};
use super::workload::{Model, Workload};

/// A policy that can run a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Every turn on the tier of its demand; keeps no lock.
    SingleTurn,
    /// Every turn on the tier of the session's first.
    Sticky,
    /// The published policy, or an ablation of it.
    Published(Ablation),
    /// The router's own as it runs, with habits learned over the sessions that have arrived.
    Pintle,
    /// The same from each session's record alone.
    NoHabits,
    /// Knows every turn in advance; a bound, not a policy that could run.
    Clairvoyant,
}

impl Policy {
    /// Every policy, for help texts and tables.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::SingleTurn, Self::Sticky].into_iter().chain(Ablation::ALL.map(Self::Published)).chain([
            Self::Pintle,
            Self::NoHabits,
            Self::Clairvoyant,
        ])
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::SingleTurn => "single-turn",
            Self::Sticky => "sticky",
            Self::Published(ablation) => ablation.name(),
            Self::Pintle => "pintle",
            Self::NoHabits => "pintle-no-habits",
            Self::Clairvoyant => "clairvoyant",
        })
    }
}

/// A name that no policy has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown policy {name:?}; the policies are {known}")]
pub struct UnknownPolicy {
    name: String,
    known: String,
}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let aliased = match name {
            "session-aware" => "published",
            "pintle-live" => "pintle",
            name => name,
        };
        Self::all().find(|policy| policy.to_string() == aliased).ok_or_else(|| UnknownPolicy {
            name: name.to_owned(),
            known: Self::all().map(|policy| policy.to_string()).collect::<Vec<_>>().join(", "),
        })
    }
}

/// The shortfall price that the router derives from a workload's models, in dollars per turn.
pub fn default_price(workload: &Workload) -> f64 {
    let prices: Vec<Pricing> = workload.models.iter().map(Model::pricing).collect();
    economics::default_shortfall_price(&prices)
}

/// A decision on one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Index of the model.
    pub model: usize,
    /// Stable word for why.
    pub reason: &'static str,
}

/// Runs a policy; `price` is the shortfall price, which only the router's own policy and the bound know.
pub fn run(workload: &Workload, policy: Policy, price: f64) -> Vec<Vec<Decision>> {
    let say = |schedule: Schedule, reason| {
        let turns = |models: Vec<usize>| models.into_iter().map(|model| Decision { model, reason }).collect();
        schedule.into_iter().map(turns).collect()
    };
    match policy {
        Policy::SingleTurn => say(baselines::single_turn(workload), "tier_of_demand"),
        Policy::Sticky => say(baselines::sticky(workload), "sticky_session"),
        Policy::Clairvoyant => say(clairvoyant::schedule(workload, price), "clairvoyant"),
        Policy::Published(ablation) => {
            let published = Published::new(workload, ablation);
            let sessions = workload.sessions.iter().map(|session| {
                let mut state = PublishedState::default();
                let next = |_| {
                    let (model, reason) = published.next(session, &mut state);
                    Decision { model, reason }
                };
                (0..session.turns.len()).map(next).collect()
            });
            sessions.collect()
        }
        Policy::Pintle | Policy::NoHabits => {
            let live = Live::new(workload, price);
            let foresights = if policy == Policy::Pintle { foresee(workload) } else { Vec::new() };
            let decision = |(model, reason)| Decision { model, reason };
            let sessions = workload.sessions.iter().enumerate().map(|(s, session)| {
                let foresights = foresights.get(s).map_or(&[][..], Vec::as_slice);
                live.session(session, foresights).into_iter().map(decision).collect()
            });
            sessions.collect()
        }
    }
}

/// The models of decisions.
pub fn schedule(decisions: &[Vec<Decision>]) -> Schedule {
    decisions.iter().map(|session| session.iter().map(|d| d.model).collect()).collect()
}
