//! `jailbreak` and `pii`: attacks, and personal data.
//!
//! A literal occurrence of an attack pattern, and personal data that is well-formed down to its check digits,
//! need no classifier to be believed (Pintle profile only).

use pintle_config::{Modules, PiiRule, Profile, Signals};

use super::super::scanner::{Hits, Literal};
use super::super::text::Boundary;
use super::super::{Compiler, EvidenceTable, SignalKind, Used};
use super::{Request, pii_patterns};
use crate::evidence::{Evidence, Unknown};
use crate::ids::SignalId;
use crate::learned::{JailbreakReading, PiiReading, Reading};

/// Margin of a contrastive rule where none is configured.
const DEFAULT_MARGIN: f64 = 0.10;

#[derive(Debug)]
pub(super) struct Guard {
    jailbreaks: Vec<Jailbreak>,
    pii: Vec<Pii>,
    profile: Profile,
}

#[derive(Debug)]
struct Jailbreak {
    id: SignalId,
    contrastive: bool,
    threshold: f64,
    include_history: bool,
    has_benign: bool,
    patterns: Vec<Literal>,
}

#[derive(Debug)]
struct Pii {
    id: SignalId,
    threshold: f64,
    allowed: Vec<String>,
    include_history: bool,
}

impl Guard {
    pub(super) fn compile(signals: &Signals, modules: &Modules, c: &mut Compiler<'_>) -> Self {
        let compat = c.profile == Profile::Compat;
        let mut jailbreaks = Vec::with_capacity(signals.jailbreak.len());
        for rule in &signals.jailbreak {
            let contrastive = rule.method == "contrastive";
            let threshold = match f64::from(rule.threshold) {
                t if t > 0.0 => t,
                _ if contrastive => DEFAULT_MARGIN,
                // Any confidence at all would do in v0.3.0; the module's threshold is the sane reading.
                _ if compat => 0.0,
                _ => f64::from(modules.prompt_guard.threshold),
            };
            let patterns = if compat { &[][..] } else { &rule.jailbreak_patterns };
            jailbreaks.push(Jailbreak {
                id: c.names.declare(SignalKind::Jailbreak, &rule.name),
                contrastive,
                threshold,
                include_history: rule.include_history,
                has_benign: !rule.benign_patterns.is_empty(),
                patterns: patterns
                    .iter()
                    .map(|pattern| c.scanner.add(pattern, false, Boundary::of_keyword(pattern), false))
                    .collect(),
            });
        }
        let pii = |rule: &PiiRule| Pii {
            id: c.names.declare(SignalKind::Pii, &rule.name),
            threshold: match f64::from(rule.threshold) {
                t if t > 0.0 || compat => t,
                _ => f64::from(modules.classifier.pii.threshold),
            },
            allowed: rule.pii_types_allowed.clone(),
            include_history: rule.include_history,
        };
        Self { pii: signals.pii.iter().map(pii).collect(), jailbreaks, profile: c.profile }
    }

    pub(super) fn reads_history(&self, used: Used) -> bool {
        (used.contains(SignalKind::Jailbreak) && self.jailbreaks.iter().any(|rule| rule.include_history))
            || (used.contains(SignalKind::Pii) && self.pii.iter().any(|rule| rule.include_history))
    }

    pub(super) fn evaluate_jailbreak(
        &self,
        request: &Request<'_>,
        reading: &Reading<JailbreakReading>,
        out: &mut EvidenceTable,
    ) {
        for (at, rule) in self.jailbreaks.iter().enumerate() {
            let hit = |hits: &Hits| rule.patterns.iter().any(|pattern| hits.count(*pattern) > 0);
            let literal = hit(request.hits)
                || (rule.include_history
                    && !rule.patterns.is_empty()
                    && history(request).any(|text| hit(&(request.scan)(text))));
            out[rule.id.index()] = if literal {
                Evidence::scored(true, 1.0, 1.0)
            } else {
                rule.measured(reading, at, self.profile).unwrap_or_else(Evidence::unknown)
            };
        }
    }

    pub(super) fn evaluate_pii(
        &self,
        request: &Request<'_>,
        reading: &Reading<PiiReading>,
        out: &mut EvidenceTable,
    ) {
        let read = |text: &str| match self.profile {
            Profile::Compat => pii_patterns::Found::default(),
            Profile::Pintle => pii_patterns::find(text),
        };
        let current = read(request.text);
        let with_history = self.pii.iter().any(|rule| rule.include_history);
        let earlier = if with_history {
            history(request).fold(pii_patterns::Found::default(), |found, text| found.with(read(text)))
        } else {
            pii_patterns::Found::default()
        };
        for rule in &self.pii {
            let found = if rule.include_history { current.with(earlier) } else { current };
            let well_formed = found.types().filter(|kind| !rule.allows(kind)).count();
            out[rule.id.index()] = if well_formed > 0 {
                Evidence::scored(true, 1.0, well_formed as f64)
            } else {
                rule.measured(reading).unwrap_or_else(Evidence::unknown)
            };
        }
    }
}

fn history<'a>(request: &'a Request<'_>) -> impl Iterator<Item = &'a str> {
    let texts = &request.facts.texts;
    texts.prior_user.iter().chain(&texts.non_user).map(AsRef::as_ref)
}

impl Jailbreak {
    fn measured(
        &self,
        reading: &Reading<JailbreakReading>,
        at: usize,
        profile: Profile,
    ) -> Result<Evidence, Unknown> {
        let reading = reading.given()?;
        if self.contrastive {
            let measured = reading.contrastive.get(at).copied().flatten();
            let (attack, harmless) = measured.ok_or(Unknown::ClassifierFailed)?;
            if !attack.is_finite() || !harmless.is_finite() {
                return Err(Unknown::ClassifierFailed);
            }
            // Without harmless examples a margin means nothing; v0.3.0 takes them to be opposite to everything.
            let harmless = match (self.has_benign, profile) {
                (true, _) => harmless,
                (false, Profile::Compat) => -1.0,
                (false, Profile::Pintle) => return Err(Unknown::NoInput),
            };
            let margin = attack - harmless;
            return Ok(Evidence::scored(margin >= self.threshold, margin.clamp(0.0, 1.0), margin));
        }
        let valid = |probability: f64| (0.0..=1.0).contains(&probability);
        if !valid(reading.current) || !reading.history.is_none_or(valid) {
            return Err(Unknown::ClassifierFailed);
        }
        let unread = self.include_history && reading.history.is_none();
        if unread && profile == Profile::Pintle && reading.current < self.threshold {
            return Err(Unknown::NoInput);
        }
        let earlier = reading.history.filter(|_| self.include_history).unwrap_or(0.0);
        let probability = reading.current.max(earlier);
        if reading.partial && probability < self.threshold {
            return Err(Unknown::TooLong);
        }
        Ok(Evidence::scored(probability >= self.threshold, probability, probability))
    }
}

impl Pii {
    fn allows(&self, kind: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(kind))
    }

    fn measured(&self, reading: &Reading<PiiReading>) -> Result<Evidence, Unknown> {
        let reading = reading.given()?;
        let history = reading.history.as_deref().filter(|_| self.include_history).unwrap_or(&[]);
        let entities = || reading.current.iter().chain(history);
        if entities().any(|(_, confidence)| !(0.0..=1.0).contains(confidence)) {
            return Err(Unknown::ClassifierFailed);
        }
        let counts = |(kind, confidence): &&(String, f64)| {
            kind != "NO_PII" && *confidence >= self.threshold && !self.allows(kind)
        };
        let found = entities().filter(counts).count();
        let best = entities().filter(counts).map(|(_, confidence)| *confidence).fold(0.0, f64::max);
        if found == 0 && self.include_history && reading.history.is_none() {
            return Err(Unknown::NoInput);
        }
        if found == 0 && reading.partial {
            return Err(Unknown::TooLong);
        }
        Ok(if found > 0 {
            Evidence::scored(true, best, found as f64)
        } else {
            Evidence::measured(false, 0.0)
        })
    }
}
