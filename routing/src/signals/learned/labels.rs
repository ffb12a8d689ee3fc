//! `fact_check` and `user_feedback`: one label, below its threshold another.

use pintle_config::{Modules, NamedRule, Profile, Signals};

use super::super::{Compiler, EvidenceTable, SignalKind};
use super::all_unknown;
use crate::evidence::{Evidence, Unknown};
use crate::facts::Facts;
use crate::ids::SignalId;
use crate::learned::{LabelReading, Reading};

const NEEDS: &str = "needs_fact_check";
const NEEDS_NOT: &str = "no_fact_check_needed";
const SATISFIED: &str = "satisfied";

#[derive(Debug)]
pub(super) struct Labels {
    fact_check: Vec<(SignalId, String)>,
    fact_check_threshold: f64,
    feedback: Vec<(SignalId, String)>,
    feedback_threshold: f64,
    profile: Profile,
}

impl Labels {
    pub(super) fn compile(signals: &Signals, modules: &Modules, c: &mut Compiler<'_>) -> Self {
        let mut named = |kind, rules: &[NamedRule]| -> Vec<(SignalId, String)> {
            rules.iter().map(|rule| (c.names.declare(kind, &rule.name), rule.name.clone())).collect()
        };
        let or = |threshold: f32, default: f64| if threshold > 0.0 { f64::from(threshold) } else { default };
        Self {
            fact_check: named(SignalKind::FactCheck, &signals.fact_check),
            fact_check_threshold: or(modules.hallucination_mitigation.fact_check.threshold, 0.7),
            feedback: named(SignalKind::UserFeedback, &signals.user_feedbacks),
            feedback_threshold: or(modules.feedback_detector.threshold, 0.5),
            profile: c.profile,
        }
    }

    pub(super) fn evaluate_fact_check(&self, reading: &Reading<f64>, out: &mut EvidenceTable) {
        let ids = || self.fact_check.iter().map(|(id, _)| *id);
        match reading.given() {
            Ok(probability) if (0.0..=1.0).contains(probability) => {
                let needs = *probability >= self.fact_check_threshold;
                let (label, confidence) =
                    if needs { (NEEDS, *probability) } else { (NEEDS_NOT, 1.0 - probability) };
                self.put(&self.fact_check, label, confidence, out);
            }
            Ok(_) => all_unknown(ids(), Unknown::ClassifierFailed, out),
            Err(why) => all_unknown(ids(), why, out),
        }
    }

    /// There is no feedback before the first answer.
    pub(super) fn evaluate_feedback(
        &self,
        facts: &Facts<'_>,
        reading: &Reading<LabelReading>,
        out: &mut EvidenceTable,
    ) {
        let ids = || self.feedback.iter().map(|(id, _)| *id);
        if facts.messages.assistant == 0 {
            ids().for_each(|id| out[id.index()] = Evidence::plain(false));
            return;
        }
        match reading.given() {
            Ok(reading) if (0.0..=1.0).contains(&reading.probability) => {
                let (label, confidence) = if reading.probability >= self.feedback_threshold {
                    (reading.label.as_str(), reading.probability)
                } else {
                    (SATISFIED, 1.0 - reading.probability)
                };
                self.put(&self.feedback, label, confidence, out);
            }
            Ok(_) => all_unknown(ids(), Unknown::ClassifierFailed, out),
            Err(why) => all_unknown(ids(), why, out),
        }
    }

    /// v0.3.0 keeps no confidence for these families, so that decisions read 1.
    fn put(&self, rules: &[(SignalId, String)], label: &str, confidence: f64, out: &mut EvidenceTable) {
        for (id, name) in rules {
            let holds = name == label;
            out[id.index()] = match self.profile {
                Profile::Compat => Evidence::plain(holds),
                Profile::Pintle => Evidence::scored(holds, confidence, confidence),
            };
        }
    }
}
