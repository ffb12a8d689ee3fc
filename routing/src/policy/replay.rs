//! Taking a recorded decision again.

use std::sync::Arc;

use super::{Inputs, Policy, Record};
use crate::evidence::{Evidence, Unknown};
use crate::flow::{FlowDocument, Recorded};
use crate::learned::Learned;
use crate::live::{LiveSignals, ModelLive};
use crate::outcome::Outcome;
use crate::selection::Query;

impl Policy {
    /// Decides again from recorded inputs.
    ///
    /// With texts on record, what can be computed from them is computed anew, under any policy. Without, the
    /// recorded evidence stands in for it, as it always does for what classifiers measured; under another
    /// policy, a signal that was not recorded is unknown.
    pub fn replay(&self, recorded: &Recorded) -> Outcome {
        self.on_record(recorded, |inputs| self.decide_again(inputs, recorded))
    }

    /// As [`Policy::replay`], with everything that was concluded, as [`Policy::describe`] writes it.
    pub fn replay_described(&self, recorded: &Recorded) -> FlowDocument {
        let mut document = FlowDocument::default();
        self.on_record(recorded, |inputs| {
            let outcome = self.decide_again(inputs, recorded);
            self.describe(inputs, &outcome, Record::Nothing, &mut document);
        });
        document
    }

    fn on_record<T>(&self, recorded: &Recorded, work: impl FnOnce(&Inputs<'_>) -> T) -> T {
        let facts = recorded.facts.facts();
        let snapshot = recorded.session.as_ref().map(|session| session.snapshot());
        let live = self.live(recorded);
        work(&Inputs {
            facts: &facts,
            session: snapshot.as_ref(),
            provider_owner: recorded.provider_owner.as_deref(),
            now: recorded.now,
            live: &live,
            foresight: recorded.foresight.as_ref(),
        })
    }

    fn decide_again(&self, inputs: &Inputs<'_>, recorded: &Recorded) -> Outcome {
        let (facts, live) = (inputs.facts, inputs.live);
        let has_texts = recorded.facts.private.is_some();
        let read = recorded.query.as_deref();
        let embedding = read.and_then(|read| read.embedding.as_ref());
        let similarity = read.and_then(|read| read.similarity.as_ref());
        let query = Query {
            embedding: embedding.map_or(Err(Unknown::NotRecorded), |read| read.given().map(Vec::as_slice)),
            similarities: similarity
                .map_or(Err(Unknown::NotRecorded), |read| read.given().map(Vec::as_slice)),
            user: read.and_then(|read| read.user),
        };
        self.decide_on(inputs, recorded.facts.identified, query, |table, kb_metrics| {
            if has_texts {
                self.signals.evaluate(facts, Learned::none(), live.bytes_per_token, table);
            }
            for (def, slot) in self.defs.iter().zip(table) {
                if has_texts && !def.kind.is_learned() {
                    continue;
                }
                let found = recorded.evidence.iter().find(|(key, _)| *key == def.key);
                *slot = found.map_or(Evidence::unknown(Unknown::NotRecorded), |(_, evidence)| *evidence);
            }
            kb_metrics.extend(self.projections.kb_metrics().iter().map(|(kb, metric)| {
                let mut known = recorded.kb_metrics.iter();
                known.find(|(a, b, _)| a == kb && b == metric).map(|(_, _, value)| *value)
            }));
        })
    }

    fn live(&self, recorded: &Recorded) -> LiveSignals {
        let of = |name: &str| recorded.live.iter().find(|(known, _)| known == name).map(|(_, live)| *live);
        let models = self.models.iter().map(|model| of(&model.name).unwrap_or_default());
        let models: Vec<ModelLive> = models.collect();
        let experience = Arc::new(recorded.experience.clone());
        LiveSignals { models, bytes_per_token: recorded.bytes_per_token, experience }
    }
}
