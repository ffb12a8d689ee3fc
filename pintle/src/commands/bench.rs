//! `pintle bench saar`: the session-routing benchmark, published or on a workload of the operator's own.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::ExitCode;

use pintle_benches::saar::{
    self, Options, Policy, Row, WorkloadOptions, overview, run_families, run_published, run_workload,
};

use crate::cli::{BenchCommand, Saar};

const STANDARD: &str = "-";

pub(super) fn run(command: &BenchCommand) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        BenchCommand::Saar(options) => saar(options)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn saar(options: &Saar) -> Result<(), Box<dyn Error>> {
    match (&options.workload, options.policy, &options.decisions) {
        (Some(workload), Some(policy), Some(decisions)) => {
            own(workload, policy, decisions, options.shortfall_price)
        }
        // The parser lets these three through only together.
        _ => published(options),
    }
}

/// The published workload, and the other families if asked for.
fn published(options: &Saar) -> Result<(), Box<dyn Error>> {
    let run = Options { shortfall_price: options.shortfall_price, ..Options::default() };
    let report = run_published(&run);
    let mut text = report.to_string();
    let drawing = options.svg.as_deref().map(|path| (path, saar::svg::draw(&report)));
    if options.families {
        let mut reports = vec![report];
        for family in run_families(&run) {
            text.push_str(&format!("\n{family}"));
            reports.push(family);
        }
        text.push_str(&format!("\n{}", overview(&reports)));
    }
    if let Some((path, drawing)) = drawing {
        write(path, drawing.as_bytes())?;
        return say(path, &text);
    }
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// One policy on one workload file.
fn own(
    workload: &Path,
    policy: Policy,
    decisions: &Path,
    shortfall_price: Option<f64>,
) -> Result<(), Box<dyn Error>> {
    let options = WorkloadOptions { policy, shortfall_price };
    // Nothing is written over an earlier result unless the whole workload could be read.
    let mut lines = Vec::new();
    let row = run_workload(open(workload)?, &options, &mut lines)
        .map_err(|error| format!("{}: {error}", name(workload)))?;
    write(decisions, &lines)?;
    say(decisions, &summary(&row))
}

fn summary(row: &Row) -> String {
    let s = &row.summary;
    format!(
        "{}: {} switches, {} + {} unsafe (tool loop + provider state), ${:.6}, quality {:.4}, shortfall {:.4}, \
         {} turns on the dearest model\n",
        row.policy, s.switches, s.unsafe_tool, s.unsafe_state, s.cost, s.quality, s.shortfall, s.dearest
    )
}

/// Prints to standard output, or to standard error if `taken` is standard output.
fn say(taken: &Path, text: &str) -> Result<(), Box<dyn Error>> {
    if taken == Path::new(STANDARD) {
        io::stderr().write_all(text.as_bytes())?;
    } else {
        io::stdout().write_all(text.as_bytes())?;
    }
    Ok(())
}

fn name(path: &Path) -> String {
    if path == Path::new(STANDARD) { "standard input".to_owned() } else { path.display().to_string() }
}

fn open(path: &Path) -> Result<Box<dyn BufRead>, String> {
    if path == Path::new(STANDARD) {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    if path == Path::new(STANDARD) {
        return io::stdout().write_all(bytes).map_err(|error| format!("standard output: {error}"));
    }
    std::fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}
