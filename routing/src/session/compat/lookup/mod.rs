//! Lookup tables of measured pairs and priors (`selection/lookuptable`).

mod builder;
mod file;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use builder::{ReplayRecord, populate};
pub use file::{FileStore, Files, LoadError};

/// Key of one entry; its text form joins the parts with `::`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LookupKey {
    /// `quality_gap::<family>::<current>::<candidate>`
    QualityGap {
        /// Category or decision.
        family: String,
        /// Model that is left.
        current: String,
        /// Model that is gone to.
        candidate: String,
    },
    /// `handoff_penalty::<from>::<to>`
    HandoffPenalty {
        /// Model that is left.
        from: String,
        /// Model that is gone to.
        to: String,
    },
    /// `remaining_turn_prior::<family>`
    RemainingTurnPrior {
        /// Category or decision.
        family: String,
    },
}

/// A key that has no table, or the wrong number of parts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a lookup key: expected quality_gap::<family>::<current>::<candidate>, handoff_penalty::<from>::<to> or remaining_turn_prior::<family>"
)]
pub struct KeyError(pub String);

impl std::str::FromStr for LookupKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let parts: Vec<&str> = text.split("::").collect();
        let owned = |s: &str| s.to_owned();
        match parts.as_slice() {
            ["quality_gap", family, current, candidate] => Ok(Self::QualityGap {
                family: owned(family),
                current: owned(current),
                candidate: owned(candidate),
            }),
            ["handoff_penalty", from, to] => Ok(Self::HandoffPenalty { from: owned(from), to: owned(to) }),
            ["remaining_turn_prior", family] => Ok(Self::RemainingTurnPrior { family: owned(family) }),
            _ => Err(KeyError(text.to_owned())),
        }
    }
}

impl std::fmt::Display for LookupKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::QualityGap { family, current, candidate } => {
                write!(f, "quality_gap::{family}::{current}::{candidate}")
            }
            Self::HandoffPenalty { from, to } => write!(f, "handoff_penalty::{from}::{to}"),
            Self::RemainingTurnPrior { family } => write!(f, "remaining_turn_prior::{family}"),
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntrySource {
    /// Built from recorded requests.
    ReplayDerived,
    /// Written in the configuration; never overwritten.
    ConfigOverride,
    /// Set by hand at run time.
    #[default]
    Manual,
}

impl EntrySource {
    /// Upstream's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReplayDerived => "replay_derived",
            Self::ConfigOverride => "config_override",
            Self::Manual => "manual",
        }
    }
}

/// One measured or configured value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The value; its unit depends on the table.
    pub value: f64,
    /// Where it comes from.
    #[serde(default)]
    pub source: EntrySource,
    /// Observations behind it; 0 when unknown.
    #[serde(default)]
    pub sample_count: u64,
}

/// All entries, by the text of their key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LookupTable(pub BTreeMap<String, Entry>);

impl LookupTable {
    /// `quality_gap` for the category, else for the decision (`selection/session_aware_scoring.go`).
    pub fn quality_gap(&self, families: [&str; 2], current: &str, candidate: &str) -> Option<f64> {
        families.iter().filter(|family| !family.is_empty()).find_map(|family| {
            self.0.get(&format!("quality_gap::{family}::{current}::{candidate}")).map(|entry| entry.value)
        })
    }

    /// `handoff_penalty` of a pair.
    pub fn handoff_penalty(&self, from: &str, to: &str) -> Option<f64> {
        self.0.get(&format!("handoff_penalty::{from}::{to}")).map(|entry| entry.value)
    }

    /// `remaining_turn_prior` of one family.
    pub fn remaining_turn_prior(&self, family: &str) -> Option<Entry> {
        self.0.get(&format!("remaining_turn_prior::{family}")).copied()
    }
}
