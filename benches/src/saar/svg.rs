//! Cost against shortfall, drawn.

use std::fmt::Write;

use super::clairvoyant::Point;
use super::report::Report;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;

struct Axes {
    shortfall: f64,
    low: f64,
    high: f64,
}

impl Axes {
    fn of(report: &Report) -> Self {
        let points = report.frontier.iter().chain(&report.curve).map(|p| p.summary);
        let all: Vec<_> = points.chain(report.honest.iter().map(|row| row.summary)).collect();
        let shortfall = all.iter().map(|s| s.shortfall).fold(0.05, f64::max);
        let costs = || all.iter().map(|s| s.cost).filter(|c| *c > 0.0);
        let low = costs().fold(f64::INFINITY, f64::min);
        let high = costs().fold(0.0, f64::max);
        let (low, high) = if high > low { (low, high) } else { (high.max(1e-9) / 10.0, high.max(1e-9)) };
        Self { shortfall, low: low / 1.2, high: high * 1.2 }
    }

    fn x(&self, shortfall: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * shortfall / self.shortfall
    }

    fn y(&self, cost: f64) -> f64 {
        let share = (cost.max(self.low) / self.low).ln() / (self.high / self.low).ln();
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share
    }

    fn path(&self, points: &[Point]) -> String {
        let at = |p: &Point| format!("{:.1},{:.1}", self.x(p.summary.shortfall), self.y(p.summary.cost));
        points.iter().map(at).collect::<Vec<_>>().join(" ")
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A drawing: shortfall to the right, honest cost upwards on a logarithmic scale, the clairvoyant frontier and the
/// router's curve as lines, every policy as a point.
pub fn draw(report: &Report) -> String {
    let axes = Axes::of(report);
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut out, report, &axes);
    out
}

fn write_all(out: &mut String, report: &Report, axes: &Axes) -> std::fmt::Result {
    writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">"#
    )?;
    writeln!(out, r##"<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>"##)?;
    let title = escape(&format!("{}: cost against shortfall, {} turns", report.name, report.turns));
    writeln!(out, r#"<text x="{LEFT}" y="28" font-size="16">{title}</text>"#)?;
    grid(out, axes)?;
    for (points, colour, dash) in [(&report.frontier, "#444444", "6 4"), (&report.curve, "#0b6e4f", "none")] {
        let path = axes.path(points);
        writeln!(
            out,
            r#"<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>"#
        )?;
    }
    for (i, row) in report.honest.iter().enumerate() {
        let colour = ["#c0392b", "#8e44ad", "#d35400", "#0b6e4f", "#2e86c1", "#444444"][i % 6];
        let (x, y) = (axes.x(row.summary.shortfall), axes.y(row.summary.cost));
        let legend = TOP + 24.0 * i as f64;
        let label = escape(&format!("{} ${:.2}", row.policy, row.summary.cost));
        writeln!(out, r#"<circle cx="{x:.1}" cy="{y:.1}" r="5" fill="{colour}"/>"#)?;
        let at = WIDTH - RIGHT + 14.0;
        writeln!(out, r#"<circle cx="{at}" cy="{legend}" r="5" fill="{colour}"/>"#)?;
        writeln!(out, r#"<text x="{}" y="{}">{label}</text>"#, at + 12.0, legend + 4.0)?;
    }
    writeln!(out, "</svg>")
}

fn grid(out: &mut String, axes: &Axes) -> std::fmt::Result {
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    let step = if axes.shortfall > 0.4 { 0.1 } else { 0.05 };
    for i in 0..=(axes.shortfall / step) as usize {
        let (value, x) = (step * i as f64, axes.x(step * i as f64));
        writeln!(out, r##"<line x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom}" stroke="#e5e5e5"/>"##)?;
        let y = bottom + 18.0;
        writeln!(out, r#"<text x="{x:.1}" y="{y}" text-anchor="middle">{value:.2}</text>"#)?;
    }
    let first = axes.low.log10().floor() as i32;
    let last = axes.high.log10().ceil() as i32;
    for power in first..=last {
        for digit in [1.0, 2.0, 5.0] {
            let cost = digit * 10f64.powi(power);
            if cost < axes.low || cost > axes.high {
                continue;
            }
            let y = axes.y(cost);
            writeln!(out, r##"<line x1="{LEFT}" y1="{y:.1}" x2="{right}" y2="{y:.1}" stroke="#e5e5e5"/>"##)?;
            writeln!(out, r#"<text x="{}" y="{:.1}" text-anchor="end">${cost}</text>"#, LEFT - 8.0, y + 4.0)?;
        }
    }
    let middle = (LEFT + right) / 2.0;
    let y = HEIGHT - 18.0;
    writeln!(
        out,
        r#"<text x="{middle}" y="{y}" text-anchor="middle">share of turns served below their tier</text>"#
    )?;
    writeln!(
        out,
        r##"<text x="{}" y="{}" fill="#444444">dashed: clairvoyant; line: pintle</text>"##,
        LEFT + 8.0,
        TOP + 14.0
    )
}
