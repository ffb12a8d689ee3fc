//! The embedded model as the service asks it.

use std::sync::{Arc, LazyLock};

use super::{EmbeddedModel, Family, PiiSpan, Scratch};
use crate::reader::{Entity, Head, ModelError, TextModel, TextReading, TextSession, Wanted};

/// Under which its answers are counted.
const NAME: &str = "embedded";

/// Spans below this are too doubtful to be told.
const LEAST_PII_SCORE: f32 = 0.3;

/// Types of personal data that patterns or the tagger find.
static PII_LABELS: LazyLock<Vec<String>> = LazyLock::new(|| {
    [
        "AGE",
        "CREDIT_CARD",
        "DATE_TIME",
        "DOMAIN_NAME",
        "EMAIL_ADDRESS",
        "GPE",
        "IBAN_CODE",
        "IP_ADDRESS",
        "NRP",
        "ORGANIZATION",
        "PERSON",
        "PHONE_NUMBER",
        "STREET_ADDRESS",
        "US_DRIVER_LICENSE",
        "US_SSN",
        "ZIP_CODE",
    ]
    .map(str::to_owned)
    .to_vec()
});

const fn family(head: Head) -> Option<Family> {
    match head {
        Head::Domain => Some(Family::Domain),
        Head::FactCheck => Some(Family::FactCheck),
        Head::UserFeedback => Some(Family::UserFeedback),
        Head::Jailbreak => Some(Family::Jailbreak),
        Head::Modality => Some(Family::Modality),
        Head::Pii => None,
    }
}

impl TextModel for &'static EmbeddedModel {
    fn name(&self) -> &str {
        NAME
    }

    fn backend(&self) -> &'static str {
        NAME
    }

    fn digest(&self) -> [u8; 32] {
        EmbeddedModel::digest(self)
    }

    fn dimensions(&self) -> usize {
        EmbeddedModel::dimensions(self)
    }

    fn labels(&self, head: Head) -> Option<&[String]> {
        Some(match family(head) {
            Some(family) => &self.head(family).labels,
            None => &PII_LABELS,
        })
    }

    fn session(&self) -> Box<dyn TextSession> {
        Box::new(EmbeddedSession { model: self, scratch: Scratch::default(), spans: Vec::new() })
    }
}

struct EmbeddedSession {
    model: &'static EmbeddedModel,
    scratch: Scratch,
    spans: Vec<PiiSpan>,
}

impl TextSession for EmbeddedSession {
    fn read(&mut self, texts: &[&str], wanted: Wanted, out: &mut Vec<TextReading>) -> Result<(), ModelError> {
        for text in texts {
            out.push(self.read_one(text, wanted));
        }
        Ok(())
    }
}

impl EmbeddedSession {
    fn read_one(&mut self, text: &str, wanted: Wanted) -> TextReading {
        let Self { model, scratch, spans } = self;
        let mut reading = TextReading { has: wanted, ..TextReading::default() };
        model.read(text, scratch);
        reading.truncated = model.truncated(scratch);
        if wanted.embedding {
            reading.embedding.resize(model.dimensions(), 0.0);
            if !model.embedding(scratch, &mut reading.embedding) {
                reading.embedding.clear();
            }
        }
        for head in Head::ALL.into_iter().filter(|head| wanted.has(*head)) {
            match family(head) {
                Some(family) => {
                    let probabilities = &mut reading.probabilities[head as usize];
                    probabilities.resize(model.head(family).labels.len(), 0.0);
                    model.probabilities(family, scratch, probabilities);
                }
                None => {
                    model.pii_spans(text, scratch, spans);
                    reading.entities = spans
                        .iter()
                        .filter(|span| span.score >= LEAST_PII_SCORE)
                        .map(|span| Entity {
                            start: u32::try_from(span.start).unwrap_or(u32::MAX),
                            end: u32::try_from(span.end).unwrap_or(u32::MAX),
                            label: Arc::from(span.label),
                            score: span.score,
                        })
                        .collect();
                }
            }
        }
        reading
    }
}
