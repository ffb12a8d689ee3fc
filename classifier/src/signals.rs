//! From a configuration to what has to be asked of which model, and from the answers to evidence.
//!
//! [`SignalPlan::compile`] is done at each load of a configuration: it opens the models, reads knowledge bases
//! and turns example texts into prototypes. [`SignalPlan::ask`] lists what one request needs, and
//! [`SignalPlan::tell`] makes [`Learned`] of the answers. Thresholds are not applied here:
//! that is routing's part, where decisions can be repeated without any model.

use std::borrow::Cow;
use std::sync::Arc;

use pintle_hip::encoder::Banks;
use pintle_routing::evidence::Unknown;
use pintle_routing::facts::Facts;
use pintle_routing::learned::Learned;
use pintle_routing::signals::{SignalKind, evaluation_text};

use crate::external::{ExternalModel, ExternalStatus};
use crate::reader::{Head, TextModel, TextReading, Wanted};

mod bank;
mod compile;
mod compress;
mod manifest;
mod tell;
#[cfg(test)]
pub(crate) mod tests;

use bank::Bank;
pub use compile::{Inputs, Shelf};
pub use compress::Compression;

/// Earlier texts of one request that are read for attacks and personal data.
pub const MAX_HISTORY_TEXTS: usize = 256;

/// What is asked about one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// The text that signals read.
    pub current: String,
    /// Earlier user texts, oldest first.
    pub prior_user: Vec<String>,
    /// System, developer and assistant texts.
    pub non_user: Vec<String>,
}

/// One of a question's texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextRef {
    /// What signals read.
    Current,
    /// The same, shortened.
    Compressed,
    /// An earlier user text.
    Prior(usize),
    /// A text of somebody else.
    NonUser(usize),
}

/// One text to be read by one model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item {
    /// Position in [`SignalPlan::models`].
    pub(crate) model: usize,
    pub(crate) text: TextRef,
    pub(crate) wanted: Wanted,
}

/// The answers to [`SignalPlan::ask`], in its order.
pub(crate) type Answers = [Result<Arc<TextReading>, Unknown>];

/// A model and what may answer in its place, in order of preference.
pub struct Slot {
    /// As in status and metrics.
    pub name: String,
    /// In order of preference; all of one model.
    pub backends: Vec<Arc<dyn TextModel>>,
}

/// Who measures a family.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FamilyStatus {
    /// Condition type.
    pub family: &'static str,
    /// The model, or empty if none can be asked.
    pub model: String,
    /// `embedded`, `cpu`, `onnx`, `hip`, `http`; empty without a model.
    pub backend: &'static str,
    /// What an operator should know; empty if all is well.
    pub note: String,
}

/// Everything that one configuration asks of classifiers.
pub struct SignalPlan {
    pub(crate) models: Vec<Slot>,
    families: Vec<FamilyStatus>,
    /// Without an embedding model, why the families that compare with examples are unknown.
    embedder: Source,
    embedding: Option<Vec<Option<Bank>>>,
    preference: Option<(Source, Vec<Option<Bank>>)>,
    complexity: Option<Vec<(Option<Bank>, Option<Bank>)>>,
    contrastive: Option<Vec<Option<Contrast>>>,
    kb: Option<Vec<KnowledgeBase>>,
    /// Earlier user turns that are compared, at most.
    reask: Option<usize>,
    heads: [Option<Source>; 6],
    /// Selectors read the query's vector.
    query: bool,
    /// Texts that stand for models, as vectors; an empty one could not be embedded.
    descriptions: Option<Vec<Vec<f32>>>,
    history: bool,
    /// The prototypes, where GPUs that embed texts compare them too.
    on_gpus: Option<Arc<Banks>>,
    compression: Compression,
    /// Families that read the whole text although others read a shortened one.
    uncompressed: Vec<SignalKind>,
}

/// Where a family's answers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Model(usize),
    Missing(Unknown),
}

/// Examples of a contrastive rule.
struct Contrast {
    attack: Option<Bank>,
    harmless: Option<Bank>,
    history: bool,
}

struct KnowledgeBase {
    name: String,
    labels: Vec<(String, Bank)>,
}

impl SignalPlan {
    /// Nothing is asked of any model.
    pub fn is_empty(&self) -> bool {
        self.families.is_empty() && !self.query && self.descriptions.is_none()
    }

    /// How the external models that are asked do.
    pub fn external(&self) -> Vec<ExternalStatus> {
        let backends = self.models.iter().flat_map(|slot| &slot.backends);
        backends.filter_map(|backend| backend.external()).map(ExternalModel::status).collect()
    }

    /// What a model's embeddings are compared with where they are computed.
    pub(crate) fn compares(&self, model: usize) -> Option<&Arc<Banks>> {
        self.on_gpus.as_ref().filter(|_| self.embedder == Source::Model(model))
    }

    /// Who measures each family that the configuration uses.
    pub fn families(&self) -> &[FamilyStatus] {
        &self.families
    }

    /// What the question needs, and its shortened text if any family reads that.
    pub(crate) fn ask(&self, question: &Question) -> (Vec<Item>, Option<String>) {
        let compressed = self.compression.apply(&question.current);
        let mut items = Items { list: Vec::with_capacity(4) };
        let current = |family: SignalKind| {
            let whole = compressed.is_none() || self.uncompressed.contains(&family);
            if whole { TextRef::Current } else { TextRef::Compressed }
        };
        if question.current.is_empty() {
            return (items.list, None);
        }
        let compares = [
            (self.embedding.is_some(), SignalKind::Embedding),
            (self.complexity.is_some(), SignalKind::Complexity),
            (self.kb.is_some(), SignalKind::Kb),
            (self.contrastive.is_some(), SignalKind::Jailbreak),
            (self.reask.is_some(), SignalKind::Reask),
        ];
        for (_, family) in compares.into_iter().filter(|(used, _)| *used) {
            items.add(self.embedder, current(family), Wanted::EMBEDDING);
        }
        if self.query || self.descriptions.is_some() {
            items.add(self.embedder, TextRef::Current, Wanted::EMBEDDING);
        }
        if let Some((source, _)) = &self.preference {
            items.add(*source, current(SignalKind::Preference), Wanted::EMBEDDING);
        }
        for turn in self.compared_turns(question) {
            items.add(self.embedder, TextRef::Prior(turn), Wanted::EMBEDDING);
        }
        for head in Head::ALL {
            let Some(source) = self.heads[head as usize] else { continue };
            items.add(source, current(family_of(head)), Wanted::head(head));
            if self.history && matches!(head, Head::Jailbreak | Head::Pii) {
                for text in history(question) {
                    items.add(source, text, Wanted::head(head));
                }
            }
        }
        if self.contrastive.iter().flatten().flatten().any(|rule| rule.history) {
            for text in history(question) {
                items.add(self.embedder, text, Wanted::EMBEDDING);
            }
        }
        (items.list, compressed)
    }

    /// Earlier user turns that `reask` compares: positions, newest first.
    fn compared_turns(&self, question: &Question) -> impl Iterator<Item = usize> + use<> {
        let turns = question.prior_user.len();
        (turns - turns.min(self.reask.unwrap_or(0))..turns).rev()
    }

    /// Evidence from the answers.
    pub(crate) fn tell(&self, question: &Question, items: &[Item], answers: &Answers) -> Learned {
        tell::tell(self, question, items, answers)
    }
}

/// The earlier texts that are read, newest of each kind first; none if there are too many to read them all.
fn history(question: &Question) -> impl Iterator<Item = TextRef> {
    let (prior, others) = (question.prior_user.len(), question.non_user.len());
    let fits = prior + others <= MAX_HISTORY_TEXTS;
    let prior = (0..prior).rev().map(TextRef::Prior);
    prior.chain((0..others).rev().map(TextRef::NonUser)).filter(move |_| fits)
}

const fn family_of(head: Head) -> SignalKind {
    match head {
        Head::Domain => SignalKind::Domain,
        Head::FactCheck => SignalKind::FactCheck,
        Head::UserFeedback => SignalKind::UserFeedback,
        Head::Jailbreak => SignalKind::Jailbreak,
        Head::Modality => SignalKind::Modality,
        Head::Pii => SignalKind::Pii,
    }
}

struct Items {
    list: Vec<Item>,
}

impl Items {
    /// One item per model and text, so that one pass serves all who want something of it.
    fn add(&mut self, source: Source, text: TextRef, wanted: Wanted) {
        let Source::Model(model) = source else { return };
        match self.list.iter_mut().find(|item| item.model == model && item.text == text) {
            Some(item) => item.wanted = item.wanted.and(wanted),
            None => self.list.push(Item { model, text, wanted }),
        }
    }
}

impl Question {
    /// The texts of a request, as far as its policy's needs had them read.
    pub fn of(facts: &Facts<'_>) -> Self {
        let owned = |texts: &[Cow<'_, str>]| texts.iter().map(|text| text.to_string()).collect();
        Self {
            current: evaluation_text(facts).into_owned(),
            prior_user: owned(&facts.texts.prior_user),
            non_user: owned(&facts.texts.non_user),
        }
    }

    pub(crate) fn text<'a>(&'a self, text: TextRef, compressed: Option<&'a str>) -> &'a str {
        match text {
            TextRef::Current => &self.current,
            TextRef::Compressed => compressed.unwrap_or(&self.current),
            TextRef::Prior(at) => &self.prior_user[at],
            TextRef::NonUser(at) => &self.non_user[at],
        }
    }
}
