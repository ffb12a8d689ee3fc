//! Model cards, the default model, provider models, backends and LoRA references.

use std::collections::HashSet;

use super::Context;
use crate::codes;
use crate::contract::{ModelCard, ProviderModel};

pub(super) fn check(cx: &mut Context<'_>) {
    let config = cx.config;
    let cards = &config.routing.model_cards;
    let mut names = HashSet::new();
    for (index, card) in cards.iter().enumerate() {
        let path = format!("routing.modelCards[{index}].name");
        if card.name.is_empty() {
            cx.fail(codes::CARD, path, "the model card has no name");
        } else if !names.insert(card.name.as_str()) {
            cx.fail(codes::CARD, path, format!("the model card `{}` is written twice", card.name));
        }
    }
    let default = &config.providers.defaults.default_model;
    if !default.is_empty() && !cards.iter().any(|card| card.name == *default || has_lora(card, default)) {
        cx.fail(
            codes::DEFAULT_MODEL,
            "providers.defaults.default_model",
            format!("the default model `{default}` is neither a model card nor a LoRA of one"),
        );
    }
    for (index, model) in config.providers.models.iter().enumerate() {
        check_provider(cx, &format!("providers.models[{index}]"), model, &names);
    }
    for (index, decision) in config.routing.decisions.iter().enumerate() {
        for (at, candidate) in decision.model_refs.iter().enumerate() {
            if candidate.lora_name.is_empty() {
                continue;
            }
            let path = format!("routing.decisions[{index}].modelRefs[{at}]");
            match cards.iter().find(|card| card.name == candidate.model) {
                None => {
                    cx.fail(
                        codes::MODEL_REF,
                        format!("{path}.model"),
                        format!("the candidate with a LoRA names an unknown model `{}`", candidate.model),
                    );
                }
                Some(card) if !has_lora(card, &candidate.lora_name) => {
                    cx.fail(
                        codes::MODEL_REF,
                        format!("{path}.lora_name"),
                        format!("the card of `{}` has no LoRA `{}`", card.name, candidate.lora_name),
                    );
                }
                Some(_) => {}
            }
        }
    }
}

fn has_lora(card: &ModelCard, name: &str) -> bool {
    card.loras.iter().any(|lora| lora.name == name)
}

fn check_provider(cx: &mut Context<'_>, path: &str, model: &ProviderModel, cards: &HashSet<&str>) {
    let name = &model.name;
    if name.is_empty() {
        cx.fail(codes::PROVIDER_MODEL, format!("{path}.name"), "the provider model has no name");
        return;
    }
    if !cards.contains(name.as_str()) {
        let near = crate::check::nearest(name, cards.iter().copied(), 3)
            .map(|card| format!("did you mean `{card}`?"));
        cx.fail(
            codes::PROVIDER_MODEL,
            format!("{path}.name"),
            format!("the provider model `{name}` matches no entry of routing.modelCards"),
        )
        .help_maybe(near);
    }
    let family = &model.reasoning_family;
    if !family.is_empty() && !cx.config.providers.defaults.reasoning_families.contains_key(family) {
        cx.fail(
            codes::REASONING_FAMILY,
            format!("{path}.reasoning_family"),
            format!("`{name}` names the reasoning family `{family}`, which providers.defaults.reasoning_families lacks"),
        );
    }
    if model.backend_refs.is_empty() && !has_metadata(model) {
        cx.fail(
            codes::PROVIDER_MODEL,
            path,
            format!(
                "`{name}` has neither backend_refs nor metadata (reasoning_family, provider_model_id, api_format, \
                 external_model_ids, pricing)"
            ),
        );
    }
    for (index, backend) in model.backend_refs.iter().enumerate() {
        let path = format!("{path}.backend_refs[{index}]");
        if backend.endpoint.trim().is_empty() && backend.base_url.trim().is_empty() {
            cx.fail(codes::BACKEND, path, format!("a backend of `{name}` has neither endpoint nor base_url"));
        } else if !backend.endpoint.trim().is_empty()
            && crate::endpoint::split(&backend.endpoint, "").host.is_empty()
        {
            cx.fail(
                codes::BACKEND,
                format!("{path}.endpoint"),
                format!("the endpoint of `{name}` has no host"),
            );
        }
    }
}

fn has_metadata(model: &ProviderModel) -> bool {
    let pricing = &model.pricing;
    !model.reasoning_family.is_empty()
        || !model.provider_model_id.is_empty()
        || !model.api_format.is_empty()
        || !model.external_model_ids.is_empty()
        || pricing.prompt_per_1m != 0.0
        || pricing.completion_per_1m != 0.0
        || !pricing.currency.is_empty()
}
