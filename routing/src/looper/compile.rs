//! From a decision's `algorithm` to a plan.

use pintle_config::{Algorithm, ConfidenceAlgorithm, Config, ModelCard, Profile, RemomAlgorithm};

use super::confidence::{Confidence, Method, TokenFilter};
use super::remom::{Compaction, Remom};
use super::{Kind, MAX_CALLS, Plan, Verifier};
use crate::policy::ModelInfo;
use crate::selection::Candidate;

const DEFAULT_TRADEOFF: f64 = 0.3;
const DEFAULT_SEED: u64 = 42;
const DEFAULT_COMPACTION: usize = 1000;
const DEFAULT_VERIFIER_SECONDS: u64 = 60;

/// The plan of a decision whose algorithm asks several models, and what an operator should know about it. There is no
/// plan where calls of several models are switched off, or where there are too few candidates.
pub(crate) fn compile(
    algorithm: &Algorithm,
    candidates: &[Candidate],
    models: &[ModelInfo],
    config: &Config,
    profile: Profile,
) -> (Option<Plan>, Option<String>) {
    let kind = algorithm.kind.trim().to_ascii_lowercase();
    let base = algorithm.session_aware.as_ref().map_or("", |block| block.base_method.trim());
    let named = if kind == "session_aware" { base } else { &kind };
    if !matches!(named, "confidence" | "ratings" | "remom") {
        return (None, None);
    }
    let one = |why: &str| (None, Some(format!("{why}, so {named} asks one model, chosen as by static")));
    if kind == "session_aware" {
        return one("a session's policy weighs one model against another");
    }
    if config.global.integrations.looper.endpoint.trim().is_empty() {
        return one(
            "global.integrations.looper.endpoint is empty, which switches calls of several models off",
        );
    }
    let Some(plan) = plan(algorithm, &kind, candidates, models, &config.routing.model_cards, profile) else {
        return one("there are too few candidates");
    };
    let unjudged = plan.verifier.as_ref().is_some_and(|verifier| verifier.url.is_empty());
    let note =
        unjudged.then(|| "automix_entailment has no verifier_server_url: no answer is judged".to_owned());
    (Some(plan), note)
}

fn plan(
    algorithm: &Algorithm,
    kind: &str,
    candidates: &[Candidate],
    models: &[ModelInfo],
    cards: &[ModelCard],
    profile: Profile,
) -> Option<Plan> {
    let mut targets: Vec<_> = candidates.iter().map(|candidate| candidate.target).collect();
    let fails = |own: &str| {
        let own = if own.is_empty() { &algorithm.on_error } else { own };
        own.trim().eq_ignore_ascii_case("fail")
    };
    let bounded =
        |most: i64| usize::try_from(most).ok().filter(|n| *n > 0).unwrap_or(MAX_CALLS).min(MAX_CALLS);
    let mut verifier = None;
    let (kind, fail_on_error, concurrency) = match kind {
        "confidence" if targets.len() > 1 => {
            let block = algorithm.confidence.clone().unwrap_or_default();
            let key = |at: &crate::ids::Target| order(&block, at.model.index(), candidates, models, cards);
            targets.sort_by(|a, b| key(a).total_cmp(&key(b)));
            let measured = confidence(&block, profile);
            verifier = (measured.method == Method::Entailment).then(|| Verifier {
                url: block.verifier_server_url.trim().trim_end_matches('/').to_owned(),
                timeout_seconds: u64::try_from(block.verifier_timeout_seconds)
                    .ok()
                    .filter(|seconds| *seconds > 0)
                    .unwrap_or(DEFAULT_VERIFIER_SECONDS),
            });
            (Kind::Confidence(measured), fails(&block.on_error), 1)
        }
        "ratings" if targets.len() > 1 => {
            let block = algorithm.ratings.clone().unwrap_or_default();
            (Kind::Ratings, fails(&block.on_error), bounded(block.max_concurrent))
        }
        "remom" if !targets.is_empty() => {
            let block = algorithm.remom.clone().unwrap_or_default();
            let (fail, most) = (fails(&block.on_error), bounded(block.max_concurrent));
            (Kind::Remom(remom(block, algorithm.remom.is_none())), fail, most)
        }
        _ => return None,
    };
    Some(Plan { profile, targets, kind, fail_on_error, concurrency, verifier })
}

fn confidence(block: &ConfidenceAlgorithm, profile: Profile) -> Confidence {
    let weight = |given: f64| if given > 0.0 { given } else { 0.5 };
    let weights = block.hybrid_weights.clone().unwrap_or_default();
    let method = match block.confidence_method.trim() {
        "margin" => Method::Margin,
        "hybrid" => {
            Method::Hybrid { logprob: weight(weights.logprob_weight), margin: weight(weights.margin_weight) }
        }
        "self_verify" => Method::SelfVerify,
        "automix_entailment" => Method::Entailment,
        _ => Method::AverageLogprob,
    };
    Confidence {
        method,
        threshold: if block.threshold == 0.0 { method.default_threshold(profile) } else { block.threshold },
        tokens: match block.token_filter.trim() {
            "tool_call_args" => TokenFilter::ToolCallArguments,
            _ => TokenFilter::All,
        },
    }
}

/// By which models are asked, least first: size, price, or a blend of quality and price.
fn order(
    block: &ConfidenceAlgorithm,
    model: usize,
    candidates: &[Candidate],
    models: &[ModelInfo],
    cards: &[ModelCard],
) -> f64 {
    let price = |at: usize| models[at].pricing.map_or(0.0, |pricing| pricing.prompt.get());
    match block.escalation_order.trim() {
        "cost" => price(model),
        "automix" => {
            let tradeoff = block.cost_quality_tradeoff;
            let tradeoff = if tradeoff > 0.0 { tradeoff } else { DEFAULT_TRADEOFF };
            let size = millions(&cards[model].param_size);
            let by_size = if size > 0.0 { 0.3 + 0.7 * (size / 70_000.0).min(1.0) } else { 0.5 };
            let quality = models[model].quality.filter(|quality| *quality <= 1.0).unwrap_or(by_size);
            let prices =
                candidates.iter().map(|c| price(c.target.model.index())).filter(|price| *price > 0.0);
            let (min, max) = prices.fold((f64::INFINITY, 0.0f64), |(a, b), p| (a.min(p), b.max(p)));
            let range = if max > min { max - min } else { 1.0 };
            let cheap = match price(model) {
                price if price > 0.0 => 1.0 - (price - min) / range,
                _ => 0.5,
            };
            (1.0 - tradeoff) * quality + tradeoff * cheap
        }
        _ => millions(&cards[model].param_size),
    }
}

/// Millions of parameters in a text such as `7B`, `350m` or `1.5`, which counts in billions; 0 for any other. As in
/// v0.3.0, fractions of a million do not count.
pub(super) fn millions(text: &str) -> f64 {
    let text = text.trim().to_ascii_lowercase();
    let number = text.trim_end_matches(['b', 'm', 'k']);
    if text.len() > number.len() + 1 {
        return 0.0;
    }
    let scale = match &text[number.len()..] {
        "m" => 1.0,
        "k" => 0.001,
        _ => 1000.0,
    };
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    number.parse::<f64>().ok().filter(|_| plain).map_or(0.0, |number| (number * scale).floor())
}

fn remom(block: RemomAlgorithm, absent: bool) -> Remom {
    let breadth: Vec<usize> =
        block.breadth_schedule.iter().filter_map(|n| usize::try_from(*n).ok()).filter(|n| *n > 0).collect();
    let tokens = usize::try_from(block.compaction_tokens).ok().filter(|tokens| *tokens > 0);
    Remom {
        breadth: if breadth.is_empty() { vec![4] } else { breadth },
        first_only: block.model_distribution.trim() == "first_only",
        temperature: match block.temperature {
            given if given > 0.0 => Some(given),
            _ if absent => Some(1.0),
            _ => None,
        },
        include_reasoning: block.include_reasoning,
        compaction: match block.compaction_strategy.trim() {
            "last_n_tokens" => Compaction::Last(tokens.unwrap_or(DEFAULT_COMPACTION)),
            _ => Compaction::Full,
        },
        shown: usize::try_from(block.max_responses_per_round).ok().filter(|shown| *shown > 0),
        template: block.synthesis_template,
        seed: match block.shuffle_seed {
            0 => DEFAULT_SEED,
            seed => seed.cast_unsigned(),
        },
        intermediate: absent || block.include_intermediate_responses,
    }
}
