//! What a run found, as numbers and as text.

use std::fmt;

use serde::Serialize;

use super::accounting::Summary;
use super::clairvoyant::Point;

/// One policy's totals.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Policy.
    pub policy: String,
    /// Totals.
    pub summary: Summary,
}

/// The router's cost beside the clairvoyant bound at one shortfall.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Regret {
    /// Share of turns below tier.
    pub shortfall: f64,
    /// Dollars of the bound.
    pub clairvoyant: f64,
    /// Dollars of the router's policy.
    pub pintle: f64,
}

impl Regret {
    /// What the router pays above the bound, as a share of the bound.
    pub fn share(&self) -> f64 {
        self.pintle / self.clairvoyant - 1.0
    }
}

/// One workload, every policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Name of the workload.
    pub name: String,
    /// What it is.
    pub about: String,
    /// Sessions.
    pub sessions: usize,
    /// Turns.
    pub turns: usize,
    /// Shortfall price of the router's row, dollars per turn.
    pub shortfall_price: f64,
    /// As upstream accounts: its baseline never has a warm cache. Empty for other workloads.
    pub published: Vec<Row>,
    /// Cache credit for every policy alike.
    pub honest: Vec<Row>,
    /// The clairvoyant bound.
    pub frontier: Vec<Point>,
    /// The router's policy over the same range of prices.
    pub curve: Vec<Point>,
    /// Both at chosen shortfalls.
    pub regret: Vec<Regret>,
}

impl Report {
    /// Totals of a policy under honest accounting.
    pub fn honest(&self, policy: &str) -> Option<&Summary> {
        self.honest.iter().find(|row| row.policy == policy).map(|row| &row.summary)
    }
}

fn rows(f: &mut fmt::Formatter<'_>, rows: &[Row]) -> fmt::Result {
    writeln!(
        f,
        "  {:<36}{:>9}{:>14}{:>14}{:>9}{:>11}{:>9}",
        "policy", "switches", "unsafe", "cost $", "quality", "shortfall", "dearest"
    )?;
    for Row { policy, summary: s } in rows {
        let locks = format!("{} + {}", s.unsafe_tool, s.unsafe_state);
        writeln!(
            f,
            "  {policy:<36}{:>9}{locks:>14}{:>14.6}{:>9.4}{:>11.4}{:>9}",
            s.switches, s.cost, s.quality, s.shortfall, s.dearest
        )?;
    }
    Ok(())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} ({} sessions, {} turns)", self.name, self.about, self.sessions, self.turns)?;
        if !self.published.is_empty() {
            writeln!(f, "\n  as published (the single-turn baseline never has a warm cache)")?;
            rows(f, &self.published)?;
        }
        writeln!(f, "\n  honest accounting (cache credit for every policy alike)")?;
        rows(f, &self.honest)?;
        writeln!(
            f,
            "\n  pintle and clairvoyant at a shortfall price of ${:.6} per turn",
            self.shortfall_price
        )?;
        if !self.regret.is_empty() {
            writeln!(f, "\n  {:<12}{:>14}{:>12}{:>10}", "shortfall", "clairvoyant $", "pintle $", "regret")?;
            for r in &self.regret {
                let share = 100.0 * r.share();
                writeln!(f, "  {:<12.3}{:>14.2}{:>12.2}{share:>9.1}%", r.shortfall, r.clairvoyant, r.pintle)?;
            }
        }
        Ok(())
    }
}

/// One line per workload: the published policy and the router's at no more shortfall, beside the bound.
pub fn overview(reports: &[Report]) -> String {
    let mut out = format!(
        "{:<18}{:>11}{:>11}{:>11}{:>13}{:>13}{:>14}{:>10}\n",
        "workload",
        "sticky $",
        "single $",
        "published $",
        "its shortfall",
        "pintle $",
        "clairvoyant $",
        "unsafe"
    );
    for report in reports {
        let cost = |policy: &str| report.honest(policy).map_or(f64::NAN, |s| s.cost);
        let Some(published) = report.honest("published") else { continue };
        let at = |points: &[Point]| super::clairvoyant::cost_at(points, published.shortfall);
        let show = |cost: Option<f64>| cost.map_or_else(|| "-".to_owned(), |cost| format!("{cost:.2}"));
        let violations = report.curve.iter().map(|p| p.summary.violations()).sum::<usize>();
        out.push_str(&format!(
            "{:<18}{:>11.2}{:>11.2}{:>11.2}{:>13.3}{:>13}{:>14}{:>10}\n",
            report.name,
            cost("sticky"),
            cost("single-turn"),
            published.cost,
            published.shortfall,
            show(at(&report.curve)),
            show(at(&report.frontier)),
            violations
        ));
    }
    out
}
