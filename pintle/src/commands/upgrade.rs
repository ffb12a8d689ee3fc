//! `pintle upgrade`.

use std::error::Error;
use std::process::ExitCode;

use crate::cli::Upgrade;
use crate::{serve, upgrade};

pub(crate) fn run(options: &Upgrade) -> Result<ExitCode, Box<dyn Error>> {
    let state_dir = match &options.state_dir {
        Some(dir) => dir.clone(),
        None => serve::state_dir(&options.config)?,
    };
    let pid = upgrade::request(&state_dir)?;
    println!("process {pid} serves");
    Ok(ExitCode::SUCCESS)
}
