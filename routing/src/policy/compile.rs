//! From configuration to policy.

use std::collections::HashMap;
use std::sync::Arc;

use pintle_config::{Config, Decision as DecisionConfig, ModelRef, Profile, ProviderModel, Value};
use xxhash_rust::xxh3::Xxh3;

use super::assume;
use super::legend::Legend;
use super::order::Order;
use super::session::{OnMissing, SwitchGate, params};
use super::{Decision, DefaultRoute, ModelInfo, Policy, ReasoningFamily};
use crate::edits::RequestEdits;
use crate::ids::{LoraId, ModelId, Target};
use crate::looper;
use crate::projections::Projections;
use crate::rules::{MAX_DEPTH, Rule};
use crate::selection::capability::Capabilities;
use crate::selection::compile::LearntParts;
use crate::selection::pretrained::Pretrained;
use crate::selection::{Candidate, Selector};
use crate::session::Pricing;
use crate::signals::{CompileError, SignalKind, SignalNames, Signals, Used, blank};
use crate::units::{Tokens, UsdPerMillion};

/// Changes when the same configuration would decide differently than in an earlier version.
const DECIDE_VERSION: u32 = 2;
/// Models, decisions and signals are numbered in 16 bits.
const MAX_ENTRIES: usize = u16::MAX as usize;

pub(super) fn compile(
    config: &Config,
    profile: Profile,
    pretrained: &Pretrained,
) -> Result<Policy, Vec<CompileError>> {
    let mut errors = Vec::new();
    let mut notes = Vec::new();
    limit("routing.modelCards", config.routing.model_cards.len(), &mut errors);
    limit("routing.decisions", config.routing.decisions.len(), &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let models = models(config);
    let targets = targets(&models);
    let mut names = SignalNames::default();
    let signals = Signals::compile(config, profile, &mut names, &mut errors);
    let projections = Projections::compile(&config.routing.projections, profile, &mut names, &mut errors);

    let mut used = Used::default();
    let mut decisions = Vec::with_capacity(config.routing.decisions.len());
    let ranks = name_ranks(&config.routing.decisions);
    let on_missing = OnMissing::of(config);
    let mut learnt = LearntParts { pretrained, descriptions: Vec::new() };
    for (at, decision) in config.routing.decisions.iter().enumerate() {
        let rules = match Rule::compile(&decision.rules, &mut names, &mut used) {
            Ok(rules) => rules,
            Err(_) => {
                errors.push(CompileError {
                    at: format!("routing.decisions[{:?}].rules", decision.name),
                    what: format!("rules nest deeper than {MAX_DEPTH} levels"),
                });
                continue;
            }
        };
        let candidates: Vec<Candidate> =
            decision.model_refs.iter().filter_map(|r| candidate(r, decision, &targets, &mut notes)).collect();
        let mut category = None;
        rules.leaves(&mut |id| {
            let def = &names.defs[id.index()];
            if def.kind == SignalKind::Domain && category.is_none() {
                category = Some(def.name.clone());
            }
        });
        let selection = crate::selection::compile(
            decision,
            category.as_deref(),
            &candidates,
            &models,
            config,
            profile,
            &mut learnt,
        );
        let (looper, looper_note) = match &decision.algorithm {
            Some(algorithm) => looper::compile(algorithm, &candidates, &models, config, profile),
            None => (None, None),
        };
        let note = selection.note.or(looper_note);
        if let Some(note) = &note {
            let at = format!("routing.decisions[{:?}].algorithm", decision.name);
            notes.push(CompileError { at, what: note.clone() });
        }
        let own = decision.algorithm.as_ref().and_then(|algorithm| algorithm.session_aware.as_ref());
        decisions.push(Decision {
            name: decision.name.clone(),
            priority: decision.priority,
            tier: decision.tier,
            name_rank: ranks[at],
            rules,
            guard: false,
            selector: selection.selector,
            algorithm: decision.algorithm.as_ref().map_or(String::new(), |a| a.kind.trim().to_owned()),
            looper,
            candidates,
            note,
            session: selection.session_aware.then(|| Box::new(params(own, config, on_missing, profile))),
            fast_response: fast_response(decision),
            edits: RequestEdits::of(decision, config),
        });
    }
    note_plugins(&config.routing.decisions, config, &mut notes);
    limit("routing.signals", names.defs.len(), &mut errors);
    note_undeclared(&decisions, &names, &mut notes);
    let default = default_route(config, &targets, &mut errors);
    let assumed = assume::compile(config, profile, &names, &mut decisions, &mut errors);
    let Some(mut signals) = signals else { return Err(errors) };
    if !errors.is_empty() {
        return Err(errors);
    }
    if used.contains(SignalKind::Projection) {
        let mut wanted = vec![false; names.defs.len()];
        for decision in &decisions {
            decision.rules.leaves(&mut |id| wanted[id.index()] = true);
        }
        projections.note_used(|id| wanted[id.index()], &names.defs, &mut used);
    }
    signals.restrict(used, &names.defs);
    let mut policy = Policy {
        profile,
        digest: digest(config, profile, pretrained),
        requestable: requestable(config, &models, &targets),
        targets,
        models,
        auto_names: auto_names(config),
        default,
        signals,
        blank: blank(&names.defs, profile),
        defs: names.defs,
        projections,
        assumed,
        decisions,
        descriptions: learnt.descriptions,
        order: Order { by_confidence: config.global.router.strategy == "confidence", profile },
        default_effort: match config.providers.defaults.default_reasoning_effort.as_str() {
            "" => "medium".into(),
            effort => effort.into(),
        },
        on_missing,
        gate: SwitchGate::of(config, profile),
        notes,
        legend: Arc::default(),
    };
    policy.legend = Arc::new(Legend::of(&policy));
    Ok(policy)
}

fn limit(at: &str, entries: usize, errors: &mut Vec<CompileError>) {
    if entries > MAX_ENTRIES {
        errors.push(CompileError { at: at.into(), what: format!("more than {MAX_ENTRIES} entries") });
    }
}

fn models(config: &Config) -> Vec<ModelInfo> {
    let provider = |name: &str| -> Option<&ProviderModel> {
        // Of equal names v0.3.0 takes the last.
        config.providers.models.iter().rev().find(|model| model.name == name)
    };
    let cards = config.routing.model_cards.iter().map(|card| {
        let loras: Vec<String> = card.loras.iter().map(|lora| lora.name.clone()).collect();
        let mut target_names = vec![card.name.clone()];
        target_names.extend(loras.iter().map(|lora| format!("{}#{lora}", card.name)));
        let pricing = provider(&card.name).map(|model| &model.pricing);
        ModelInfo {
            name: card.name.clone(),
            loras,
            pricing: pricing.and_then(|p| {
                let priced = p.prompt_per_1m != 0.0 || p.completion_per_1m != 0.0 || !p.currency.is_empty();
                priced.then_some(Pricing {
                    prompt: UsdPerMillion(p.prompt_per_1m),
                    cached: UsdPerMillion(p.cached_input_per_1m),
                    completion: UsdPerMillion(p.completion_per_1m),
                })
            }),
            context_window: u64::try_from(card.context_window_size).ok().filter(|w| *w > 0).map(Tokens),
            quality: (card.quality_score > 0.0).then_some(card.quality_score),
            capabilities: card.capabilities.clone(),
            target_names,
            can: Capabilities::of(&card.capabilities, &card.modality),
            reasoning: provider(&card.name).and_then(|model| reasoning_family(config, model)),
        }
    });
    cards.collect()
}

fn reasoning_family(config: &Config, model: &ProviderModel) -> Option<ReasoningFamily> {
    let family = config.providers.defaults.reasoning_families.get(&model.reasoning_family)?;
    match family.kind.as_str() {
        "chat_template_kwargs" => Some(ReasoningFamily::TemplateFlag(family.parameter.clone())),
        "reasoning_effort" => Some(ReasoningFamily::Effort),
        _ => None,
    }
}

fn targets(models: &[ModelInfo]) -> HashMap<String, Target> {
    let mut targets = HashMap::new();
    for (at, model) in models.iter().enumerate() {
        let id = ModelId(at as u16);
        for (nth, name) in model.target_names.iter().enumerate() {
            let lora = nth.checked_sub(1).map(|lora| LoraId(lora as u16));
            targets.entry(name.clone()).or_insert(Target { model: id, lora });
        }
    }
    targets
}

/// Names that a client may ask for, strongest first: models, adapters (of the first model by name that has
/// them), external ids.
fn requestable(
    config: &Config,
    models: &[ModelInfo],
    targets: &HashMap<String, Target>,
) -> HashMap<String, Target> {
    let mut names = HashMap::new();
    for model in models {
        if let Some(target) = targets.get(&model.name) {
            names.entry(model.name.clone()).or_insert(*target);
        }
    }
    let mut sorted: Vec<&ModelInfo> = models.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    for model in sorted {
        for (at, lora) in model.loras.iter().enumerate() {
            if let Some(base) = targets.get(&model.name) {
                let target = Target { model: base.model, lora: Some(LoraId(at as u16)) };
                names.entry(lora.clone()).or_insert(target);
            }
        }
    }
    for model in &config.providers.models {
        let ids = model.external_model_ids.values().chain(std::iter::once(&model.provider_model_id));
        for id in ids.filter(|id| !id.is_empty()) {
            if let Some(target) = targets.get(&model.name) {
                names.entry(id.clone()).or_insert(*target);
            }
        }
    }
    names
}

fn auto_names(config: &Config) -> Vec<String> {
    let mut names = vec!["auto".to_owned()];
    let configured = config.global.router.auto_model_name.trim();
    if !configured.is_empty() && configured != "auto" {
        names.push(configured.to_owned());
    }
    names
}

/// A candidate, unless its model has no card: v0.3 loads such a decision, and can send nothing there either.
fn candidate(
    reference: &ModelRef,
    decision: &DecisionConfig,
    targets: &HashMap<String, Target>,
    notes: &mut Vec<CompileError>,
) -> Option<Candidate> {
    let canonical = match reference.lora_name.as_str() {
        "" => reference.model.clone(),
        lora => format!("{}#{lora}", reference.model),
    };
    let Some(target) = targets.get(&canonical) else {
        let what = match reference.lora_name.as_str() {
            "" => format!("model {:?} has no entry in routing.modelCards and is left out", reference.model),
            lora => format!("model {:?} has no adapter {lora:?} and is left out", reference.model),
        };
        notes.push(CompileError { at: format!("routing.decisions[{:?}].modelRefs", decision.name), what });
        return None;
    };
    Some(Candidate {
        target: *target,
        reasoning: reference.use_reasoning.unwrap_or(false),
        effort: Some(reference.reasoning_effort.clone()).filter(|effort| !effort.is_empty()),
    })
}

fn default_route(
    config: &Config,
    targets: &HashMap<String, Target>,
    errors: &mut Vec<CompileError>,
) -> Option<DefaultRoute> {
    let name = config.providers.defaults.default_model.as_str();
    if name.is_empty() {
        return None;
    }
    let adapter = || {
        let mut cards = config.routing.model_cards.iter();
        let card = cards.find(|card| card.loras.iter().any(|lora| lora.name == name))?;
        targets.get(&format!("{}#{name}", card.name))
    };
    let Some(target) = targets.get(name).or_else(adapter) else {
        errors.push(CompileError {
            at: "providers.defaults.default_model".into(),
            what: format!("{name:?} is neither a model nor an adapter in routing.modelCards"),
        });
        return None;
    };
    Some(DefaultRoute {
        candidates: vec![Candidate { target: *target, reasoning: false, effort: None }],
        selector: Selector::Static(None),
    })
}

fn fast_response(decision: &DecisionConfig) -> Option<String> {
    let plugin = decision.plugins.iter().find(|plugin| plugin.kind == "fast_response")?;
    plugin.configuration.as_ref()?.get("message")?.as_str().map(str::to_owned)
}

fn name_ranks(decisions: &[DecisionConfig]) -> Vec<u32> {
    let mut order: Vec<usize> = (0..decisions.len()).collect();
    order.sort_by(|a, b| decisions[*a].name.cmp(&decisions[*b].name).then(a.cmp(b)));
    let mut ranks = vec![0; decisions.len()];
    for (rank, at) in order.into_iter().enumerate() {
        ranks[at] = rank as u32;
    }
    ranks
}

/// Of the plugins that are acted on, what of them is not.
fn note_plugins(decisions: &[DecisionConfig], config: &Config, notes: &mut Vec<CompileError>) {
    for decision in decisions {
        let selections = decision.plugins.iter().filter(|plugin| plugin.kind == "tool_selection");
        for payload in selections.filter_map(|plugin| plugin.configuration.as_ref()) {
            let on = payload.get("enabled").and_then(Value::as_bool).unwrap_or(false);
            if !on || payload.get("mode").and_then(Value::as_str) == Some("filter") {
                continue;
            }
            let mut note = |what: &str| {
                let at = format!("routing.decisions[{:?}].plugins", decision.name);
                notes.push(CompileError { at, what: what.into() });
            };
            if RequestEdits::of(decision, config).tool_addition.is_none() {
                note(
                    "tool_selection has no effect: it names no tools_db_path, and global.integrations.tools is not \
                     enabled",
                );
            }
            let own = payload.get("advanced_filtering").and_then(|own| own.get("retrieval_strategy"));
            let global = config.global.integrations.tools.advanced_filtering.as_ref();
            let strategy = own.and_then(Value::as_str).or(global.map(|global| &*global.retrieval_strategy));
            if strategy.is_some_and(|strategy| strategy.trim().eq_ignore_ascii_case("hybrid_history")) {
                note(
                    "tool_selection ranks as with retrieval_strategy weighted: hybrid_history is without effect",
                );
            }
        }
    }
}

fn note_undeclared(decisions: &[Decision], names: &SignalNames, notes: &mut Vec<CompileError>) {
    for decision in decisions {
        let at = || format!("routing.decisions[{:?}].rules", decision.name);
        decision.rules.leaves(&mut |id| {
            let def = &names.defs[id.index()];
            if !def.declared {
                let what = format!("{} is not declared, so it is never satisfied", def.key);
                notes.push(CompileError { at: at(), what });
            }
        });
        decision.rules.unknown_types(&mut |kind| {
            let what = format!("no signal has the type {kind:?}, so the condition is never satisfied");
            notes.push(CompileError { at: at(), what });
        });
    }
}

/// Over everything that decides, and nothing else: no listener, backend or key changes it.
fn digest(config: &Config, profile: Profile, pretrained: &Pretrained) -> u64 {
    let mut hasher = Xxh3::new();
    let mut take = |text: String| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    take(format!("{DECIDE_VERSION} {profile:?}"));
    take(format!("{:?}", config.routing));
    take(format!("{:?}", config.providers.defaults));
    for model in &config.providers.models {
        take(format!(
            "{:?} {:?} {:?} {:?} {:?}",
            model.name,
            model.pricing,
            model.external_model_ids,
            model.provider_model_id,
            model.reasoning_family
        ));
    }
    take(format!("{:?}", config.global.router));
    take(format!("{:?}", config.global.model_catalog));
    take(format!("{:?}", config.global.services.authz));
    take(format!("{:?}", config.global.pintle.session.on_missing_model));
    take(format!("{:?}", config.global.pintle.shortfall_price_usd));
    if !config.global.pintle.decisions.is_empty() || !config.global.pintle.signals.is_empty() {
        take(format!("{:?} {:?}", config.global.pintle.decisions, config.global.pintle.signals));
    }
    if pretrained.digests() != [0; 4] {
        take(format!("{:?}", pretrained.digests()));
    }
    hasher.digest()
}
