//! Capability filters: which candidates can serve the request at all.
//!
//! Filters only take out what is certain: a window that is declared and too small, a capability that one
//! candidate declares and another, which also declares its capabilities, does not. If nothing is left, the
//! request goes to the candidates as they are, for an estimate may be wrong and a refusal is certain.

use pintle_config::Profile;

use super::{Context, Scores};
use crate::policy::ModelInfo;
use crate::trace::ScoreReason;

const VISION: [&str; 6] = ["vision", "image", "images", "multimodal", "image_input", "omni"];
const TOOLS: [&str; 6] = ["tools", "tool_use", "tool-use", "tool_calling", "function_calling", "functions"];

/// What a model card declares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// Anything is declared, so that what is missing is missing on purpose.
    declared: bool,
    vision: bool,
    tools: bool,
}

impl Capabilities {
    pub(crate) fn of(labels: &[String], modality: &str) -> Self {
        let has = |known: &[&str]| labels.iter().any(|label| known.contains(&label.to_lowercase().as_str()));
        Self { declared: !labels.is_empty(), vision: has(&VISION) || modality == "omni", tools: has(&TOOLS) }
    }
}

/// Gives every candidate that cannot serve the reason why. Compat has no capability filters; there, as
/// here, a model without a backend is passed over.
pub(super) fn filter(context: &Context<'_>, scores: &mut Scores) {
    let any = |has: fn(&ModelInfo) -> bool| (0..scores.len()).any(|at| has(context.model(at)));
    let needs_vision = context.facts.has_image && any(|model| model.can.vision);
    let needs_tools = context.facts.tools.definitions > 0 && any(|model| model.can.tools);
    let needed = context.tokens.get() + context.facts.max_completion.map_or(0, |tokens| tokens.get());
    for at in 0..scores.len() {
        let model = context.model(at);
        let lacking = if context.profile == Profile::Compat {
            None
        } else if let Some(window) = model.context_window.map(|w| w.get()).filter(|window| needed > *window) {
            Some(ScoreReason::ContextWindow { needed, window })
        } else if needs_vision && model.can.declared && !model.can.vision {
            Some(ScoreReason::NoVision)
        } else if needs_tools && model.can.declared && !model.can.tools {
            Some(ScoreReason::NoTools)
        } else {
            None
        };
        if let Some(reason) = lacking {
            scores[at].score = 0.0;
            scores[at].reason = reason;
        }
    }
    lift_if_all(scores);
    for at in 0..scores.len() {
        if !context.live.available(context.candidates[at].target.model) {
            scores[at].score = 0.0;
            scores[at].reason = ScoreReason::Unavailable;
        }
    }
}

fn lift_if_all(scores: &mut Scores) {
    if !scores.iter().any(|score| score.reason.eligible()) {
        for score in scores.iter_mut() {
            score.score = 1.0;
            score.reason = ScoreReason::Single;
        }
    }
}
