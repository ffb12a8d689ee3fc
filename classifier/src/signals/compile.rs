//! Building a plan.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pintle_config::{Config, KnowledgeBase as KbConfig, PrototypeScoring};
use pintle_routing::evidence::Unknown;
use pintle_routing::learned::LearnedNeeds;
use pintle_routing::prototype::BankParams;
use pintle_routing::signals::SignalKind;

use super::bank::{Sides, gather};
use super::manifest::Manifest;
use super::{Bank, Compression, Contrast, FamilyStatus, KnowledgeBase, SignalPlan, Slot, Source, family_of};
use crate::reader::{Head, ModelError, TextModel, TextReading, Wanted};

/// Texts that are embedded in one call.
const EXAMPLES_PER_CALL: usize = 64;
/// Earlier user turns that a `reask` rule may compare.
const MAX_LOOKBACK: i64 = 64;

/// Where models come from.
pub trait Shelf {
    /// The models for embeddings, or for a head, in order of preference, and what an operator should know about
    /// the choice (empty if nothing).
    ///
    /// # Errors
    /// Why there is none, in one sentence.
    fn open(&self, head: Option<Head>) -> Result<(Slot, String), String>;

    /// A knowledge base's manifest: directory and file name as configured.
    ///
    /// # Errors
    /// Why it cannot be read, in one sentence.
    fn manifest(&self, directory: &str, file: &str) -> Result<String, String>;
}

/// What a plan is made from.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// What its policy asks for.
    pub needs: LearnedNeeds,
    /// Texts that stand for models, in the policy's order.
    pub descriptions: &'a [String],
    /// Models and manifests.
    pub shelf: &'a dyn Shelf,
}

struct Builder<'a> {
    shelf: &'a dyn Shelf,
    models: Vec<Slot>,
    families: Vec<FamilyStatus>,
    /// Vectors of examples by text.
    vectors: HashMap<String, Vec<f32>>,
}

impl SignalPlan {
    /// Opens the models that the policy needs and embeds the examples. A family whose model or examples are
    /// missing is unknown, and [`SignalPlan::families`] says why; that never fails the load of a configuration.
    pub fn compile(inputs: &Inputs<'_>) -> Self {
        let Inputs { config, needs, descriptions, shelf } = *inputs;
        let mut builder =
            Builder { shelf, models: Vec::new(), families: Vec::new(), vectors: HashMap::new() };
        let signals = &config.routing.signals;
        let catalog = &config.global.model_catalog;
        let modules = &catalog.modules;
        let used = |kind: SignalKind| needs.contains(kind);
        let contrastive =
            used(SignalKind::Jailbreak) && signals.jailbreak.iter().any(|rule| rule.method == "contrastive");
        let compares = used(SignalKind::Embedding)
            || used(SignalKind::Preference)
            || used(SignalKind::Complexity)
            || used(SignalKind::Kb)
            || used(SignalKind::Reask)
            || needs.query_embedding
            || needs.model_similarity
            || contrastive;
        let embedder = if compares { builder.open(None) } else { Opened::missing(Unknown::NoClassifier) };
        let semantic = BankParams::from(&catalog.embeddings.semantic.embedding_config.prototype_scoring);

        let embedding = used(SignalKind::Embedding).then(|| {
            let mut note = String::new();
            let banks = signals.embeddings.iter().map(|rule| {
                if rule.query_modality == "image" {
                    note = format!("rule {} compares images, which no model here reads", rule.name);
                    return None;
                }
                let mean = rule.aggregation_method == "mean";
                builder.bank(&embedder, &rule.candidates, semantic, mean)
            });
            let banks = banks.collect();
            builder.report(SignalKind::Embedding, &embedder, note);
            banks
        });
        let preference = used(SignalKind::Preference).then(|| {
            let params = BankParams::from(&modules.classifier.preference.prototype_scoring);
            let banks = signals.preferences.iter().map(|rule| {
                let description = std::iter::once(&rule.description).filter(|text| !text.is_empty());
                let texts: Vec<String> = description.chain(&rule.examples).cloned().collect();
                builder.bank(&embedder, &texts, params, false)
            });
            let banks = banks.collect();
            builder.report(SignalKind::Preference, &embedder, String::new());
            (embedder.source, banks)
        });
        let complexity = used(SignalKind::Complexity).then(|| {
            let params = BankParams::from(&modules.complexity.prototype_scoring);
            let mut note = String::new();
            let banks = signals.complexity.iter().map(|rule| {
                if !rule.hard.image_candidates.is_empty() {
                    note = format!("rule {}: image candidates are not compared", rule.name);
                }
                let mut side = |texts: &[String]| builder.bank(&embedder, texts, params, false);
                (side(&rule.hard.candidates), side(&rule.easy.candidates))
            });
            let banks = banks.collect();
            builder.report(SignalKind::Complexity, &embedder, note);
            banks
        });
        let contrastive = contrastive.then(|| {
            let rules = signals.jailbreak.iter().map(|rule| {
                (rule.method == "contrastive").then(|| {
                    let mut side = |texts: &[String]| {
                        let all = BankParams { enabled: false, ..semantic };
                        builder.bank(&embedder, texts, all, false)
                    };
                    Contrast {
                        attack: side(&rule.jailbreak_patterns),
                        harmless: side(&rule.benign_patterns),
                        history: rule.include_history,
                    }
                })
            });
            let rules = rules.collect();
            builder.report(SignalKind::Jailbreak, &embedder, String::new());
            rules
        });
        let kb = used(SignalKind::Kb).then(|| {
            let mut notes = Vec::new();
            let bases: Vec<KnowledgeBase> = catalog
                .kbs
                .iter()
                .filter_map(|base| match builder.knowledge_base(&embedder, base) {
                    Ok(base) => Some(base),
                    Err(why) => {
                        notes.push(format!("knowledge base {}: {why}", base.name));
                        None
                    }
                })
                .collect();
            builder.report(SignalKind::Kb, &embedder, notes.join("; "));
            bases
        });
        let reask = used(SignalKind::Reask).then(|| {
            builder.report(SignalKind::Reask, &embedder, String::new());
            let lookback = |turns: i64| turns.clamp(1, MAX_LOOKBACK) as usize;
            // One more than any rule asks for shows how far a streak goes on.
            signals.reasks.iter().map(|rule| lookback(rule.lookback_turns) + 1).max().unwrap_or(0)
        });
        let descriptions = needs.model_similarity.then(|| {
            builder.embed(&embedder, descriptions);
            let vector = |text: &String| builder.vectors.get(text).cloned().unwrap_or_default();
            descriptions.iter().map(vector).collect()
        });
        if needs.query_embedding || needs.model_similarity {
            builder.families.push(embedder.status("selection", String::new()));
        }
        let mut heads = [None; 6];
        for head in Head::ALL.into_iter().filter(|head| used(family_of(*head))) {
            let only_contrastive =
                head == Head::Jailbreak && signals.jailbreak.iter().all(|rule| rule.method == "contrastive");
            if only_contrastive {
                continue;
            }
            let opened = builder.open(Some(head));
            builder.report(family_of(head), &opened, String::new());
            heads[head as usize] = Some(opened.source);
        }
        let mut plan = Self {
            models: builder.models,
            families: builder.families,
            embedder: embedder.source,
            embedding,
            preference,
            complexity,
            contrastive,
            kb,
            reask,
            heads,
            query: needs.query_embedding,
            descriptions,
            history: needs.history,
            compression: Compression::compile(&modules.prompt_compression),
            uncompressed: uncompressed(&modules.prompt_compression.skip_signals),
            on_gpus: None,
        };
        plan.gather(config.global.pintle.classifier.hip.prototypes as usize);
        plan
    }

    /// Has GPUs compare embeddings with the prototypes, if they compute embeddings and there are at least `least`
    /// prototypes. Not where vectors are shortened: those are made here.
    fn gather(&mut self, least: usize) {
        let Source::Model(model) = self.embedder else { return };
        let Some(first) = self.models[model].backends.first() else { return };
        if least == 0 || first.backend() != "hip" {
            return;
        }
        let hidden = first.dimensions();
        let mut rules: Vec<Sides<'_>> = Vec::new();
        rules.extend(self.embedding.iter_mut().flatten().map(|bank| (bank.as_mut(), None)));
        if let Some((source, banks)) = &mut self.preference
            && *source == self.embedder
        {
            rules.extend(banks.iter_mut().map(|bank| (bank.as_mut(), None)));
        }
        let two = self.complexity.iter_mut().flatten();
        rules.extend(two.map(|(hard, easy)| (hard.as_mut(), easy.as_mut())));
        let contrasts = self.contrastive.iter_mut().flatten().flatten();
        rules.extend(contrasts.map(|rule| (rule.attack.as_mut(), rule.harmless.as_mut())));
        let labels = self.kb.iter_mut().flatten().flat_map(|base| &mut base.labels);
        rules.extend(labels.map(|(_, bank)| (Some(bank), None)));
        self.on_gpus = gather(rules, hidden, least);
        if let Some(banks) = &self.on_gpus {
            let (prototypes, rules) = (banks.prototypes(), banks.len());
            tracing::info!(prototypes, rules, "GPUs compare texts with prototypes");
        }
    }
}

/// Families that read the whole text.
fn uncompressed(configured: &[String]) -> Vec<SignalKind> {
    if configured.is_empty() {
        return vec![SignalKind::Jailbreak, SignalKind::Pii];
    }
    let kind = |name: &String| SignalKind::ALL.into_iter().find(|kind| kind.as_str() == name);
    configured.iter().filter_map(kind).collect()
}

/// A model that was asked for.
struct Opened {
    source: Source,
    model: String,
    backend: &'static str,
    note: String,
}

impl Opened {
    fn missing(why: Unknown) -> Self {
        Self { source: Source::Missing(why), model: String::new(), backend: "", note: String::new() }
    }

    fn status(&self, family: &'static str, note: String) -> FamilyStatus {
        let mut notes = vec![self.note.clone(), note];
        notes.retain(|note| !note.is_empty());
        FamilyStatus { family, model: self.model.clone(), backend: self.backend, note: notes.join("; ") }
    }
}

impl Builder<'_> {
    fn open(&mut self, head: Option<Head>) -> Opened {
        let (slot, note) = match self.shelf.open(head) {
            Ok(found) => found,
            Err(why) => return Opened { note: why, ..Opened::missing(Unknown::NoClassifier) },
        };
        let Some(first) = slot.backends.first() else {
            return Opened::missing(Unknown::NoClassifier);
        };
        let (digest, backend, model) = (first.digest(), first.backend(), slot.name.clone());
        // The same model for two heads is asked once for both.
        let known = self.models.iter().position(|known| {
            known.name == model && known.backends.first().is_some_and(|known| known.digest() == digest)
        });
        let at = known.unwrap_or_else(|| {
            self.models.push(slot);
            self.models.len() - 1
        });
        Opened { source: Source::Model(at), model, backend, note }
    }

    fn report(&mut self, family: SignalKind, opened: &Opened, note: String) {
        self.families.push(opened.status(family.as_str(), note));
    }

    /// Makes vectors of texts that have none yet, as far as the model can.
    fn embed(&mut self, embedder: &Opened, texts: &[String]) {
        let Source::Model(model) = embedder.source else { return };
        let slot = &self.models[model];
        let unknown: Vec<&String> = texts.iter().filter(|text| !self.vectors.contains_key(*text)).collect();
        if unknown.is_empty() {
            return;
        }
        for backend in &slot.backends {
            match embed(backend.as_ref(), &unknown) {
                Ok(vectors) => {
                    self.vectors.extend(unknown.into_iter().cloned().zip(vectors));
                    return;
                }
                Err(error) => {
                    let backend = backend.backend();
                    tracing::error!(model = slot.name, backend, %error, "examples cannot be embedded");
                }
            }
        }
    }

    /// Embeds the texts and thins them. `None` without a model, or if no text has a vector.
    fn bank(&mut self, embedder: &Opened, texts: &[String], params: BankParams, mean: bool) -> Option<Bank> {
        self.embed(embedder, texts);
        let examples: Vec<(&str, Vec<f32>)> = texts
            .iter()
            .filter_map(|text| Some((text.as_str(), self.vectors.get(text)?.clone())))
            .filter(|(_, vector)| !vector.is_empty())
            .collect();
        Bank::new(&examples, params, mean)
    }

    fn knowledge_base(&mut self, embedder: &Opened, base: &KbConfig) -> Result<KnowledgeBase, String> {
        let file = if base.source.manifest.is_empty() { "labels.json" } else { &base.source.manifest };
        let text = self.shelf.manifest(&base.source.path, file)?;
        let manifest = Manifest::parse(&text).map_err(|why| format!("{file}: {why}"))?;
        let params = params_of(&base.prototype_scoring);
        let mut labels = Vec::with_capacity(manifest.labels.len());
        for (label, examples) in &manifest.labels {
            match self.bank(embedder, &examples.exemplars, params, false) {
                Some(bank) => labels.push((label.clone(), bank)),
                None if matches!(embedder.source, Source::Missing(_)) => {}
                None => return Err(format!("label {label:?} has no usable exemplar")),
            }
        }
        Ok(KnowledgeBase { name: base.name.clone(), labels })
    }
}

/// A defect in a model must not take the configuration down with it.
fn embed(backend: &dyn TextModel, texts: &[&String]) -> Result<Vec<Vec<f32>>, ModelError> {
    let done = catch_unwind(AssertUnwindSafe(|| embed_all(backend, texts)));
    done.unwrap_or_else(|_| Err(ModelError("it panicked".to_owned())))
}

fn embed_all(backend: &dyn TextModel, texts: &[&String]) -> Result<Vec<Vec<f32>>, ModelError> {
    let mut session = backend.session();
    let mut readings: Vec<TextReading> = Vec::with_capacity(texts.len());
    for chunk in texts.chunks(EXAMPLES_PER_CALL) {
        let borrowed: Vec<&str> = chunk.iter().map(|text| text.as_str()).collect();
        session.read(&borrowed, Wanted::EMBEDDING, &mut readings)?;
    }
    Ok(readings.into_iter().map(|reading| reading.embedding).collect())
}

fn params_of(scoring: &PrototypeScoring) -> BankParams {
    BankParams::from(scoring)
}
