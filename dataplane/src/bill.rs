//! What an answer took, and what that cost.

use pintle_routing::flow::{Usage, UsageSource};
use pintle_routing::ids::Target;
use pintle_routing::policy::Policy;
use pintle_routing::units::{Tokens, Usd};

use crate::observe::Seen;

/// As the backend reported it, else as far as it can be estimated.
pub(crate) fn usage(seen: &Seen, estimated_prompt: Tokens) -> Usage {
    Usage {
        prompt: seen.prompt_tokens().map_or(estimated_prompt, Tokens),
        cached: seen.cached_tokens().map(Tokens),
        completion: Tokens(seen.completion_tokens()),
        reasoning: seen.reasoning_tokens().map(Tokens),
        source: if seen.prompt_tokens().is_some() { UsageSource::Backend } else { UsageSource::Estimate },
    }
}

/// By the model's price list; `None` without one.
pub(crate) fn cost(policy: &Policy, target: Target, usage: &Usage) -> Option<Usd> {
    let pricing = policy.models()[target.model.index()].pricing.as_ref()?;
    let cached = usage.cached.map_or(0, Tokens::get).min(usage.prompt.get());
    let cost = pricing.prompt.of(Tokens(usage.prompt.get() - cached)).get()
        + pricing.cached.of(Tokens(cached)).get()
        + pricing.completion.of(usage.completion).get();
    Some(Usd(cost))
}

/// Of several answers together. What one of them did not report is missing from the sums of what is cached and of what
/// was spent on reasoning.
pub(crate) fn sum<'u>(usages: impl Iterator<Item = &'u Usage>) -> Option<Usage> {
    let reported = |a: Option<Tokens>, b: Option<Tokens>| match (a, b) {
        (Some(a), Some(b)) => Some(Tokens(a.get().saturating_add(b.get()))),
        (one, other) => one.or(other),
    };
    usages.copied().reduce(|a, b| Usage {
        prompt: Tokens(a.prompt.get().saturating_add(b.prompt.get())),
        cached: reported(a.cached, b.cached),
        completion: Tokens(a.completion.get().saturating_add(b.completion.get())),
        reasoning: reported(a.reasoning, b.reasoning),
        source: if a.source == b.source { a.source } else { UsageSource::Estimate },
    })
}
