//! `complexity`: more like hard examples than like easy ones?
//!
//! The margin is the similarity to hard examples minus the similarity to easy ones; an image's margin replaces
//! the text's where it is larger in magnitude. Above the threshold a request is hard, below its negative easy,
//! else medium. A composer that does not hold takes the match away.

use pintle_config::{ComplexityRule, Profile};

use super::super::{Compiler, EvidenceTable, SignalDef, SignalKind, Used};
use super::{number, per_rule};
use crate::evidence::{Evidence, Truth, Unknown};
use crate::ids::SignalId;
use crate::learned::{ComplexityReading, Reading};
use crate::rules::{MAX_DEPTH, Rule};

/// Families that v0.3.0's composers can see.
const COMPAT_COMPOSABLE: [SignalKind; 13] = [
    SignalKind::Keyword,
    SignalKind::Embedding,
    SignalKind::Domain,
    SignalKind::FactCheck,
    SignalKind::UserFeedback,
    SignalKind::Reask,
    SignalKind::Preference,
    SignalKind::Language,
    SignalKind::Context,
    SignalKind::Structure,
    SignalKind::Modality,
    SignalKind::Kb,
    SignalKind::Conversation,
];

#[derive(Debug)]
pub(super) struct Complexity {
    rules: Vec<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    /// Hard, medium, easy.
    levels: [SignalId; 3],
    threshold: f64,
    composer: Option<Rule>,
}

impl Complexity {
    pub(super) fn compile(rules: &[ComplexityRule], c: &mut Compiler<'_>) -> Self {
        let mut compiled = Vec::with_capacity(rules.len());
        for rule in rules {
            let levels = ["hard", "medium", "easy"]
                .map(|level| c.names.declare(SignalKind::Complexity, &format!("{}:{level}", rule.name)));
            let composer = rule.composer.as_ref().and_then(|node| {
                let mut own = Used::default();
                let mut tree = match Rule::compile(node, c.names, &mut own) {
                    Ok(tree) => tree,
                    Err(_) => {
                        let at = format!("routing.signals.complexity[{:?}].composer", rule.name);
                        c.error(at, format!("rules nest deeper than {MAX_DEPTH} levels"));
                        return None;
                    }
                };
                if c.profile == Profile::Compat {
                    let defs = &c.names.defs;
                    tree.blind(&|id| !COMPAT_COMPOSABLE.contains(&defs[id.index()].kind));
                }
                Some(tree)
            });
            compiled.push(Compiled { levels, threshold: f64::from(rule.threshold), composer });
        }
        Self { rules: compiled }
    }

    pub(super) fn note_used(&self, defs: &[SignalDef], used: &mut Used) {
        for composer in self.rules.iter().filter_map(|rule| rule.composer.as_ref()) {
            composer.leaves(&mut |id| used.insert(defs[id.index()].kind));
        }
    }

    pub(super) fn evaluate(&self, reading: &Reading<Vec<ComplexityReading>>, out: &mut EvidenceTable) {
        for (at, rule) in self.rules.iter().enumerate() {
            match per_rule(reading, at).and_then(margin) {
                Ok(margin) => {
                    let level = if margin > rule.threshold {
                        0
                    } else if margin < -rule.threshold {
                        2
                    } else {
                        1
                    };
                    for (nth, id) in rule.levels.iter().enumerate() {
                        let confidence = margin.abs().min(1.0);
                        out[id.index()] = Evidence::scored(nth == level, confidence, margin);
                    }
                }
                Err(why) => super::all_unknown(rule.levels, why, out),
            }
        }
    }

    pub(super) fn apply_composers(&self, out: &mut EvidenceTable, profile: Profile) {
        for rule in &self.rules {
            let Some(composer) = &rule.composer else { continue };
            let allowed = composer.value(out, profile).truth;
            for id in rule.levels {
                let evidence = &mut out[id.index()];
                evidence.truth = match (evidence.truth, allowed) {
                    (Truth::False, _) | (_, Truth::False) => Truth::False,
                    (Truth::True, Truth::True) => Truth::True,
                    (Truth::Unknown(why), _) | (_, Truth::Unknown(why)) => Truth::Unknown(why),
                };
            }
        }
    }
}

fn margin(reading: &ComplexityReading) -> Result<f64, Unknown> {
    let text = number(reading.text.0 - reading.text.1)?;
    let image = reading.image.map(|(hard, easy)| number(hard - easy)).transpose()?;
    Ok(image.filter(|image| image.abs() > text.abs()).unwrap_or(text))
}
