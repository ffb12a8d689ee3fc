//! What kind of turn comes next, learned from the kinds that came before.
//!
//! A variable-order Markov model: the kinds seen after every context of up to [`ORDER`] turns are counted, and the
//! prediction blends all orders as PPM method C does (Moffat, 1990): a context that was always followed by the
//! same kind is trusted after a few sights, one that was followed by several is mixed with shorter ones. Agents
//! repeat themselves (think, call, call, answer), so contexts become sharp within a few sessions; where they do
//! not, the prediction falls back to how long locks usually last.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};

use super::super::SessionPhase;
use super::outlook::HORIZON;

/// Turns that a context looks back.
pub const ORDER: usize = 8;
/// Contexts that are kept; further ones are not learned.
pub const MAX_CONTEXTS: usize = 65_536;
const KINDS: usize = 4;
const BEAM: usize = 12;
/// Factor on the counts of a context when it is seen again: sessions of another make displace older ones.
const DECAY: f32 = 0.95;
const FORGOTTEN: f32 = 0.1;
const ESCAPE: f64 = 1.0;
type Beam = SmallVec<[(Context, f64); 64]>;
const _: () = assert!(BEAM * KINDS <= 64);
const NEGLIGIBLE: f64 = 1e-3;

/// Kind of a turn, as far as it tells what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An ordinary turn.
    User,
    /// A tool loop.
    Tool,
    /// Provider state.
    State,
    /// An ordinary turn on another decision than before.
    Drift,
}

impl Kind {
    const ALL: [Self; KINDS] = [Self::User, Self::Tool, Self::State, Self::Drift];

    /// The kind of a turn in a phase.
    pub fn of(phase: SessionPhase, drift: bool) -> Self {
        match phase {
            SessionPhase::ToolLoop => Self::Tool,
            SessionPhase::ProviderState => Self::State,
            SessionPhase::UserTurn if drift => Self::Drift,
            SessionPhase::UserTurn => Self::User,
        }
    }

    pub(super) const fn of_code(code: usize) -> Self {
        Self::ALL[code % KINDS]
    }

    /// 1 outside ordinary user turns, else 0.
    pub(super) fn special(self) -> f64 {
        if self == Self::User { 0.0 } else { 1.0 }
    }

    /// The model must not change.
    pub fn is_locked(self) -> bool {
        matches!(self, Self::Tool | Self::State)
    }

    /// Before anything is learned: a third of free turns is followed by a tool call, and every second
    /// locked turn by another one.
    fn prior(after: Option<Self>) -> [f64; KINDS] {
        match after {
            Some(Self::Tool) => [0.48, 0.50, 0.01, 0.01],
            Some(Self::State) => [0.38, 0.10, 0.50, 0.02],
            _ => [0.63, 0.33, 0.02, 0.02],
        }
    }
}

/// Kinds of the latest turns, newest first in the low bits; 0 stands before the session's start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Context(u32);

const BITS: u32 = 3;

impl Context {
    /// The context after one more turn.
    #[must_use]
    pub fn push(self, kind: Kind) -> Self {
        let keep = (1u32 << (BITS * ORDER as u32)) - 1;
        Self(((self.0 << BITS) | (kind as u32 + 1)) & keep)
    }

    fn last(self) -> Option<Kind> {
        let code = (self.0 & ((1 << BITS) - 1)) as usize;
        code.checked_sub(1).map(|i| Kind::ALL[i])
    }

    /// The latest `order` turns, marked with the order.
    fn suffix(self, order: usize) -> u32 {
        (self.0 & ((1u32 << (BITS * order as u32)) - 1)) | ((order as u32) << 28)
    }
}

/// Contexts are made here and not by clients, and there are few: one multiplication spreads them well enough.
#[derive(Debug, Clone, Copy, Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, key: u32) {
        let mixed = (self.0 ^ u64::from(key)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ mixed >> 32;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Counts of what followed what.
#[derive(Debug, Clone, Default)]
pub struct PhaseHabits {
    counts: HashMap<u32, [f32; KINDS], BuildHasherDefault<Mix>>,
}

impl PhaseHabits {
    /// Learns that `kind` followed `context`.
    pub fn learn(&mut self, context: Context, kind: Kind) {
        for order in (1..=ORDER).rev() {
            let key = context.suffix(order);
            if self.counts.len() >= MAX_CONTEXTS && !self.counts.contains_key(&key) {
                continue;
            }
            let counts = self.counts.entry(key).or_default();
            let known = counts[kind as usize] > FORGOTTEN;
            for count in counts.iter_mut() {
                *count *= DECAY;
            }
            counts[kind as usize] += 1.0;
            if known {
                break;
            }
        }
    }

    /// Probabilities of the next kind.
    pub fn next(&self, context: Context) -> [f64; KINDS] {
        let mut p = Kind::prior(context.last());
        for order in 1..=ORDER {
            let Some(counts) = self.counts.get(&context.suffix(order)) else { break };
            let total: f32 = counts.iter().sum();
            let distinct = counts.iter().filter(|n| **n > FORGOTTEN).count();
            let escape = ESCAPE * distinct as f64;
            for (p, n) in p.iter_mut().zip(counts) {
                *p = (f64::from(*n) + escape * *p) / (f64::from(total) + escape);
            }
        }
        p
    }

    /// Probabilities of each kind on the turns to come, by following the likeliest contexts.
    pub fn ahead(&self, context: Context) -> [[f64; KINDS]; HORIZON] {
        let mut beam: Beam = smallvec![(context, 1.0)];
        std::array::from_fn(|_| {
            let mut marginal = [0.0; KINDS];
            let mut grown: Beam = SmallVec::new();
            for (context, weight) in &beam {
                for (kind, p) in Kind::ALL.into_iter().zip(self.next(*context)) {
                    marginal[kind as usize] += weight * p;
                    if weight * p > NEGLIGIBLE {
                        grown.push((context.push(kind), weight * p));
                    }
                }
            }
            grown.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            grown.truncate(BEAM);
            let kept: f64 = grown.iter().map(|(_, w)| w).sum();
            for (_, weight) in &mut grown {
                *weight /= kept;
            }
            beam = grown;
            marginal
        })
    }
}
