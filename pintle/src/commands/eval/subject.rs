//! Who is asked: the embedded model, or one that was fetched.

use std::error::Error;
use std::sync::Arc;

use pintle_classifier::cpu::Precision;
use pintle_classifier::embedded::{EmbeddedModel, Family, PiiSpan, Scratch};
use pintle_classifier::encoder::{Encoder, Family as Network, OutputKind};
use pintle_classifier::heads::HeadedEncoder;
use pintle_classifier::model::Options;
use pintle_classifier::reader::{
    EncoderModel, Head, Polarity, TextModel, TextReading, TextSession, Wanted, WindowPolicy,
};
use pintle_classifier::store::Store;

/// A model and one thread's use of it.
pub(super) enum Subject {
    Embedded(&'static EmbeddedModel, Box<Scratch>),
    Fetched(Box<EncoderModel>, Box<dyn TextSession>),
}

/// What was found in a text.
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) label: String,
}

impl Subject {
    pub(super) fn embedded() -> Self {
        Self::Embedded(EmbeddedModel::shared(), Box::default())
    }

    /// A model of `store` with the heads on its embedding, or as a classifier for `head`.
    pub(super) fn fetched(
        store: &Store,
        name: &str,
        head: Option<Head>,
        precision: Precision,
    ) -> Result<Self, Box<dyn Error>> {
        let mut encoder: Arc<dyn Encoder> = store.load(name, Options::default())?.into_encoder(precision);
        if let Some(heads) = store.heads(name)? {
            encoder = Arc::new(HeadedEncoder::new(encoder, Arc::new(heads))?);
        }
        let tokens =
            encoder.info().outputs.iter().any(|output| matches!(output.kind, OutputKind::Token { .. }));
        let head = head.or(tokens.then_some(Head::Pii));
        let backend = if encoder.info().family == Network::Onnx { "onnx" } else { "cpu" };
        let model = EncoderModel::new(encoder, backend, head, WindowPolicy::default(), 0, 0)?;
        let session = model.session();
        Ok(Self::Fetched(Box::new(model), session))
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        match self {
            Self::Embedded(model, _) => model.digest(),
            Self::Fetched(model, _) => model.digest(),
        }
    }

    /// Labels of a head by name; `None` if the model has no such head.
    pub(super) fn labels(&self, head: &str) -> Option<&[String]> {
        match self {
            Self::Embedded(model, _) => family(head).map(|family| model.head(family).labels.as_slice()),
            Self::Fetched(model, _) => named(head).and_then(|head| model.labels(head)),
        }
    }

    pub(super) fn has_embedding(&self) -> bool {
        match self {
            Self::Embedded(..) => true,
            Self::Fetched(model, _) => model.dimensions() > 0,
        }
    }

    /// By label of a head that the model has.
    pub(super) fn probabilities(&mut self, head: &str, text: &str) -> Result<Vec<f32>, Box<dyn Error>> {
        match self {
            Self::Embedded(model, scratch) => {
                let family = family(head).ok_or("no such head")?;
                let mut out = vec![0.0; model.head(family).labels.len()];
                model.read(text, scratch);
                model.probabilities(family, scratch, &mut out);
                Ok(out)
            }
            Self::Fetched(_, session) => {
                let head = named(head).ok_or("no such head")?;
                Ok(read(session, text, Wanted::head(head))?.probabilities[head as usize].clone())
            }
        }
    }

    /// Probability of an attack, as `jailbreak` rules see it.
    pub(super) fn suspicion(&mut self, text: &str) -> Result<f32, Box<dyn Error>> {
        let probabilities = self.probabilities("jailbreak", text)?;
        let labels = self.labels("jailbreak").unwrap_or_default();
        let attack = |label: &String| Polarity::of_attack(label, labels) == Some(Polarity::Yes);
        Ok(labels.iter().zip(probabilities).filter(|(label, _)| attack(label)).map(|(_, p)| p).sum())
    }

    pub(super) fn embedding(&mut self, text: &str) -> Result<Vec<f32>, Box<dyn Error>> {
        match self {
            Self::Embedded(model, scratch) => {
                let mut out = vec![0.0; model.dimensions()];
                model.embed(text, scratch, &mut out);
                Ok(out)
            }
            Self::Fetched(_, session) => Ok(read(session, text, Wanted::EMBEDDING)?.embedding),
        }
    }

    /// Personal data, in order of its start.
    pub(super) fn spans(&mut self, text: &str) -> Result<Vec<Span>, Box<dyn Error>> {
        match self {
            Self::Embedded(model, scratch) => {
                let mut spans: Vec<PiiSpan> = Vec::new();
                model.pii_spans(text, scratch, &mut spans);
                let own =
                    |span: PiiSpan| Span { start: span.start, end: span.end, label: span.label.to_owned() };
                Ok(spans.into_iter().map(own).collect())
            }
            Self::Fetched(_, session) => {
                let mut entities = read(session, text, Wanted::head(Head::Pii))?.entities;
                entities.sort_by_key(|entity| entity.start);
                let own = |entity: pintle_classifier::reader::Entity| Span {
                    start: entity.start as usize,
                    end: entity.end as usize,
                    label: entity.label.to_string(),
                };
                Ok(entities.into_iter().map(own).collect())
            }
        }
    }
}

fn read(
    session: &mut Box<dyn TextSession>,
    text: &str,
    wanted: Wanted,
) -> Result<TextReading, Box<dyn Error>> {
    let mut out = Vec::with_capacity(1);
    session.read(&[text], wanted, &mut out)?;
    Ok(out.pop().unwrap_or_default())
}

fn family(head: &str) -> Option<Family> {
    Family::ALL.into_iter().find(|family| family.as_str() == head)
}

fn named(head: &str) -> Option<Head> {
    Head::ALL.into_iter().find(|known| known.as_str() == head)
}
