//! `pintle replay verify`: recorded decisions, taken again.
//!
//! Under the policy that recorded a flow, everything that was concluded must come out again. Under another, the
//! difference between what was recorded and what comes out is what changing the policy would have done.

mod difference;
mod report;

use std::error::Error;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use pintle_control::journal::{self, Entry};
use pintle_routing::flow::recorded::Recorded;
use pintle_routing::flow::{FlowDocument, Usage, VerdictRecord};
use pintle_routing::outcome::{Hold, SessionAction, SessionPhase};
use pintle_routing::policy::Policy;
use pintle_routing::session::Pricing;
use pintle_routing::units::Tokens;

use self::difference::first_difference;
use self::report::Report;
use super::route::load_policy;
use crate::cli::Verify;
use crate::wire;

pub(super) fn verify(options: &Verify) -> Result<ExitCode, Box<dyn Error>> {
    let (config, policy) = load_policy(&options.policy)?;
    let dir = wire::state_dir(&config, options.state_dir.clone()).join("flows");
    if !dir.is_dir() {
        return Err(format!(
            "there is no flow journal in {}; --state-dir names another place",
            dir.display()
        )
        .into());
    }
    let mut tally = Tally::new(&policy, options.limit);
    journal::for_each(&dir, options.since.map(|since| since.0), |entry| {
        tally.entry(entry);
        ControlFlow::Continue(())
    })?;
    let report = Report { tally: &tally, dir: &dir, policy_file: &options.policy };
    io::stdout().write_all(report.to_string().as_bytes())?;
    Ok(if tally.is_good() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Leaves only what a decision concludes, so that two documents can be compared whole.
fn conclusion(document: FlowDocument) -> FlowDocument {
    FlowDocument {
        facts: document.facts,
        evidence: document.evidence,
        projections: document.projections,
        decisions: document.decisions,
        selection: document.selection,
        session: document.session,
        verdict: document.verdict,
        ..FlowDocument::default()
    }
}

/// A flow that is listed by itself.
struct Listed {
    id: String,
    what: String,
}

/// A list that keeps its first entries and counts the others.
struct Capped {
    kept: Vec<Listed>,
    most: usize,
    count: u64,
}

impl Capped {
    fn new(most: usize) -> Self {
        Self { kept: Vec::new(), most, count: 0 }
    }

    fn push(&mut self, id: &str, what: impl FnOnce() -> String) {
        self.count += 1;
        if self.kept.len() < self.most {
            self.kept.push(Listed { id: id.to_owned(), what: what() });
        }
    }
}

/// Money of the flows that another policy recorded, in dollars.
#[derive(Default)]
struct Costs {
    /// Flows whose usage can be priced both ways.
    priced: u64,
    /// Flows whose usage cannot.
    unpriced: u64,
    /// On the models that served, at this policy's prices.
    before: f64,
    /// On the models of this policy, with the same share of cached prompt.
    after_warm: f64,
    /// The same, with nothing cached wherever the model differs.
    after_cold: f64,
}

struct Tally<'p> {
    policy: &'p Policy,
    digest: String,
    identical: u64,
    different: Capped,
    /// Flows of other policies.
    others: u64,
    /// Of those, flows some of whose signals are on record neither as evidence nor as text.
    incomplete: u64,
    without_texts: u64,
    changed_decision: u64,
    changed_target: u64,
    changed_kind: u64,
    changes: Capped,
    costs: Costs,
    /// Turns of other policies whose model a lock held.
    locked: u64,
    locked_refused: u64,
    locked_moved: Capped,
    undecided: u64,
    /// Flows that the journal says it lost.
    lost: u64,
    unreadable: u64,
}

impl<'p> Tally<'p> {
    fn new(policy: &'p Policy, limit: usize) -> Self {
        Self {
            policy,
            digest: policy.digest_hex(),
            identical: 0,
            different: Capped::new(limit),
            others: 0,
            incomplete: 0,
            without_texts: 0,
            changed_decision: 0,
            changed_target: 0,
            changed_kind: 0,
            changes: Capped::new(limit),
            costs: Costs::default(),
            locked: 0,
            locked_refused: 0,
            locked_moved: Capped::new(limit),
            undecided: 0,
            lost: 0,
            unreadable: 0,
        }
    }

    fn is_good(&self) -> bool {
        self.different.count == 0 && self.locked_moved.count == 0 && self.unreadable == 0
    }

    fn entry(&mut self, entry: Entry) {
        let mut document = match entry {
            Entry::Flow(document) => *document,
            Entry::Lost(count) => return self.lost += count,
            Entry::Damaged => return self.unreadable += 1,
        };
        match document.inputs.take() {
            None => self.undecided += 1,
            Some(recorded) if document.policy_digest == self.digest => self.same_policy(&recorded, document),
            Some(recorded) => self.other_policy(&recorded, &document),
        }
    }

    fn same_policy(&mut self, recorded: &Recorded, document: FlowDocument) {
        let id = document.id.clone();
        let (before, after) = (conclusion(document), conclusion(self.policy.replay_described(recorded)));
        if before == after {
            self.identical += 1;
            return;
        }
        // JSON has one null for several values; only what it tells apart is a difference.
        let values = serde_json::to_value(&before).and_then(|b| Ok((b, serde_json::to_value(&after)?)));
        match values.map(|(before, after)| first_difference(&before, &after)) {
            Ok(None) => self.identical += 1,
            Ok(Some(difference)) => self.different.push(&id, || difference),
            Err(error) => self.different.push(&id, || error.to_string()),
        }
    }

    fn other_policy(&mut self, recorded: &Recorded, document: &FlowDocument) {
        self.others += 1;
        if recorded.facts.private.is_none() {
            self.without_texts += 1;
            let is_known = |key: &String| recorded.evidence.iter().any(|(known, _)| known == key);
            self.incomplete += u64::from(!self.policy.signals().iter().all(|def| is_known(&def.key)));
        }
        let (before, after) = (&document.verdict, self.policy.replay_described(recorded).verdict);
        let decision = before.decision != after.decision;
        let target = before.kind == after.kind && before.target != after.target;
        let kind = before.kind != after.kind;
        self.changed_decision += u64::from(decision);
        self.changed_target += u64::from(target);
        self.changed_kind += u64::from(kind);
        if decision || target || kind {
            self.changes.push(&document.id, || change(before, &after));
        }
        self.count_cost(document, &after);
        if holds_model(document) {
            self.locked += 1;
            if after.kind == "refuse" {
                self.locked_refused += 1;
            } else if after.kind == "route" && before.target != after.target {
                self.locked_moved.push(&document.id, || change(before, &after));
            }
        }
    }

    fn count_cost(&mut self, document: &FlowDocument, after: &VerdictRecord) {
        let Some(usage) = &document.usage else { return };
        let last = document.upstream.last().map(|attempt| &attempt.model);
        let served = last.filter(|model| !model.is_empty()).or(document.verdict.target.as_ref());
        let is_same = document.verdict.target == after.target;
        let priced = |target: Option<&String>| {
            let target = self.policy.target(target?)?;
            self.policy.models()[target.model.index()].pricing
        };
        let prices = match (priced(served), after.kind.as_str()) {
            (Some(before), "route") if is_same => Some((before, Some(before))),
            (Some(before), "route") => priced(after.target.as_ref()).map(|after| (before, Some(after))),
            (Some(before), _) => Some((before, None)),
            (None, _) => None,
        };
        let costs = &mut self.costs;
        let Some((before, after)) = prices else {
            costs.unpriced += 1;
            return;
        };
        let cached = usage.cached.unwrap_or_default();
        costs.priced += 1;
        costs.before += dollars(&before, usage, cached);
        if let Some(after) = after {
            costs.after_warm += dollars(&after, usage, cached);
            costs.after_cold += dollars(&after, usage, if is_same { cached } else { Tokens(0) });
        }
    }
}

fn dollars(pricing: &Pricing, usage: &Usage, cached: Tokens) -> f64 {
    let cached = cached.get().min(usage.prompt.get());
    pricing.prompt.of(Tokens(usage.prompt.get() - cached)).get()
        + pricing.cached.of(Tokens(cached)).get()
        + pricing.completion.of(usage.completion).get()
}

/// Whether a lock held the model of a turn when it was recorded.
fn holds_model(document: &FlowDocument) -> bool {
    let session = &document.session;
    matches!(session.phase, Some(SessionPhase::ToolLoop | SessionPhase::ProviderState))
        && matches!(
            session.action,
            Some(SessionAction::Held(Hold::ToolLoop | Hold::ProviderState) | SessionAction::Stayed)
        )
}

fn change(before: &VerdictRecord, after: &VerdictRecord) -> String {
    let show = |verdict: &VerdictRecord| {
        let conclusion = match (verdict.kind.as_str(), &verdict.target, verdict.status) {
            ("route", Some(target), _) => target.clone(),
            ("refuse", _, Some(status)) => format!("refuse {status}"),
            (kind, _, _) => kind.to_owned(),
        };
        format!("{conclusion} ({})", verdict.decision.as_deref().unwrap_or("no decision"))
    };
    format!("{} -> {}", show(before), show(after))
}
