//! What a request has been charged against its limits, until it is known what it took.

use std::sync::{Arc, PoisonError};

use pintle_routing::facts::Identity;
use pintle_routing::limits::{Admission, Buckets, Ticket};
use pintle_routing::units::Tokens;

use crate::failure::Failure;
use crate::shared::{Generation, Shared, now};

/// A charge. Dropped, everything is given back: no model answered.
pub(crate) struct Charge {
    shared: Arc<Shared>,
    ticket: Option<Ticket>,
}

impl Charge {
    /// Charges a request for `model`, if its policy limits anything.
    ///
    /// # Errors
    /// The 429, if it meets a limit.
    pub(crate) fn take(
        shared: &Arc<Shared>,
        generation: &Generation,
        who: Identity<'_>,
        model: &str,
        estimated: Tokens,
    ) -> Result<Option<Charge>, Failure> {
        if generation.limits.is_empty() {
            return Ok(None);
        }
        let admission =
            with(shared, |buckets| generation.limits.check(buckets, who, model, estimated, now()));
        match admission {
            Admission::Allowed(ticket) => Ok(Some(Charge { shared: shared.clone(), ticket: Some(ticket) })),
            Admission::Limited(limited) => {
                metrics::counter!("pintle_requests_limited_total", "rule" => limited.rule.to_owned())
                    .increment(1);
                let mut failure = Failure::refusal(limited.refusal());
                failure.headers = Some(Box::new(limited.headers()));
                Err(failure)
            }
        }
    }

    /// Charges what the request took instead of what was estimated.
    pub(crate) fn settle(mut self, actual: Tokens) {
        if let Some(ticket) = self.ticket.take() {
            with(&self.shared, |buckets| buckets.settle(ticket, actual, now()));
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            with(&self.shared, |buckets| buckets.refund(ticket, now()));
        }
    }
}

fn with<T>(shared: &Shared, act: impl FnOnce(&mut Buckets) -> T) -> T {
    act(&mut shared.buckets.lock().unwrap_or_else(PoisonError::into_inner))
}
