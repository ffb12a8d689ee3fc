//! `modality`: is text wanted, an image, or both?

use pintle_config::{ModalityDetector, NamedRule, Profile};

use super::super::scanner::Literal;
use super::super::text::Boundary;
use super::super::{Compiler, EvidenceTable, SignalKind};
use super::{Request, all_unknown};
use crate::evidence::{Evidence, Unknown};
use crate::ids::SignalId;
use crate::learned::{LabelReading, Reading};

#[derive(Debug)]
pub(super) struct Modality {
    rules: Vec<(SignalId, String)>,
    method: Method,
    keywords: Vec<Literal>,
    both_keywords: Vec<Literal>,
    threshold: f64,
    lower_ratio: f64,
    profile: Profile,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Classifier,
    Keyword,
    Hybrid,
}

type Verdict = (&'static str, f64);

impl Modality {
    pub(super) fn compile(rules: &[NamedRule], config: &ModalityDetector, c: &mut Compiler<'_>) -> Self {
        let mut literals = |words: &[String]| -> Vec<Literal> {
            words.iter().map(|word| c.scanner.add(word, false, Boundary::of_keyword(word), false)).collect()
        };
        let (keywords, both_keywords) = (literals(&config.keywords), literals(&config.both_keywords));
        let rules =
            rules.iter().map(|rule| (c.names.declare(SignalKind::Modality, &rule.name), rule.name.clone()));
        Self {
            rules: rules.collect(),
            method: match config.method.as_str() {
                "keyword" => Method::Keyword,
                "hybrid" => Method::Hybrid,
                _ => Method::Classifier,
            },
            keywords,
            both_keywords,
            threshold: f64::from(config.confidence_threshold),
            lower_ratio: f64::from(config.lower_threshold_ratio),
            profile: c.profile,
        }
    }

    pub(super) fn evaluate(
        &self,
        request: &Request<'_>,
        reading: &Reading<LabelReading>,
        out: &mut EvidenceTable,
    ) {
        let verdict = if request.text.is_empty() { Ok(("AR", 1.0)) } else { self.verdict(request, reading) };
        match verdict {
            Ok((label, confidence)) => {
                for (id, name) in &self.rules {
                    let holds = name == label;
                    out[id.index()] = match self.profile {
                        Profile::Compat => Evidence::plain(holds),
                        Profile::Pintle => Evidence::scored(holds, confidence, confidence),
                    };
                }
            }
            Err(why) => all_unknown(self.rules.iter().map(|(id, _)| *id), why, out),
        }
    }

    fn verdict(&self, request: &Request<'_>, reading: &Reading<LabelReading>) -> Result<Verdict, Unknown> {
        let keyword = self.by_keyword(request);
        match (self.method, measured(reading)) {
            (Method::Keyword, _) => Ok(keyword),
            (Method::Classifier, Ok(classified)) => Ok(classified),
            (Method::Classifier, Err(_)) if self.profile == Profile::Compat => Ok(("AR", 0.0)),
            (Method::Classifier, Err(why)) => Err(why),
            (Method::Hybrid, Err(_)) => Ok(keyword),
            (Method::Hybrid, Ok(classified)) => Ok(if classified.1 >= self.threshold {
                classified
            } else if classified.0 == keyword.0 {
                (keyword.0, (classified.1 + keyword.1) / 2.0)
            } else if classified.1 >= self.threshold * self.lower_ratio {
                classified
            } else {
                keyword
            }),
        }
    }

    fn by_keyword(&self, request: &Request<'_>) -> Verdict {
        let any = |words: &[Literal]| words.iter().any(|word| request.hits.count(*word) > 0);
        if self.keywords.is_empty() {
            ("AR", 0.5)
        } else if !any(&self.keywords) {
            ("AR", 0.8)
        } else if any(&self.both_keywords) {
            ("BOTH", 0.75)
        } else {
            ("DIFFUSION", 0.8)
        }
    }
}

fn measured(reading: &Reading<LabelReading>) -> Result<Verdict, Unknown> {
    let reading = reading.given()?;
    let label = ["AR", "DIFFUSION", "BOTH"].into_iter().find(|label| *label == reading.label);
    match label {
        Some(label) if (0.0..=1.0).contains(&reading.probability) => Ok((label, reading.probability)),
        _ => Err(Unknown::ClassifierFailed),
    }
}
