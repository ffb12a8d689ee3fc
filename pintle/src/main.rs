//! The Pintle binary: command line and wiring, nothing else.
#![forbid(unsafe_code)]

mod cli;
mod commands;
mod environment;
mod feedback;
mod kernel;
mod loopers;
mod meaning;
mod output;
mod pretrained;
mod resolve;
mod serve;
mod sink;
mod toolboxes;
mod trust;
mod upgrade;
mod wire;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("pintle: {error}");
            ExitCode::from(1)
        }
    }
}
