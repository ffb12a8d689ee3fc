//! Derives entries from recorded requests (`selection/lookuptable/builder.go`).

use std::collections::BTreeMap;

use super::{Entry, EntrySource, LookupKey, LookupTable};

const EMA_ALPHA: f64 = 0.2;
const SESSION_GAP_SECONDS: f64 = 1800.0;

/// What a recorded request contributes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReplayRecord {
    /// Category of the decision; empty when unknown.
    pub category: String,
    /// Decision; empty when unknown.
    pub decision: String,
    /// Model that served; empty when unknown.
    pub selected_model: String,
    /// Confidence of the routing decision; 0 when unknown.
    pub confidence_score: f64,
    /// Dollars, when known.
    pub actual_cost: Option<f64>,
    /// Seconds.
    pub at_s: f64,
}

/// Writes derived entries into `table`; configured ones stay.
pub fn populate(table: &mut LookupTable, records: &[ReplayRecord]) {
    let mut derived = BTreeMap::new();
    quality_gaps(records, &mut derived);
    let sessions = pseudo_sessions(records);
    handoffs(&sessions, &mut derived);
    remaining_turns(&sessions, &mut derived);
    for (key, (value, sample_count)) in derived {
        let configured = |entry: &Entry| entry.source == EntrySource::ConfigOverride;
        if !table.0.get(&key).is_some_and(configured) {
            table.0.insert(key, Entry { value, source: EntrySource::ReplayDerived, sample_count });
        }
    }
}

type Derived = BTreeMap<String, (f64, u64)>;

fn quality_gaps(records: &[ReplayRecord], derived: &mut Derived) {
    let mut scores: BTreeMap<&str, BTreeMap<&str, (f64, u64)>> = BTreeMap::new();
    for r in records {
        if !r.category.is_empty() && !r.selected_model.is_empty() && r.confidence_score != 0.0 {
            let (sum, n) = scores.entry(&r.category).or_default().entry(&r.selected_model).or_default();
            *sum += r.confidence_score;
            *n += 1;
        }
    }
    for (family, models) in &scores {
        for (current, (sum, n)) in models {
            for (candidate, (other_sum, other_n)) in models.iter().filter(|(name, _)| *name != current) {
                let key = LookupKey::QualityGap {
                    family: (*family).to_owned(),
                    current: (*current).to_owned(),
                    candidate: (*candidate).to_owned(),
                };
                let gap = other_sum / *other_n as f64 - sum / *n as f64;
                derived.insert(key.to_string(), (gap, n + other_n));
            }
        }
    }
}

/// Records of one decision without a gap of more than half an hour, whoever sent them.
fn pseudo_sessions(records: &[ReplayRecord]) -> Vec<Vec<&ReplayRecord>> {
    let mut by_decision: BTreeMap<&str, Vec<&ReplayRecord>> = BTreeMap::new();
    for record in records {
        by_decision.entry(&record.decision).or_default().push(record);
    }
    let mut sessions = Vec::new();
    for mut of_decision in by_decision.into_values() {
        of_decision.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
        let together = |a: &&ReplayRecord, b: &&ReplayRecord| b.at_s - a.at_s <= SESSION_GAP_SECONDS;
        sessions.extend(of_decision.chunk_by(together).map(<[&ReplayRecord]>::to_vec));
    }
    sessions
}

fn handoffs(sessions: &[Vec<&ReplayRecord>], derived: &mut Derived) {
    for pair in sessions.iter().flat_map(|session| session.windows(2)) {
        let (from, to) = (pair[0], pair[1]);
        let switched = !from.selected_model.is_empty()
            && !to.selected_model.is_empty()
            && from.selected_model != to.selected_model;
        let (true, Some(before), Some(after)) = (switched, from.actual_cost, to.actual_cost) else {
            continue;
        };
        let key =
            LookupKey::HandoffPenalty { from: from.selected_model.clone(), to: to.selected_model.clone() };
        let delta = after - before;
        derived
            .entry(key.to_string())
            .and_modify(|(ema, n)| {
                *ema = EMA_ALPHA * delta + (1.0 - EMA_ALPHA) * *ema;
                *n += 1;
            })
            .or_insert((delta, 1));
    }
}

fn remaining_turns(sessions: &[Vec<&ReplayRecord>], derived: &mut Derived) {
    let mut lengths: BTreeMap<&str, (f64, u64)> = BTreeMap::new();
    for session in sessions {
        let mut families: Vec<&str> =
            session.iter().map(|r| r.category.as_str()).filter(|category| !category.is_empty()).collect();
        families.sort_unstable();
        families.dedup();
        for family in families {
            let (sum, n) = lengths.entry(family).or_default();
            *sum += session.len() as f64;
            *n += 1;
        }
    }
    for (family, (sum, n)) in lengths {
        let key = LookupKey::RemainingTurnPrior { family: family.to_owned() };
        derived.insert(key.to_string(), ((sum / n as f64 - 1.0).max(0.0), n));
    }
}
