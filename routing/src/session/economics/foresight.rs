//! What to expect after a turn, said before the turn's demand is known.
//!
//! A decision must be repeatable from its record, and what was learned over other sessions changes with every
//! turn. So nothing that learns is read while a turn is decided: what habits have to say about this one turn is
//! taken out first, as a handful of numbers that are recorded with the other inputs. Every expectation is given
//! for a demand of 0 and of 1 of the turn at hand and read off between them, because the demand is only known
//! once signals and projections have been evaluated.

use serde::{Deserialize, Serialize};

use super::outlook::{DemandAt, HORIZON};

/// A number that depends on the demand of the turn at hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ByDemand {
    /// If the turn asks for nothing.
    pub at_0: f32,
    /// If it asks for everything.
    pub at_1: f32,
}

impl ByDemand {
    fn at(self, demand: f64) -> f64 {
        let (low, high) = (f64::from(self.at_0), f64::from(self.at_1));
        low + (high - low) * demand
    }
}

/// One turn to come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Ahead {
    /// Probability that the model must not change.
    pub locked: f32,
    /// Mean demand if it may change.
    pub free: ByDemand,
    /// Mean demand if it must not.
    pub held: ByDemand,
    /// Standard deviation of both.
    pub deviation: f32,
}

/// The turns to come, nearest first.
pub type Coming = [Ahead; HORIZON];

/// What habits expect after a turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Foresight {
    /// After a turn of the session's usual decision, or a locked one.
    pub usual: Coming,
    /// After a free turn on another decision than before; `None` if it cannot be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drifted: Option<Coming>,
}

impl Foresight {
    /// The turns to come after a turn of this demand.
    pub fn after(&self, demand: f64, drifted: bool) -> impl Iterator<Item = DemandAt> {
        let coming = self.drifted.as_ref().filter(|_| drifted).unwrap_or(&self.usual);
        coming.iter().map(move |ahead| DemandAt {
            free: ahead.free.at(demand),
            held: ahead.held.at(demand),
            deviation: f64::from(ahead.deviation),
            locked: f64::from(ahead.locked),
        })
    }
}
