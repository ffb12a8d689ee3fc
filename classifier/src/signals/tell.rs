//! From readings to evidence.

use std::sync::Arc;

use pintle_routing::evidence::Unknown;
use pintle_routing::learned::{
    ComplexityReading, DomainReading, JailbreakReading, KbReading, LabelReading, Learned, PiiReading, Reading,
};
use pintle_routing::signals::SignalKind;

use super::bank::{Compared, cosine};
use super::{Answers, Item, MAX_HISTORY_TEXTS, Question, SignalPlan, Source, TextRef, family_of, history};
use crate::reader::labels::{feedback, modality, yes_probability};
use crate::reader::{Head, Polarity, TextReading};

type Told<T> = Result<T, Unknown>;

pub(super) fn tell(plan: &SignalPlan, question: &Question, items: &[Item], answers: &Answers) -> Learned {
    let teller = Teller { plan, question, items, answers };
    let mut learned = Learned::default();
    if question.current.is_empty() {
        return Learned::missing(Unknown::NoInput);
    }
    if plan.embedding.is_some() {
        learned.embedding = reading(teller.embedding());
    }
    if plan.preference.is_some() {
        learned.preference = reading(teller.preference());
    }
    if plan.complexity.is_some() {
        learned.complexity = reading(teller.complexity());
    }
    if plan.query {
        learned.query_embedding = reading(teller.query().map(<[f32]>::to_vec));
    }
    if let Some(descriptions) = &plan.descriptions {
        learned.model_similarity = reading(teller.query().map(|query| {
            // Not a number where the description could not be embedded.
            let similarity = |text: &Vec<f32>| if text.is_empty() { f64::NAN } else { cosine(text, query) };
            descriptions.iter().map(similarity).collect()
        }));
    }
    if plan.kb.is_some() {
        learned.kb = reading(teller.kb());
    }
    if plan.reask.is_some() {
        learned.reask = reading(teller.reask());
    }
    if plan.heads[Head::Domain as usize].is_some() {
        learned.domain = reading(teller.domain());
    }
    if plan.heads[Head::FactCheck as usize].is_some() {
        learned.fact_check = reading(teller.fact_check());
    }
    if plan.heads[Head::UserFeedback as usize].is_some() {
        learned.user_feedback = reading(teller.label(Head::UserFeedback, feedback));
    }
    if plan.heads[Head::Modality as usize].is_some() {
        learned.modality = reading(teller.label(Head::Modality, modality));
    }
    if plan.heads[Head::Jailbreak as usize].is_some() || plan.contrastive.is_some() {
        learned.jailbreak = reading(teller.jailbreak());
    }
    if plan.heads[Head::Pii as usize].is_some() {
        learned.pii = reading(teller.pii());
    }
    learned
}

fn reading<T>(told: Told<T>) -> Reading<T> {
    match told {
        Ok(value) => Reading::Given(value),
        Err(why) => Reading::Missing(why),
    }
}

struct Teller<'a> {
    plan: &'a SignalPlan,
    question: &'a Question,
    items: &'a [Item],
    answers: &'a Answers,
}

impl<'a> Teller<'a> {
    fn answer(&self, source: Source, text: TextRef) -> Told<&'a Arc<TextReading>> {
        let Source::Model(model) = source else {
            let Source::Missing(why) = source else { unreachable!("two variants") };
            return Err(why);
        };
        let found = self.items.iter().position(|item| item.model == model && item.text == text);
        let at = found.ok_or(Unknown::ClassifierFailed)?;
        self.answers.get(at).ok_or(Unknown::ClassifierFailed)?.as_ref().map_err(|why| *why)
    }

    /// The current text as this family reads it.
    fn current(&self, source: Source, family: SignalKind) -> Told<&'a Arc<TextReading>> {
        let model = match source {
            Source::Model(model) => model,
            Source::Missing(why) => return Err(why),
        };
        let shortened = self.items.iter().any(|item| item.model == model && item.text == TextRef::Compressed);
        let whole = !shortened || self.plan.uncompressed.contains(&family);
        self.answer(source, if whole { TextRef::Current } else { TextRef::Compressed })
    }

    fn vector(&self, source: Source, family: SignalKind) -> Told<Compared<'a>> {
        let reading = self.current(source, family)?;
        if reading.embedding.is_empty() { Err(Unknown::NoInput) } else { Ok(self.compared(reading)) }
    }

    fn compared(&self, reading: &'a TextReading) -> Compared<'a> {
        Compared::of(reading, self.plan.on_gpus.as_deref())
    }

    /// The whole current text: selectors are trained on those.
    fn query(&self) -> Told<&'a [f32]> {
        let vector = &self.answer(self.plan.embedder, TextRef::Current)?.embedding;
        if vector.is_empty() { Err(Unknown::NoInput) } else { Ok(vector) }
    }

    /// A rule without usable examples stays not-a-number: unknown, while the others are known.
    fn embedding(&self) -> Told<Vec<f64>> {
        let query = self.vector(self.plan.embedder, SignalKind::Embedding)?;
        let score = |bank: &Option<super::Bank>| bank.as_ref().and_then(|bank| bank.score(query));
        let banks = self.plan.embedding.iter().flatten();
        Ok(banks.map(|bank| score(bank).unwrap_or(f64::NAN)).collect())
    }

    fn preference(&self) -> Told<Vec<f64>> {
        let Some((source, banks)) = &self.plan.preference else { return Err(Unknown::NoClassifier) };
        let query = self.vector(*source, SignalKind::Preference)?;
        let score = |bank: &Option<super::Bank>| bank.as_ref().and_then(|bank| bank.score(query));
        Ok(banks.iter().map(|bank| score(bank).unwrap_or(f64::NAN)).collect())
    }

    fn complexity(&self) -> Told<Vec<ComplexityReading>> {
        let query = self.vector(self.plan.embedder, SignalKind::Complexity)?;
        let score =
            |bank: &Option<super::Bank>| bank.as_ref().and_then(|bank| bank.score(query)).unwrap_or(f64::NAN);
        let rules = self.plan.complexity.iter().flatten();
        Ok(rules
            .map(|(hard, easy)| ComplexityReading { text: (score(hard), score(easy)), image: None })
            .collect())
    }

    fn kb(&self) -> Told<Vec<KbReading>> {
        let query = self.vector(self.plan.embedder, SignalKind::Kb)?;
        let bases = self.plan.kb.iter().flatten();
        Ok(bases
            .map(|base| KbReading {
                kb: base.name.clone(),
                labels: base
                    .labels
                    .iter()
                    .filter_map(|(label, bank)| Some((label.clone(), bank.score(query)?)))
                    .collect(),
            })
            .collect())
    }

    fn reask(&self) -> Told<Vec<f64>> {
        let query = self.vector(self.plan.embedder, SignalKind::Reask)?;
        self.plan
            .compared_turns(self.question)
            .map(|turn| {
                let earlier = &self.answer(self.plan.embedder, TextRef::Prior(turn))?.embedding;
                Ok(if earlier.is_empty() { 0.0 } else { cosine(query.vector, earlier) })
            })
            .collect()
    }

    fn head(&self, head: Head) -> Told<(&'a [String], &'a [f32])> {
        let source = self.plan.heads[head as usize].ok_or(Unknown::NoClassifier)?;
        let answer = self.current(source, family_of(head))?;
        let labels = self.labels(source, head, answer)?;
        let probabilities = &answer.probabilities[head as usize];
        if probabilities.len() == labels.len() && !labels.is_empty() {
            Ok((labels, probabilities))
        } else {
            Err(Unknown::ClassifierFailed)
        }
    }

    fn labels(&self, source: Source, head: Head, answer: &'a TextReading) -> Told<&'a [String]> {
        if let Some(labels) = &answer.labels {
            return Ok(labels);
        }
        let Source::Model(model) = source else { return Err(Unknown::NoClassifier) };
        let backend = self.plan.models[model].backends.first().ok_or(Unknown::NoClassifier)?;
        backend.labels(head).ok_or(Unknown::NoClassifier)
    }

    fn domain(&self) -> Told<DomainReading> {
        let (labels, probabilities) = self.head(Head::Domain)?;
        let pairs = labels.iter().zip(probabilities);
        let labels = pairs.map(|(label, p)| (label.clone(), probability(*p))).collect();
        Ok(DomainReading { labels, complete: true })
    }

    fn fact_check(&self) -> Told<f64> {
        let (labels, probabilities) = self.head(Head::FactCheck)?;
        yes_probability(labels, probabilities, Polarity::of_fact_check).ok_or(Unknown::ClassifierFailed)
    }

    fn label(&self, head: Head, name: fn(&str) -> Option<&'static str>) -> Told<LabelReading> {
        let (labels, probabilities) = self.head(head)?;
        let best = (0..labels.len())
            .reduce(|a, b| if probabilities[b] > probabilities[a] { b } else { a })
            .ok_or(Unknown::ClassifierFailed)?;
        let label = name(&labels[best]).ok_or(Unknown::ClassifierFailed)?.to_owned();
        Ok(LabelReading { label, probability: probability(probabilities[best]) })
    }

    fn jailbreak(&self) -> Told<JailbreakReading> {
        let contrastive = self.contrastive()?;
        let Some(source) = self.plan.heads[Head::Jailbreak as usize] else {
            // Only contrastive rules: the classifier's part is read by none of them.
            return Ok(JailbreakReading { contrastive, ..JailbreakReading::default() });
        };
        let suspicion = |answer: &'a TextReading| -> Told<f64> {
            let labels = self.labels(source, Head::Jailbreak, answer)?;
            let probabilities = &answer.probabilities[Head::Jailbreak as usize];
            let attack = yes_probability(labels, probabilities, |label| Polarity::of_attack(label, labels));
            attack.ok_or(Unknown::ClassifierFailed)
        };
        let answer = self.current(source, SignalKind::Jailbreak)?;
        let history = self.over_history(source, |answer| Ok((suspicion(answer)?, answer.truncated)))?;
        let partial = answer.truncated || history.iter().flatten().any(|(_, truncated)| *truncated);
        let history = history.map(|all| all.into_iter().map(|(attack, _)| attack).fold(0.0, f64::max));
        Ok(JailbreakReading { current: suspicion(answer)?, history, contrastive, partial })
    }

    /// What every earlier text says; `None` if they are not read.
    fn over_history<T>(
        &self,
        source: Source,
        of: impl Fn(&'a TextReading) -> Told<T>,
    ) -> Told<Option<Vec<T>>> {
        let texts = self.question.prior_user.len() + self.question.non_user.len();
        if !self.plan.history || texts > MAX_HISTORY_TEXTS {
            return Ok(None);
        }
        history(self.question).map(|text| of(self.answer(source, text)?)).collect::<Told<_>>().map(Some)
    }

    fn contrastive(&self) -> Told<Vec<Option<(f64, f64)>>> {
        let Some(rules) = &self.plan.contrastive else { return Ok(Vec::new()) };
        let current = self.vector(self.plan.embedder, SignalKind::Jailbreak)?;
        let mut measured = Vec::with_capacity(rules.len());
        for rule in rules {
            let Some(rule) = rule else {
                measured.push(None);
                continue;
            };
            let mut vectors = vec![current];
            if rule.history {
                for text in history(self.question) {
                    let reading = self.answer(self.plan.embedder, text)?;
                    if !reading.embedding.is_empty() {
                        vectors.push(self.compared(reading));
                    }
                }
            }
            let most =
                |bank: &super::Bank| vectors.iter().filter_map(|vector| bank.best(*vector)).reduce(f64::max);
            // An empty side is opposite to everything; whether that counts is routing's to say.
            let side = |bank: &Option<super::Bank>| bank.as_ref().map_or(Some(-1.0), most);
            measured.push(side(&rule.attack).zip(side(&rule.harmless)));
        }
        Ok(measured)
    }

    fn pii(&self) -> Told<PiiReading> {
        let source = self.plan.heads[Head::Pii as usize].ok_or(Unknown::NoClassifier)?;
        let entities = |answer: &TextReading| -> Vec<(String, f64)> {
            let pair = |entity: &crate::reader::Entity| (entity.label.to_string(), probability(entity.score));
            answer.entities.iter().map(pair).collect()
        };
        let answer = self.current(source, SignalKind::Pii)?;
        let history = self.over_history(source, |answer| Ok((entities(answer), answer.truncated)))?;
        let partial = answer.truncated || history.iter().flatten().any(|(_, truncated)| *truncated);
        let history = history.map(|all| all.into_iter().flat_map(|(entities, _)| entities).collect());
        Ok(PiiReading { current: entities(answer), history, partial })
    }
}

/// Rounding must not carry a probability out of its range.
fn probability(value: f32) -> f64 {
    if value.is_nan() { f64::NAN } else { f64::from(value).clamp(0.0, 1.0) }
}
