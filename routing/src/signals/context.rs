//! `context`: how many tokens the request has.

use pintle_config::{ContextRule, Profile};

use super::{Compiler, EvidenceTable, SignalKind};
use crate::evidence::{Evidence, Unknown};
use crate::facts::Facts;
use crate::ids::SignalId;
use crate::units::Tokens;

/// Bytes per token until backends have reported enough usage to know better.
pub const DEFAULT_BYTES_PER_TOKEN: f64 = 4.0;

#[derive(Debug)]
pub(super) struct Context {
    rules: Vec<Rule>,
    profile: Profile,
}

#[derive(Debug)]
struct Rule {
    id: SignalId,
    /// Inclusive; `None` if the bounds cannot be read.
    range: Option<(u64, u64)>,
}

impl Context {
    pub(super) fn compile(rules: &[ContextRule], c: &mut Compiler<'_>) -> Self {
        let compiled = rules
            .iter()
            .map(|rule| Rule {
                id: c.names.declare(SignalKind::Context, &rule.name),
                range: range(rule, c.profile),
            })
            .collect();
        Self { rules: compiled, profile: c.profile }
    }

    pub(super) fn evaluate(&self, facts: &Facts<'_>, bytes_per_token: f64, out: &mut EvidenceTable) {
        let tokens = context_tokens(facts, self.profile, bytes_per_token).get();
        for rule in &self.rules {
            out[rule.id.index()] = match rule.range {
                Some((min, max)) => Evidence::measured((min..=max).contains(&tokens), tokens as f64),
                None if self.profile == Profile::Compat => Evidence::measured(false, tokens as f64),
                // As good as not declared: it must not open a guard that says NOT.
                None => Evidence::unknown(Unknown::Undeclared),
            };
        }
    }
}

/// A rule whose bounds cannot be read is off, which `config check` warns of. v0.3.0 reads an empty upper bound
/// as 0, Pintle as no bound.
fn range(rule: &ContextRule, profile: Profile) -> Option<(u64, u64)> {
    let bound = |text: &str, empty: u64| {
        if text.trim().is_empty() { Some(empty) } else { parse_token_count(text) }
    };
    let no_bound = if profile == Profile::Compat { 0 } else { u64::MAX };
    Some((bound(&rule.min_tokens, 0)?, bound(&rule.max_tokens, no_bound)?))
}

/// Reads a number with an optional suffix `K` (thousand) or `M` (million).
pub(crate) fn parse_token_count(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, scale) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 1e3),
        b'm' | b'M' => (&text[..text.len() - 1], 1e6),
        _ => (text, 1.0),
    };
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number: f64 = if plain { digits.parse().ok()? } else { return None };
    Some((number * scale) as u64)
}

/// The size of a prompt in tokens: of the whole envelope in the Pintle profile, of what v0.3.0 counts
/// (non-user texts and the current user text) in the compat profile. At least 1.
pub fn context_tokens(facts: &Facts<'_>, profile: Profile, bytes_per_token: f64) -> Tokens {
    let bytes = match profile {
        Profile::Pintle => facts.envelope_bytes,
        Profile::Compat => facts.compat_context_bytes,
    };
    estimate_tokens(bytes, bytes_per_token)
}

/// `⌈bytes / bytes_per_token⌉`, at least 1. A ratio that is no positive number counts as
/// [`DEFAULT_BYTES_PER_TOKEN`].
pub fn estimate_tokens(bytes: u64, bytes_per_token: f64) -> Tokens {
    let ratio = if bytes_per_token > 0.0 { bytes_per_token } else { DEFAULT_BYTES_PER_TOKEN };
    Tokens(((bytes as f64 / ratio).ceil() as u64).max(1))
}

/// Learns how many bytes a token has, from requests whose prompt tokens a backend reported.
///
/// Before [`TokenRatio::MIN_SAMPLES`] observations the ratio is [`DEFAULT_BYTES_PER_TOKEN`]; then it is an
/// exponential moving average of observed ratios with decay 0.995, seeded with the mean of the first ones.
/// The bytes observed must be those that are estimated from later: the same envelope.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenRatio {
    samples: u32,
    average: f64,
}

impl Default for TokenRatio {
    fn default() -> Self {
        Self { samples: 0, average: DEFAULT_BYTES_PER_TOKEN }
    }
}

impl TokenRatio {
    /// Observations before the average is believed.
    pub const MIN_SAMPLES: u32 = 10;
    const DECAY: f64 = 0.995;
    /// Ratios outside are errors of measurement (a prompt of images, a misreported usage).
    const PLAUSIBLE: std::ops::RangeInclusive<f64> = 0.5..=16.0;

    /// Takes note of one request. Implausible pairs are ignored.
    pub fn observe(&mut self, bytes: u64, prompt_tokens: Tokens) {
        let ratio = bytes as f64 / prompt_tokens.get() as f64;
        if !Self::PLAUSIBLE.contains(&ratio) {
            return;
        }
        self.samples = self.samples.saturating_add(1);
        self.average = if self.samples <= Self::MIN_SAMPLES {
            let before = if self.samples == 1 { 0.0 } else { self.average };
            before + (ratio - before) / f64::from(self.samples)
        } else {
            Self::DECAY * self.average + (1.0 - Self::DECAY) * ratio
        };
    }

    /// Bytes per token.
    pub fn bytes_per_token(&self) -> f64 {
        if self.samples < Self::MIN_SAMPLES { DEFAULT_BYTES_PER_TOKEN } else { self.average }
    }
}
