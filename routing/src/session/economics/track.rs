//! A session's latest turns in eight bytes, small enough for its record.

use serde::{Deserialize, Serialize};

use super::demand::{Asked, LAGS};
use super::phases::{Context, Kind, ORDER};

/// What habits learn from one turn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Its kind.
    pub kind: Kind,
    /// Its demand in [0,1], where something measured it.
    pub demand: Option<f32>,
}

/// The kinds of a session's last [`ORDER`] turns and the demands of its last [`LAGS`].
///
/// Demands are kept to a 254th. All zero is a session of which nothing is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track(u64);

const DEMAND_BITS: u32 = 8;
const DEMANDS: u64 = (1 << (DEMAND_BITS * LAGS as u32)) - 1;
const KIND_BITS: u32 = 2;
const KINDS_AT: u32 = DEMAND_BITS * LAGS as u32;
/// Codes of demand are 1 and this many more; 0 says that there is none.
const STEPS: f64 = 254.0;

const _: () = assert!(KINDS_AT + KIND_BITS * ORDER as u32 == u64::BITS);

impl Track {
    /// The track after one more turn.
    #[must_use]
    pub fn push(self, seen: Seen) -> Self {
        let code = match seen.demand {
            Some(demand) if demand.is_finite() => {
                1 + (f64::from(demand).clamp(0.0, 1.0) * STEPS).round() as u64
            }
            _ => 0,
        };
        let demands = (self.0 << DEMAND_BITS | code) & DEMANDS;
        let kinds = (self.0 >> KINDS_AT) << KIND_BITS | seen.kind as u64;
        Self(kinds << KINDS_AT | demands)
    }

    /// The kinds of the latest turns of a session that has had `turns`.
    pub(super) fn context(self, turns: u32) -> Context {
        let known = turns.min(ORDER as u32);
        (0..known).rev().fold(Context::default(), |context, back| {
            context.push(Kind::of_code((self.0 >> (KINDS_AT + KIND_BITS * back)) as usize))
        })
    }

    /// What the latest turns asked for, newest first, as far back as every turn was measured.
    pub(super) fn past(self, turns: u32) -> Past {
        let mut past = Past::default();
        for back in 0..(turns as usize).min(LAGS) {
            let code = (self.0 >> (DEMAND_BITS * back as u32)) & ((1 << DEMAND_BITS) - 1);
            let Some(step) = code.checked_sub(1) else { break };
            let kind = Kind::of_code((self.0 >> (KINDS_AT + KIND_BITS * back as u32)) as usize);
            past.push_older(Asked { demand: step as f64 / STEPS, special: kind.special() });
        }
        past
    }
}

impl From<[u32; 2]> for Track {
    fn from([low, high]: [u32; 2]) -> Self {
        Self(u64::from(high) << 32 | u64::from(low))
    }
}

impl From<Track> for [u32; 2] {
    fn from(track: Track) -> Self {
        [track.0 as u32, (track.0 >> 32) as u32]
    }
}

/// What the latest turns asked for, newest first.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Past {
    asked: [Asked; LAGS],
    len: usize,
}

impl Past {
    fn push_older(&mut self, asked: Asked) {
        self.asked[self.len] = asked;
        self.len += 1;
    }

    /// Adds a turn; the oldest of too many is forgotten.
    pub fn push_newer(&mut self, asked: Asked) {
        self.asked.copy_within(..LAGS - 1, 1);
        self.asked[0] = asked;
        self.len = (self.len + 1).min(LAGS);
    }

    /// The turns, newest first.
    pub fn newest_first(&self) -> &[Asked] {
        &self.asked[..self.len]
    }

    /// Without the `count` newest.
    #[must_use]
    pub fn before(&self, count: usize) -> Self {
        let mut past = *self;
        past.len = self.len.saturating_sub(count);
        past.asked.rotate_left(count.min(LAGS));
        past
    }
}
