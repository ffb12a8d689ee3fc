//! Signals: what is looked at in a request, and what was found.
//!
//! Each family reads one kind of fact and yields one [`Evidence`] per declared name. Families that can be
//! computed from the request are evaluated here; learned ones take what a classifier measured and turn it
//! into evidence by the configured thresholds, and are unknown where it measured nothing.
//!
//! A family is evaluated as a whole if anything in the policy refers to it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use pintle_config::{Config, Profile};
use smallvec::SmallVec;

use crate::evidence::{Evidence, Unknown};
use crate::facts::{Facts, Needs};
use crate::ids::SignalId;
use crate::learned::{Learned, LearnedNeeds};
use crate::trace::INLINE_SIGNALS;

mod authz;
mod context;
mod conversation;
mod event;
mod keyword;
mod language;
mod learned;
mod metadata;
pub(crate) mod predicate;
mod scanner;
mod structure;
#[cfg(test)]
mod tests;
pub(crate) mod text;

pub use context::{DEFAULT_BYTES_PER_TOKEN, TokenRatio, context_tokens, estimate_tokens};
use scanner::{Scanner, ScannerBuilder};

/// All signals of one request, by [`SignalId`].
pub(crate) type EvidenceTable = SmallVec<[Evidence; INLINE_SIGNALS]>;

/// A family of signals: a condition's `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each is named as the condition type is")]
pub enum SignalKind {
    Authz,
    Complexity,
    Context,
    Conversation,
    Domain,
    Embedding,
    Event,
    FactCheck,
    Jailbreak,
    Kb,
    Keyword,
    Language,
    Metadata,
    Modality,
    Pii,
    Preference,
    Projection,
    Reask,
    Structure,
    UserFeedback,
}

impl SignalKind {
    /// Every family.
    pub const ALL: [Self; 20] = [
        Self::Authz,
        Self::Complexity,
        Self::Context,
        Self::Conversation,
        Self::Domain,
        Self::Embedding,
        Self::Event,
        Self::FactCheck,
        Self::Jailbreak,
        Self::Kb,
        Self::Keyword,
        Self::Language,
        Self::Metadata,
        Self::Modality,
        Self::Pii,
        Self::Preference,
        Self::Projection,
        Self::Reask,
        Self::Structure,
        Self::UserFeedback,
    ];

    /// The condition type.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authz => "authz",
            Self::Complexity => "complexity",
            Self::Context => "context",
            Self::Conversation => "conversation",
            Self::Domain => "domain",
            Self::Embedding => "embedding",
            Self::Event => "event",
            Self::FactCheck => "fact_check",
            Self::Jailbreak => "jailbreak",
            Self::Kb => "kb",
            Self::Keyword => "keyword",
            Self::Language => "language",
            Self::Metadata => "metadata",
            Self::Modality => "modality",
            Self::Pii => "pii",
            Self::Preference => "preference",
            Self::Projection => "projection",
            Self::Reask => "reask",
            Self::Structure => "structure",
            Self::UserFeedback => "user_feedback",
        }
    }

    /// The family that a condition's `type` names; surrounding space and case do not matter.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        Self::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text))
    }

    /// Evidence of this family comes from a learned classifier.
    pub const fn is_learned(self) -> bool {
        matches!(
            self,
            Self::Complexity
                | Self::Domain
                | Self::Embedding
                | Self::FactCheck
                | Self::Jailbreak
                | Self::Kb
                | Self::Modality
                | Self::Pii
                | Self::Preference
                | Self::Reask
                | Self::UserFeedback
        )
    }
}

impl fmt::Display for SignalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One named signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalDef {
    /// Its family.
    pub kind: SignalKind,
    /// Its name within the family.
    pub name: String,
    /// `type:name`
    pub key: String,
    /// It is declared; a rule may also name one that is not.
    pub declared: bool,
}

/// Names of all signals.
#[derive(Debug, Default)]
pub(crate) struct SignalNames {
    pub(crate) defs: Vec<SignalDef>,
    index: HashMap<(SignalKind, String), SignalId>,
    aliases: HashMap<(SignalKind, String), SignalId>,
}

impl SignalNames {
    /// The id of a name, made if new. A later declaration of the same name is the same signal.
    pub(crate) fn declare(&mut self, kind: SignalKind, name: &str) -> SignalId {
        let id = self.intern(kind, name);
        self.defs[id.index()].declared = true;
        id
    }

    /// The id of a name that a rule refers to.
    pub(crate) fn intern(&mut self, kind: SignalKind, name: &str) -> SignalId {
        if let Some(id) = self.get(kind, name) {
            return id;
        }
        let id = SignalId(self.defs.len() as u16);
        self.index.insert((kind, name.to_owned()), id);
        let key = format!("{kind}:{name}");
        self.defs.push(SignalDef { kind, name: name.to_owned(), key, declared: false });
        id
    }

    /// Another name by which rules may refer to a signal, unless a signal is called so itself.
    pub(crate) fn alias(&mut self, kind: SignalKind, name: &str, id: SignalId) {
        self.aliases.entry((kind, name.to_owned())).or_insert(id);
    }

    /// The id that a rule's reference means.
    pub(crate) fn resolve(&mut self, kind: SignalKind, name: &str) -> SignalId {
        let known = self.get(kind, name).or_else(|| self.aliases.get(&(kind, name.to_owned())).copied());
        known.unwrap_or_else(|| self.intern(kind, name))
    }

    pub(crate) fn get(&self, kind: SignalKind, name: &str) -> Option<SignalId> {
        self.index.get(&(kind, name.to_owned())).copied()
    }
}

/// Something in a policy that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {what}")]
pub struct CompileError {
    /// Where in the configuration, as a path such as `routing.signals.keywords["code"]`.
    pub at: String,
    /// What is wrong with it.
    pub what: String,
}

/// What families share while they are compiled.
pub(crate) struct Compiler<'a> {
    pub(crate) profile: Profile,
    pub(crate) names: &'a mut SignalNames,
    pub(crate) errors: &'a mut Vec<CompileError>,
    scanner: ScannerBuilder,
}

impl Compiler<'_> {
    pub(crate) fn error(&mut self, at: String, what: impl Into<String>) {
        self.errors.push(CompileError { at, what: what.into() });
    }
}

/// All families, compiled.
#[derive(Debug)]
pub(crate) struct Signals {
    scanner: Scanner,
    authz: authz::Authz,
    context: context::Context,
    conversation: conversation::Conversation,
    event: event::Events,
    keyword: keyword::Keywords,
    language: language::Languages,
    learned: learned::Families,
    metadata: metadata::Members,
    structure: structure::Structures,
    used: Used,
}

/// Which families a policy refers to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Used(u32);

impl Used {
    pub(crate) fn insert(&mut self, kind: SignalKind) {
        self.0 |= 1 << kind as u32;
    }

    pub(crate) const fn contains(self, kind: SignalKind) -> bool {
        self.0 & (1 << kind as u32) != 0
    }

    const fn reads_user_text(self) -> bool {
        self.contains(SignalKind::Keyword)
            || self.contains(SignalKind::Structure)
            || self.contains(SignalKind::Event)
            || self.contains(SignalKind::Language)
            || self.contains(SignalKind::Complexity)
            || self.contains(SignalKind::Domain)
            || self.contains(SignalKind::Embedding)
            || self.contains(SignalKind::FactCheck)
            || self.contains(SignalKind::Jailbreak)
            || self.contains(SignalKind::Kb)
            || self.contains(SignalKind::Modality)
            || self.contains(SignalKind::Pii)
            || self.contains(SignalKind::Preference)
            || self.contains(SignalKind::Reask)
            || self.contains(SignalKind::UserFeedback)
    }
}

impl Signals {
    /// Compiles every family. `used` is known only after the rules have been compiled, which in turn need
    /// the names: see [`Signals::restrict`].
    pub(crate) fn compile(
        config: &Config,
        profile: Profile,
        names: &mut SignalNames,
        errors: &mut Vec<CompileError>,
    ) -> Option<Self> {
        let signals = &config.routing.signals;
        let scanner = ScannerBuilder::compatible(profile == Profile::Pintle);
        let mut compiler = Compiler { profile, names, errors, scanner };
        let c = &mut compiler;
        let keyword = keyword::Keywords::compile(&signals.keywords, c);
        let context = context::Context::compile(&signals.context, c);
        let conversation = conversation::Conversation::compile(&signals.conversation, c);
        let structure = structure::Structures::compile(&signals.structure, c);
        let event = event::Events::compile(&signals.events, c);
        let language = language::Languages::compile(&signals.language, c);
        let authz = authz::Authz::compile(&signals.role_bindings, &config.global.services.authz, c);
        let learned = learned::Families::compile(config, c);
        let metadata = match profile {
            Profile::Pintle => &*signals.metadata,
            Profile::Compat => &[],
        };
        let metadata = metadata::Members::compile(metadata, c);
        let scanner = match compiler.scanner.build() {
            Ok(scanner) => scanner,
            Err(error) => {
                errors.push(CompileError { at: "routing.signals".into(), what: error.to_string() });
                return None;
            }
        };
        Some(Self {
            scanner,
            authz,
            context,
            conversation,
            event,
            keyword: keyword?,
            language,
            learned,
            metadata,
            structure,
            used: Used::default(),
        })
    }

    /// Evaluates only these families from now on, and those that they depend on.
    pub(crate) fn restrict(&mut self, mut used: Used, defs: &[SignalDef]) {
        self.learned.note_used(defs, &mut used);
        self.used = used;
    }

    /// The texts that evaluation reads.
    pub(crate) fn needs(&self) -> Needs {
        Needs {
            current_user: self.used.reads_user_text(),
            prior_user: self.used.contains(SignalKind::Reask) || self.learned.reads_history(self.used),
            non_user: self.learned.reads_history(self.used),
            metadata: self.used.contains(SignalKind::Metadata),
        }
    }

    /// What evaluation asks of classifiers.
    pub(crate) fn learned_needs(&self) -> LearnedNeeds {
        LearnedNeeds::of(|kind| self.used.contains(kind), self.learned.reads_history(self.used))
    }

    /// Requests without a trusted identity are to be refused.
    pub(crate) fn needs_identity(&self) -> bool {
        self.used.contains(SignalKind::Authz) && !self.authz.fails_open()
    }

    /// Fills the table, in which every signal is unknown.
    pub(crate) fn evaluate(
        &self,
        facts: &Facts<'_>,
        learned: &Learned,
        bytes_per_token: f64,
        out: &mut EvidenceTable,
    ) {
        let used = self.used;
        if used.contains(SignalKind::Context) {
            self.context.evaluate(facts, bytes_per_token, out);
        }
        if used.contains(SignalKind::Conversation) {
            self.conversation.evaluate(facts, out);
        }
        if used.contains(SignalKind::Authz) {
            self.authz.evaluate(facts, out);
        }
        if used.contains(SignalKind::Metadata) {
            self.metadata.evaluate(facts, out);
        }
        if !used.reads_user_text() {
            return;
        }
        let text = evaluation_text(facts);
        let hits = self.scanner.scan(&text);
        if used.contains(SignalKind::Keyword) {
            self.keyword.evaluate(&text, &hits, out);
        }
        if used.contains(SignalKind::Structure) {
            self.structure.evaluate(&text, &hits, out);
        }
        if used.contains(SignalKind::Event) {
            self.event.evaluate(&hits, out);
        }
        if used.contains(SignalKind::Language) {
            self.language.evaluate(&text, out);
        }
        let request =
            learned::Request { facts, text: &text, hits: &hits, scan: &|text| self.scanner.scan(text) };
        self.learned.evaluate(&request, learned, used, out);
    }

    /// What comes between partitions and scores.
    pub(crate) fn finish(&self, out: &mut EvidenceTable) {
        self.learned.finish(out);
    }

    /// The value of a knowledge base's metric, if it was measured.
    pub(crate) fn kb_metric(&self, kb: &str, metric: &str, learned: &Learned) -> Option<f64> {
        self.learned.kb_metric(kb, metric, learned)
    }
}

/// Gives every signal the same unknown.
fn unknown_all(ids: impl IntoIterator<Item = SignalId>, why: Unknown, out: &mut EvidenceTable) {
    for id in ids {
        out[id.index()] = Evidence::unknown(why);
    }
}

/// The text that signals read: the current user text, or all other texts where the request has none, so
/// that a request cannot slip past by speaking only as `system`.
pub fn evaluation_text<'a>(facts: &'a Facts<'_>) -> Cow<'a, str> {
    if !facts.texts.current_user.is_empty() {
        return Cow::Borrowed(&facts.texts.current_user);
    }
    match facts.texts.non_user.as_slice() {
        [] => Cow::Borrowed(""),
        [one] => Cow::Borrowed(one),
        many => Cow::Owned(many.join(" ")),
    }
}

/// A table with every signal unknown for want of a declaration or of a classifier.
pub(crate) fn blank(defs: &[SignalDef], profile: Profile) -> EvidenceTable {
    defs.iter()
        .map(|def| match profile {
            Profile::Compat => Evidence::plain(false),
            Profile::Pintle if !def.declared => Evidence::unknown(Unknown::Undeclared),
            Profile::Pintle => Evidence::unknown(Unknown::NoClassifier),
        })
        .collect()
}
