//! `router_dc`: the model whose description is most similar to the query.
//!
//! A candidate's score is `(1 + cos)/2` of query and description. A candidate without a description gets 0; if
//! none reaches `min_similarity`, the order in which they are configured decides. v0.3.0 has
//! `sim = 1/(1 + e^(−cos/τ))`, scores `softmax(sim/τ)`, `min_similarity` for a candidate without a description
//! (which it does not choose), and states `sim`, or 0.95 above 0.9, as its confidence: the compat profile does so.

use pintle_config::{ModelCard, Profile, RouterDcSelection};
use smallvec::SmallVec;

use super::{Choice, Context, Scores, best, unlearned};
use crate::trace::{Learnt, ScoreReason, Unlearned};

const DEFAULT_TEMPERATURE: f64 = 0.07;
const DEFAULT_MIN_SIMILARITY: f64 = 0.3;
/// Above it, v0.3.0 states [`CAPPED`] as its confidence.
const SURE: f64 = 0.9;
const CAPPED: f64 = 0.95;

/// Parameters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RouterDc {
    temperature: f64,
    min_similarity: f64,
    /// By candidate: its description among those of the policy.
    descriptions: Vec<Option<usize>>,
}

/// The text by which a model is known to this selector; empty without any.
pub(crate) fn description(card: &ModelCard, with_capabilities: bool) -> String {
    let capabilities = format!("Capabilities: {}", card.capabilities.join(", "));
    match (card.description.is_empty(), card.capabilities.is_empty()) {
        (true, true) => String::new(),
        (false, true) => card.description.clone(),
        (false, false) if with_capabilities => format!("{}. {capabilities}", card.description),
        (false, false) => card.description.clone(),
        (true, false) if with_capabilities => capabilities,
        (true, false) => format!("Model: {}. {capabilities}", card.name),
    }
}

impl RouterDc {
    pub(crate) fn new(block: &RouterDcSelection, descriptions: Vec<Option<usize>>) -> Self {
        let positive = |value: f64, default: f64| if value > 0.0 { value } else { default };
        Self {
            temperature: positive(block.temperature, DEFAULT_TEMPERATURE),
            min_similarity: positive(block.min_similarity, DEFAULT_MIN_SIMILARITY),
            descriptions,
        }
    }

    /// Some candidate has a description.
    pub(crate) fn knows_any(&self) -> bool {
        self.descriptions.iter().any(Option::is_some)
    }

    pub(super) fn select(&self, context: &Context<'_>, scores: &mut Scores) -> Choice {
        let given = match context.query.similarities {
            Ok(given) => given,
            Err(why) => return unlearned(Unlearned::NoEmbedding(why), scores),
        };
        let eligible: SmallVec<[usize; 8]> =
            (0..scores.len()).filter(|at| scores[*at].reason.eligible()).collect();
        let cosine = |at: usize| {
            let cosine = self.descriptions[at].and_then(|text| given.get(text)).copied();
            cosine.filter(|cosine| cosine.is_finite()).map(|cosine| cosine.clamp(-1.0, 1.0))
        };
        if context.profile == Profile::Compat {
            return self.as_v0_3(&eligible, cosine, scores);
        }
        let greatest = eligible.iter().filter_map(|at| cosine(*at)).fold(f64::NEG_INFINITY, f64::max);
        if greatest == f64::NEG_INFINITY {
            return unlearned(Unlearned::NoDescription, scores);
        }
        if greatest < self.min_similarity {
            return unlearned(Unlearned::NothingSimilar, scores);
        }
        for at in eligible {
            (scores[at].score, scores[at].reason) = match cosine(at) {
                Some(cosine) => (f64::midpoint(1.0, cosine), ScoreReason::Learnt(Learnt::Similarity, cosine)),
                None => (0.0, ScoreReason::NoDescription),
            };
        }
        Choice { index: best(scores), confidence: greatest.clamp(0.0, 1.0) }
    }

    fn as_v0_3(
        &self,
        eligible: &[usize],
        cosine: impl Fn(usize) -> Option<f64>,
        scores: &mut Scores,
    ) -> Choice {
        let likeness = |at: usize| cosine(at).map(|cosine| 1.0 / (1.0 + (-cosine / self.temperature).exp()));
        let ranked = eligible.iter().filter_map(|at| Some((*at, likeness(*at)?)));
        let best = ranked.filter(|(_, sim)| *sim > 0.0).reduce(|a, b| if b.1 > a.1 { b } else { a });
        let Some((chosen, greatest)) = best.filter(|(_, sim)| *sim >= self.min_similarity) else {
            for at in eligible {
                scores[*at].score = 1.0 / eligible.len() as f64;
                scores[*at].reason = ScoreReason::NoDescription;
            }
            return Choice { index: eligible.first().copied(), confidence: 0.5 };
        };
        let value = |at: usize| likeness(at).unwrap_or(self.min_similarity);
        let most = eligible.iter().map(|at| value(*at)).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = eligible.iter().map(|at| ((value(*at) - most) / self.temperature).exp()).sum();
        for at in eligible {
            scores[*at].score = ((value(*at) - most) / self.temperature).exp() / sum;
            scores[*at].reason = match cosine(*at) {
                Some(cosine) => ScoreReason::Learnt(Learnt::Similarity, cosine),
                None => ScoreReason::NoDescription,
            };
        }
        Choice { index: Some(chosen), confidence: if greatest > SURE { CAPPED } else { greatest } }
    }
}
