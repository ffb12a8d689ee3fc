//! Partitions: groups of signals of which one wins.

use pintle_config::{Partition as Config, Profile};
use smallvec::SmallVec;

use crate::evidence::Evidence;
use crate::flow::PartitionRecord;
use crate::ids::SignalId;
use crate::signals::{CompileError, EvidenceTable, SignalDef, SignalKind, SignalNames, Used};

#[derive(Debug)]
pub(super) struct Partition {
    name: String,
    /// Temperature of the softmax, where there is one.
    softmax: Option<f64>,
    members: Vec<SignalId>,
    default: SignalId,
}

impl Partition {
    pub(super) fn compile(
        config: &Config,
        profile: Profile,
        names: &mut SignalNames,
        errors: &mut Vec<CompileError>,
    ) -> Option<Self> {
        let kind = [SignalKind::Embedding, SignalKind::Domain]
            .into_iter()
            .find(|kind| config.members.iter().all(|member| names.get(*kind, member).is_some()));
        let Some(kind) = kind else {
            if profile == Profile::Pintle {
                errors.push(CompileError {
                    at: format!("routing.projections.partitions[{:?}].members", config.name),
                    what: "members must all be declared embeddings or all be declared domains".into(),
                });
            }
            return None;
        };
        let members: Vec<SignalId> = config.members.iter().map(|member| names.intern(kind, member)).collect();
        let default = names.intern(kind, &config.default);
        let softmax = (config.semantics == "softmax_exclusive").then_some(if config.temperature > 0.0 {
            config.temperature
        } else {
            1.0
        });
        // One member excludes nobody.
        (members.len() >= 2).then_some(Self { name: config.name.clone(), softmax, members, default })
    }

    pub(super) fn note_used(&self, defs: &[SignalDef], used: &mut Used) {
        used.insert(defs[self.default.index()].kind);
    }

    /// Leaves at most one member true; records what happened if `names` are given.
    ///
    /// With no matched member the default becomes true, unless a member is unknown: it might have matched.
    /// v0.3.0 reads a default's missing confidence as 1; Pintle gives it 0, for nothing speaks for it.
    pub(super) fn apply(
        &self,
        table: &mut EvidenceTable,
        profile: Profile,
        names: Option<&[SignalDef]>,
    ) -> Option<PartitionRecord> {
        let contenders: SmallVec<[(SignalId, f64); 8]> = self
            .members
            .iter()
            .filter(|id| table[id.index()].truth.is_true())
            .filter_map(|id| Some((*id, table[id.index()].confidence?)))
            .collect();
        let mut default_used = false;
        let mut winner = None;
        if contenders.is_empty() {
            let undecided = self.members.iter().any(|id| table[id.index()].truth.is_unknown());
            if !undecided {
                default_used = true;
                let evidence = &mut table[self.default.index()];
                *evidence = Evidence { confidence: None, value: evidence.value, ..Evidence::plain(true) };
                if profile == Profile::Pintle {
                    evidence.confidence = Some(0.0);
                }
            }
        } else {
            let best = contenders.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a });
            if let (Some((id, raw)), true) = (best, contenders.len() > 1) {
                for (other, _) in contenders.iter().filter(|(other, _)| *other != id) {
                    let value = table[other.index()].value;
                    table[other.index()] = Evidence { value, ..Evidence::plain(false) };
                }
                if let Some(temperature) = self.softmax {
                    let mass: f64 = contenders.iter().map(|(_, c)| ((c - raw) / temperature).exp()).sum();
                    table[id.index()].confidence = Some(1.0 / mass);
                }
            }
            winner = best;
        }
        let names = names?;
        let name_of = |id: SignalId| names[id.index()].name.clone();
        let runner_up = contenders
            .iter()
            .filter(|(id, _)| Some(*id) != winner.map(|(id, _)| id))
            .map(|(_, raw)| *raw)
            .max_by(f64::total_cmp);
        let kept = winner.map(|(id, _)| id).or(default_used.then_some(self.default));
        Some(PartitionRecord {
            name: self.name.clone(),
            semantics: if self.softmax.is_some() { "softmax_exclusive" } else { "exclusive" }.into(),
            contenders: contenders.iter().map(|(id, raw)| (name_of(*id), *raw)).collect(),
            winner: kept.map(name_of),
            winner_score: kept.and_then(|id| table[id.index()].confidence),
            margin: winner.zip(runner_up).map(|((_, raw), second)| raw - second),
            default_used,
        })
    }
}
