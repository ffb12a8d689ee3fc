//! Which signals held, as v0.3's response headers tell it.

use super::Policy;
use crate::outcome::Outcome;
use crate::signals::SignalKind;

/// Bytes of one header's value; names beyond them are left out.
pub const MATCHED_BYTES: usize = 4096;

impl SignalKind {
    /// The response header that lists the family's signals that held.
    pub const fn matched_header(self) -> &'static str {
        match self {
            Self::Authz => "x-vsr-matched-authz",
            Self::Complexity => "x-vsr-matched-complexity",
            Self::Context => "x-vsr-matched-context",
            Self::Conversation => "x-vsr-matched-conversation",
            Self::Domain => "x-vsr-matched-domains",
            Self::Embedding => "x-vsr-matched-embeddings",
            Self::Event => "x-vsr-matched-event",
            Self::FactCheck => "x-vsr-matched-fact-check",
            Self::Jailbreak => "x-vsr-matched-jailbreak",
            Self::Kb => "x-vsr-matched-kb",
            Self::Keyword => "x-vsr-matched-keywords",
            Self::Language => "x-vsr-matched-language",
            Self::Metadata => "x-vsr-matched-metadata",
            Self::Modality => "x-vsr-matched-modality",
            Self::Pii => "x-vsr-matched-pii",
            Self::Preference => "x-vsr-matched-preference",
            Self::Projection => "x-vsr-matched-projections",
            Self::Reask => "x-vsr-matched-reask",
            Self::Structure => "x-vsr-matched-structure",
            Self::UserFeedback => "x-vsr-matched-user-feedback",
        }
    }
}

impl Policy {
    /// Hands over name and value of each `x-vsr-matched-*` header of an answer: the names of the signals that
    /// held when the decision was taken, in the order of the configuration, separated by commas. A family of
    /// which none held, or that no decision reads, has no header.
    ///
    /// Only a 2xx answer carries them.
    pub fn matched_headers(&self, outcome: &Outcome, mut emit: impl FnMut(&'static str, &str)) {
        if outcome.trace.base.is_empty() {
            return;
        }
        let table = outcome.trace.table();
        let mut value = String::new();
        for kind in SignalKind::ALL {
            value.clear();
            for (def, evidence) in self.defs.iter().zip(&table) {
                if def.kind != kind || !evidence.truth.is_true() {
                    continue;
                }
                if value.len() + 1 + def.name.len() > MATCHED_BYTES {
                    break;
                }
                if !value.is_empty() {
                    value.push(',');
                }
                value.push_str(&def.name);
            }
            if !value.is_empty() {
                emit(kind.matched_header(), &value);
            }
        }
    }
}
