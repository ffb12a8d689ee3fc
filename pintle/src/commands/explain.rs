//! `pintle explain`: why a request went where it went.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use pintle_control::explain::{self, Style};
use pintle_control::journal;
use pintle_routing::flow_id::FlowId;

use crate::cli::Explain;
use crate::environment;
use crate::output::print;

/// Where a packaged gateway keeps its state.
pub(super) const PACKAGED_STATE: &str = "/var/lib/pintle";

pub(super) fn run(options: &Explain) -> Result<ExitCode, Box<dyn Error>> {
    let id: FlowId = options.id.trim().parse()?;
    let state = options
        .state_dir
        .clone()
        .or_else(environment::state_directory)
        .unwrap_or_else(|| PathBuf::from(PACKAGED_STATE));
    let dir = state.join("flows");
    let Some(document) = journal::find(&dir, id)? else {
        eprintln!(
            "pintle: no flow {id} in {}. It may be older than the journal keeps, of another gateway, or its \
             request may still be running; --state-dir names another place.",
            dir.display()
        );
        return Ok(ExitCode::from(1));
    };
    if options.json {
        print(&format!("{}\n", explain::explain_json(&document)?))?;
    } else {
        print(&explain::explain(&document, Style::for_stdout()))?;
    }
    Ok(ExitCode::SUCCESS)
}
