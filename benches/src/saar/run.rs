//! Entry points of the command line.

use std::io::{BufRead, Write};

use serde::Serialize;

use super::accounting::{CacheCredit, Summary, summarize};
use super::baselines::Ablation;
use super::clairvoyant::{self, Point};
use super::families::FAMILIES;
use super::live::{Live, foresee};
use super::policy::{self, Policy};
use super::published;
use super::report::{Regret, Report, Row};
use super::workload::{self, Workload, WorkloadError};

/// Shortfalls at which the published workload is compared with the bound.
pub const PUBLISHED_SHORTFALLS: [f64; 5] = [0.45, 0.40, 0.35, 0.30, 0.25];
/// Shares of the reachable range of shortfall at which other workloads are.
const RANGE_SHARES: [f64; 4] = [0.7, 0.5, 0.3, 0.15];

/// What to run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Dollars per turn below tier; `None` derives it from the models' prices.
    pub shortfall_price: Option<f64>,
    /// Prices along the curve and the frontier.
    pub points: usize,
    /// Seed of the other families.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { shortfall_price: None, points: 60, seed: 7 }
    }
}

/// The published workload: its table, honest accounting, the bound and the curve.
pub fn run_published(options: &Options) -> Report {
    let workload = published::workload();
    let mut report = report("published", "6 scenarios, 5 seeds, 40 sessions, 18 turns", &workload, options);
    let upstream = |policy, credit| row(&workload, policy, credit, 0.0);
    report.published.push(upstream(Policy::SingleTurn, CacheCredit::None));
    report.published.push(upstream(Policy::Sticky, CacheCredit::Honest));
    for ablation in Ablation::ALL {
        report.published.push(upstream(Policy::Published(ablation), CacheCredit::Honest));
    }
    report.regret = regret(&report, &PUBLISHED_SHORTFALLS);
    report
}

/// Every other family, at the options' seed.
pub fn run_families(options: &Options) -> Vec<Report> {
    FAMILIES
        .iter()
        .map(|family| report(family.name, family.about, &family.workload(options.seed), options))
        .collect()
}

/// Any workload, every policy.
pub fn report(name: &str, about: &str, workload: &Workload, options: &Options) -> Report {
    let price = options.shortfall_price.unwrap_or_else(|| policy::default_price(workload));
    let policies = [
        Policy::SingleTurn,
        Policy::Sticky,
        Policy::Published(Ablation::Full),
        Policy::Pintle,
        Policy::NoHabits,
        Policy::Clairvoyant,
    ];
    let honest = policies.map(|p| row(workload, p, CacheCredit::Honest, price)).to_vec();
    let frontier = clairvoyant::frontier(workload, options.points);
    let curve = curve(workload, frontier.iter().map(|point| point.price));
    let mut report = Report {
        name: name.to_owned(),
        about: about.to_owned(),
        sessions: workload.sessions.len(),
        turns: workload.turns(),
        shortfall_price: price,
        published: Vec::new(),
        honest,
        frontier,
        curve,
        regret: Vec::new(),
    };
    let ends =
        [report.frontier.first(), report.frontier.last()].map(|p| p.map_or(0.0, |p| p.summary.shortfall));
    report.regret = regret(&report, &RANGE_SHARES.map(|share| ends[1] + share * (ends[0] - ends[1])));
    report
}

fn row(workload: &Workload, policy: Policy, credit: CacheCredit, price: f64) -> Row {
    let schedule = policy::schedule(&policy::run(workload, policy, price));
    Row { policy: policy.to_string(), summary: summarize(workload, &schedule, credit) }
}

/// The router's policy at each price.
pub fn curve(workload: &Workload, prices: impl IntoIterator<Item = f64>) -> Vec<Point> {
    let foresights = foresee(workload);
    prices
        .into_iter()
        .map(|price| {
            let live = Live::new(workload, price);
            let sessions = workload.sessions.iter().zip(&foresights);
            let models = |(session, foresights): (_, &Vec<_>)| {
                live.session(session, foresights).into_iter().map(|(model, _)| model).collect()
            };
            let schedule = sessions.map(models).collect();
            Point { price, summary: summarize(workload, &schedule, CacheCredit::Honest) }
        })
        .collect()
}

fn regret(report: &Report, shortfalls: &[f64]) -> Vec<Regret> {
    let at = |shortfall: f64| {
        let clairvoyant = clairvoyant::cost_at(&report.frontier, shortfall)?;
        let pintle = clairvoyant::cost_at(&report.curve, shortfall)?;
        Some(Regret { shortfall, clairvoyant, pintle })
    };
    shortfalls.iter().filter_map(|shortfall| at(*shortfall)).collect()
}

/// What to run on a workload file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WorkloadOptions {
    /// Policy.
    pub policy: Policy,
    /// Dollars per turn below tier; `None` derives it from the models' prices.
    pub shortfall_price: Option<f64>,
}

#[derive(Serialize)]
struct DecisionLine<'a> {
    session: &'a str,
    turn: usize,
    model: &'a str,
    reason: &'static str,
}

/// Runs a policy on a workload file and writes one decision per turn, in order of arrival.
///
/// Except for [`Policy::Clairvoyant`], a decision depends only on the lines up to its own.
///
/// # Errors
/// [`WorkloadError`] if the file does not fit or the decisions cannot be written.
pub fn run_workload(
    reader: impl BufRead,
    options: &WorkloadOptions,
    mut decisions: impl Write,
) -> Result<Row, WorkloadError> {
    let workload = workload::read(reader)?;
    let price = options.shortfall_price.unwrap_or_else(|| policy::default_price(&workload));
    let decided = policy::run(&workload, options.policy, price);
    for &(s, turn) in &workload.order {
        let decision = decided[s][turn];
        let line = DecisionLine {
            session: &workload.sessions[s].id,
            turn,
            model: &workload.models[decision.model].name,
            reason: decision.reason,
        };
        serde_json::to_writer(&mut decisions, &line).map_err(std::io::Error::from)?;
        decisions.write_all(b"\n")?;
    }
    decisions.flush()?;
    let summary: Summary = summarize(&workload, &policy::schedule(&decided), CacheCredit::Honest);
    Ok(Row { policy: options.policy.to_string(), summary })
}
