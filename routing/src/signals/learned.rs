//! Families whose evidence a learned classifier gives.

use pintle_config::{Config, NamedRule};

use super::{Compiler, SignalKind};

/// Names of the learned families.
#[derive(Debug)]
pub(super) struct Learned {}

impl Learned {
    pub(super) fn compile(config: &Config, c: &mut Compiler<'_>) -> Self {
        let signals = &config.routing.signals;
        for rule in &signals.embeddings {
            c.names.declare(SignalKind::Embedding, &rule.name);
        }
        for domain in &signals.domains {
            let id = c.names.declare(SignalKind::Domain, &domain.name);
            for category in &domain.mmlu_categories {
                c.names.alias(SignalKind::Domain, category, id);
            }
        }
        let named = |kind, rules: &[NamedRule], c: &mut Compiler<'_>| {
            for rule in rules {
                c.names.declare(kind, &rule.name);
            }
        };
        named(SignalKind::FactCheck, &signals.fact_check, c);
        named(SignalKind::UserFeedback, &signals.user_feedbacks, c);
        named(SignalKind::Modality, &signals.modality, c);
        for rule in &signals.reasks {
            c.names.declare(SignalKind::Reask, &rule.name);
        }
        for rule in &signals.preferences {
            c.names.declare(SignalKind::Preference, &rule.name);
        }
        for rule in &signals.language {
            c.names.declare(SignalKind::Language, &rule.name);
        }
        for rule in &signals.complexity {
            for level in ["hard", "medium", "easy"] {
                c.names.declare(SignalKind::Complexity, &format!("{}:{level}", rule.name));
            }
        }
        for rule in &signals.jailbreak {
            c.names.declare(SignalKind::Jailbreak, &rule.name);
        }
        for rule in &signals.pii {
            c.names.declare(SignalKind::Pii, &rule.name);
        }
        for rule in &signals.kb {
            c.names.declare(SignalKind::Kb, &rule.name);
        }
        Self {}
    }
}
