//! How often, and for how many tokens, a user, group or model may be asked: token buckets.
//!
//! A rule of `global.services.ratelimit` bounds requests per unit, tokens per unit, or both. Each user and each
//! model that a rule admits has buckets of its own; a rule that names a group has one for the whole group. A
//! bucket holds one unit's worth and refills evenly, so there is no window edge at which twice the limit passes.
//!
//! A request is checked against all its buckets before it is charged to any: one that is refused costs nothing.
//! What is charged is an estimate, made good by [`Buckets::settle`] when the answer says what it took, or by
//! [`Buckets::refund`] when there is none.
//!
//! Levels are whole numbers: the same calls with the same clock give the same verdicts on every machine.

use std::collections::HashMap;

use pintle_config::{Config, RateLimitProvider, RateLimitRule};
use smallvec::SmallVec;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use crate::facts::Identity;
use crate::outcome::Refusal;
use crate::signals::CompileError;
use crate::units::{Tokens, UnixMillis};

mod buckets;
#[cfg(test)]
mod tests;

pub use buckets::Buckets;

/// The largest limit and the largest charge that are told apart from larger ones. With it, a level in tokens
/// times milliseconds of a day fits 63 bits.
pub const MAX_PER_UNIT: i64 = 10_000_000_000;

/// Charges that a ticket keeps without allocating.
const INLINE_CHARGES: usize = 4;

/// Compiled rules. Immutable; what was consumed is in [`Buckets`] and survives a change of rules.
#[derive(Debug, Default)]
pub struct Limits {
    rules: Vec<Rule>,
    notes: Vec<CompileError>,
}

#[derive(Debug)]
struct Rule {
    name: String,
    /// Of its buckets' keys: the name, how many rules before it have the same, and the unit of their levels.
    seed: u64,
    user: Option<String>,
    group: Option<String>,
    model: Option<String>,
    requests: Option<Rate>,
    tokens: Option<Rate>,
}

/// `per_unit` in every `unit_ms`, both positive and at most [`MAX_PER_UNIT`] and a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate {
    per_unit: i64,
    unit_ms: i64,
}

/// What a bucket counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counted {
    /// Requests.
    Requests,
    /// Tokens of prompts and answers.
    Tokens,
}

/// Whether a request may go on.
#[derive(Debug)]
pub enum Admission<'a> {
    /// It may, and is charged.
    Allowed(Ticket),
    /// It may not, and is not charged.
    Limited(Limited<'a>),
}

/// What a request was charged, until it is known what it took. Dropped, the estimate stands.
#[derive(Debug, Default)]
#[must_use = "the estimate stands until the ticket is settled or refunded"]
pub struct Ticket {
    charges: SmallVec<[Charge; INLINE_CHARGES]>,
}

#[derive(Debug)]
struct Charge {
    key: u128,
    rate: Rate,
    counted: Counted,
    amount: i64,
}

/// Which limit a request met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited<'a> {
    /// The rule, of several the one with the longest wait.
    pub rule: &'a str,
    /// What it counts.
    pub counted: Counted,
    /// How many of them per unit.
    pub limit: u64,
    /// How many are left now; fewer than the request needs.
    pub remaining: u64,
    /// Milliseconds, at least one, after which the same request would pass if nothing else was asked meanwhile;
    /// for a request that exceeds the limit on its own, the unit.
    pub retry_after_ms: u64,
    /// Milliseconds until the bucket is full.
    pub reset_ms: u64,
    /// The request exceeds the limit on its own and will never pass.
    pub oversized: bool,
}

impl Limits {
    /// Compiles `global.services.ratelimit`.
    ///
    /// Of several limiters every `local-limiter` counts. Whatever has no effect is told by [`Limits::notes`].
    pub fn compile(config: &Config) -> Self {
        let mut limits = Self::default();
        let mut same_name = HashMap::new();
        for (at, provider) in config.global.services.ratelimit.providers.iter().enumerate() {
            let path = format!("global.services.ratelimit.providers[{at}]");
            match provider.kind.as_str() {
                "local-limiter" => limits.add(provider, &path, &mut same_name),
                kind => limits.notes.push(CompileError {
                    at: path,
                    what: format!(
                        "no limiter of the type {kind:?} is asked; only local-limiter bounds anything"
                    ),
                }),
            }
        }
        limits
    }

    fn add(&mut self, provider: &RateLimitProvider, path: &str, same_name: &mut HashMap<String, u64>) {
        for (at, rule) in provider.rules.iter().enumerate() {
            let nth = same_name.entry(rule.name.clone()).or_default();
            let rule = Rule::of(rule, *nth);
            *nth += 1;
            if rule.requests.is_none() && rule.tokens.is_none() {
                let what = "neither requests_per_unit nor tokens_per_unit is positive, so nothing is bounded";
                self.notes.push(CompileError { at: format!("{path}.rules[{at}]"), what: what.into() });
            } else {
                self.rules.push(rule);
            }
        }
    }

    /// Nothing is bounded.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What an operator should know about these rules although they work.
    pub fn notes(&self) -> &[CompileError] {
        &self.notes
    }

    /// Admits a request to `model` and charges it, or says which limit it meets.
    ///
    /// `estimated` is charged to token buckets: the prompt, and as much of the answer as the caller wants to
    /// hold ready.
    pub fn check<'a>(
        &'a self,
        buckets: &mut Buckets,
        who: Identity<'_>,
        model: &str,
        estimated: Tokens,
        now: UnixMillis,
    ) -> Admission<'a> {
        let mut ticket = Ticket::default();
        let mut worst: Option<Limited<'a>> = None;
        for rule in self.rules.iter().filter(|rule| rule.concerns(who, model)) {
            let bounds =
                [(Counted::Requests, rule.requests, 1), (Counted::Tokens, rule.tokens, bounded(estimated))];
            for (counted, rate, amount) in bounds {
                let Some(rate) = rate else { continue };
                let key = rule.key(counted, who, model);
                let level = buckets.level(key, rate, now);
                if level < rate.cost(amount) {
                    let met = rule.met(counted, rate, amount, level);
                    if worst.is_none_or(|worst| worst.retry_after_ms < met.retry_after_ms) {
                        worst = Some(met);
                    }
                }
                ticket.charges.push(Charge { key, rate, counted, amount });
            }
        }
        if let Some(worst) = worst {
            return Admission::Limited(worst);
        }
        for charge in &ticket.charges {
            buckets.take(charge.key, charge.rate, charge.rate.cost(charge.amount), now);
        }
        Admission::Allowed(ticket)
    }
}

impl Buckets {
    /// Charges what the request took instead of what was estimated. A bucket may fall below empty by it; then
    /// the next request waits longer.
    pub fn settle(&mut self, ticket: Ticket, actual: Tokens, now: UnixMillis) {
        for charge in ticket.charges {
            if charge.counted == Counted::Tokens {
                let more = bounded(actual) - charge.amount;
                self.take(charge.key, charge.rate, charge.rate.cost(more), now);
            }
        }
    }

    /// Gives everything back: the request did not reach a model, or no model answered it.
    pub fn refund(&mut self, ticket: Ticket, now: UnixMillis) {
        for charge in ticket.charges {
            self.take(charge.key, charge.rate, -charge.rate.cost(charge.amount), now);
        }
    }
}

impl Limited<'_> {
    /// The answer to the client; its headers are [`Limited::headers`].
    pub fn refusal(&self) -> Refusal {
        let counted = match self.counted {
            Counted::Requests => "requests",
            Counted::Tokens => "tokens",
        };
        let message = if self.oversized {
            format!("The request needs more than the {} {counted} that its limit admits at once.", self.limit)
        } else {
            let seconds = self.retry_after_ms.div_ceil(1000);
            format!("Rate limit of {} {counted} reached. Try again in {seconds} s.", self.limit)
        };
        Refusal { status: 429, code: "rate_limit_exceeded", kind: "rate_limit_error", message }
    }

    /// Header names and values of the 429, times in whole seconds.
    pub const fn headers(&self) -> [(&'static str, u64); 4] {
        [
            ("retry-after", self.retry_after_ms.div_ceil(1000)),
            ("x-ratelimit-limit", self.limit),
            ("x-ratelimit-remaining", self.remaining),
            ("x-ratelimit-reset", self.reset_ms.div_ceil(1000)),
        ]
    }
}

impl Rule {
    fn of(rule: &RateLimitRule, nth: u64) -> Self {
        let only = |text: &str| (!matches!(text, "" | "*")).then(|| text.to_owned());
        let unit_ms = match rule.unit.as_str() {
            "second" => 1000,
            "hour" => 3_600_000,
            "day" => 86_400_000,
            _ => 60_000,
        };
        let rate =
            |per_unit: i64| (per_unit > 0).then(|| Rate { per_unit: per_unit.min(MAX_PER_UNIT), unit_ms });
        Self {
            name: rule.name.clone(),
            seed: xxh3_64_with_seed(rule.name.as_bytes(), nth) ^ unit_ms.cast_unsigned(),
            user: only(&rule.r#match.user),
            group: only(&rule.r#match.group),
            model: only(&rule.r#match.model),
            requests: rate(rule.requests_per_unit),
            tokens: rate(rule.tokens_per_unit),
        }
    }

    fn concerns(&self, who: Identity<'_>, model: &str) -> bool {
        let in_group = |group: &String| who.groups.split(',').any(|one| one.trim() == group);
        self.user.as_ref().is_none_or(|user| user == who.user)
            && self.group.as_ref().is_none_or(in_group)
            && self.model.as_ref().is_none_or(|only| only == model)
    }

    fn key(&self, counted: Counted, who: Identity<'_>, model: &str) -> u128 {
        let (kind, sharer) = match &self.group {
            Some(group) => (b'g', group.as_str()),
            None => (b'u', who.user),
        };
        let mut hasher = Xxh3::with_seed(self.seed);
        hasher.update(&[counted as u8, kind]);
        hasher.update(&(sharer.len() as u64).to_le_bytes());
        hasher.update(sharer.as_bytes());
        hasher.update(model.as_bytes());
        hasher.digest128()
    }

    fn met(&self, counted: Counted, rate: Rate, amount: i64, level: i64) -> Limited<'_> {
        let oversized = amount > rate.per_unit;
        let missing = rate.cost(amount).saturating_sub(level).unsigned_abs();
        let wait = missing.div_ceil(rate.per_unit.unsigned_abs());
        Limited {
            rule: &self.name,
            counted,
            limit: rate.per_unit.unsigned_abs(),
            remaining: (level.max(0) / rate.unit_ms).unsigned_abs(),
            retry_after_ms: if oversized { rate.unit_ms.unsigned_abs() } else { wait },
            reset_ms: rate.until_full(level),
            oversized,
        }
    }
}

impl Rate {
    /// The level of a full bucket.
    const fn full(self) -> i64 {
        self.cost(self.per_unit)
    }

    /// What `amount` takes from a bucket, which gains `per_unit` every millisecond.
    const fn cost(self, amount: i64) -> i64 {
        amount * self.unit_ms
    }

    /// Milliseconds until a bucket at `level` is full.
    const fn until_full(self, level: i64) -> u64 {
        self.full().saturating_sub(level).unsigned_abs().div_ceil(self.per_unit.unsigned_abs())
    }
}

fn bounded(tokens: Tokens) -> i64 {
    i64::try_from(tokens.get()).unwrap_or(MAX_PER_UNIT).min(MAX_PER_UNIT)
}
