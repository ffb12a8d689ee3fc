//! Validators over `global`: module references, modality detector, switch gate, tool filtering, compression.

use super::{Context, algorithm};
use crate::codes;
use crate::contract::{AdvancedToolFiltering, ModalityDetector};

/// `model_ref` of each module names a model of `system`.
pub(super) fn check_references(cx: &mut Context<'_>) {
    let catalog = &cx.config.global.model_catalog;
    let (system, modules) = (&catalog.system, &catalog.modules);
    let classifier = &modules.classifier;
    let hallucination = &modules.hallucination_mitigation;
    let references = [
        ("prompt_guard", &modules.prompt_guard.model_id, &modules.prompt_guard.model_ref),
        ("classifier.domain", &classifier.domain.model_id, &classifier.domain.model_ref),
        ("classifier.pii", &classifier.pii.model_id, &classifier.pii.model_ref),
        (
            "hallucination_mitigation.fact_check",
            &hallucination.fact_check.model_id,
            &hallucination.fact_check.model_ref,
        ),
        (
            "hallucination_mitigation.detector",
            &hallucination.detector.model_id,
            &hallucination.detector.model_ref,
        ),
        (
            "hallucination_mitigation.explainer",
            &hallucination.explainer.model_id,
            &hallucination.explainer.model_ref,
        ),
        ("feedback_detector", &modules.feedback_detector.model_id, &modules.feedback_detector.model_ref),
    ];
    for (module, id, reference) in references {
        if !id.is_empty() || reference.is_empty() {
            continue;
        }
        let path = format!("global.model_catalog.modules.{module}.model_ref");
        let model = match reference.as_str() {
            "prompt_guard" => &system.prompt_guard,
            "domain_classifier" => &system.domain_classifier,
            "pii_classifier" => &system.pii_classifier,
            "fact_check_classifier" => &system.fact_check_classifier,
            "hallucination_detector" => &system.hallucination_detector,
            "hallucination_explainer" => &system.hallucination_explainer,
            "feedback_detector" => &system.feedback_detector,
            _ => {
                cx.fail(codes::MODULE_REF, path, format!("{module}: model_ref `{reference}` does not exist"));
                continue;
            }
        };
        if model.is_empty() {
            cx.fail(
                codes::MODULE_REF,
                path,
                format!("{module}: global.model_catalog.system.{reference} is empty"),
            );
        }
    }
}

pub(super) fn check(cx: &mut Context<'_>) {
    let config = cx.config;
    if let Some(message) = detector_error(&config.global.model_catalog.modules.modality_detector)
        .filter(|_| config.global.model_catalog.modules.modality_detector.enabled)
    {
        cx.fail(codes::MODALITY_DETECTOR, "global.model_catalog.modules.modality_detector", message);
    }
    let selection = &config.global.router.model_selection;
    let gate = &selection.model_switch_gate;
    const GATE: &str = "global.router.model_selection.model_switch_gate";
    if !["", "shadow", "enforce"].contains(&gate.mode.as_str()) {
        cx.fail(
            codes::SWITCH_GATE,
            format!("{GATE}.mode"),
            format!("the switch gate's mode `{}` is not shadow or enforce", gate.mode),
        );
    }
    for (name, value) in [
        ("min_switch_advantage", gate.min_switch_advantage),
        ("default_handoff_penalty", gate.default_handoff_penalty),
        ("cache_warmth_weight", gate.cache_warmth_weight),
    ] {
        if value < 0.0 {
            cx.fail(codes::SWITCH_GATE, format!("{GATE}.{name}"), format!("{name} is negative"));
        }
    }
    algorithm::check_session(cx, "global.router.model_selection.session_aware", &selection.session_aware);
    if let Some(filtering) =
        config.global.integrations.tools.advanced_filtering.as_ref().filter(|block| block.enabled)
        && let Some((below, message)) = filtering_error(filtering)
    {
        cx.fail(codes::TOOL_FILTER, format!("global.integrations.tools.advanced_filtering.{below}"), message);
    }
    let profile = &config.global.model_catalog.modules.prompt_compression.profile;
    let known = ["", "default", "coding", "medical", "security", "multi_turn"];
    if !known.contains(&profile.trim().to_lowercase().replace('-', "_").as_str()) {
        cx.fail(
            codes::COMPRESSION,
            "global.model_catalog.modules.prompt_compression.profile",
            format!("the compression profile `{profile}` does not exist"),
        )
        .help("use default, coding, medical, security or multi_turn");
    }
}

/// What is wrong with a tool filter, and where below it.
pub(super) fn filtering_error(block: &AdvancedToolFiltering) -> Option<(&'static str, String)> {
    if !block.enabled {
        return None;
    }
    if !["", "weighted", "hybrid_history"].contains(&block.retrieval_strategy.trim().to_lowercase().as_str())
    {
        return Some((
            "retrieval_strategy",
            format!("retrieval_strategy `{}` is not weighted or hybrid_history", block.retrieval_strategy),
        ));
    }
    let history = block.hybrid_history.clone().unwrap_or_default();
    let counts = [
        ("candidate_pool_size", block.candidate_pool_size),
        ("min_lexical_overlap", block.min_lexical_overlap),
        ("hybrid_history.history_horizon", history.history_horizon),
        ("hybrid_history.min_history_steps", history.min_history_steps),
    ];
    if let Some((name, _)) = counts.iter().find(|(_, value)| value.is_some_and(|value| value < 0)) {
        return Some((name, format!("{name} is negative")));
    }
    let weights = &block.weights;
    let units = [
        ("min_combined_score", block.min_combined_score),
        ("weights.embed", weights.embed),
        ("weights.lexical", weights.lexical),
        ("weights.tag", weights.tag),
        ("weights.name", weights.name),
        ("weights.category", weights.category),
        ("category_confidence_threshold", block.category_confidence_threshold),
        ("hybrid_history.history_confidence_threshold", history.history_confidence_threshold),
        ("hybrid_history.weight_semantic", history.weight_semantic),
        ("hybrid_history.weight_history_transition", history.weight_history_transition),
        ("hybrid_history.weight_decision_prior", history.weight_decision_prior),
        ("hybrid_history.repetition_penalty_strength", history.repetition_penalty_strength),
    ];
    let (name, _) =
        units.iter().find(|(_, value)| value.is_some_and(|value| !(0.0..=1.0).contains(&value)))?;
    Some((name, format!("{name} is not in [0,1]")))
}

/// What keeps an enabled modality detector from working.
pub(crate) fn detector_error(detector: &ModalityDetector) -> Option<String> {
    let has_model = detector.classifier.as_ref().is_some_and(|classifier| !classifier.model_path.is_empty());
    let has_words = !detector.keywords.is_empty();
    let method = detector.method.as_str();
    match method {
        "" => return Some("the modality detector needs a method: classifier, keyword or hybrid".into()),
        "classifier" if !has_model => return Some("method classifier needs classifier.model_path".into()),
        "keyword" if !has_words => return Some("method keyword needs keywords".into()),
        "hybrid" if !has_model && !has_words => {
            return Some("method hybrid needs classifier.model_path or keywords".into());
        }
        "classifier" | "keyword" | "hybrid" => {}
        other => return Some(format!("method `{other}` is not classifier, keyword or hybrid")),
    }
    let in_unit = |value: f32| value > 0.0 && value <= 1.0;
    if method != "keyword" && !in_unit(detector.confidence_threshold) {
        return Some(format!("method {method} needs a confidence_threshold above 0 and up to 1"));
    }
    if method == "hybrid" && !in_unit(detector.lower_threshold_ratio) {
        return Some("method hybrid needs a lower_threshold_ratio above 0 and up to 1".into());
    }
    None
}
