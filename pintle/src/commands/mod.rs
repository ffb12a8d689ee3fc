//! The subcommands that do their work and end.

mod admin_client;
mod bench;
mod check;
mod convert;
mod ebpf;
mod eval;
mod explain;
mod guard;
mod model;
mod replay;
mod route;
mod sessions;
mod shadow;
mod status;
mod upgrade;

use std::error::Error;
use std::process::ExitCode;

use crate::cli::{Cli, Command, ConfigCommand, EvalCommand, ReplayCommand};
use crate::serve;

pub(crate) fn run(cli: Cli) -> Result<ExitCode, Box<dyn Error>> {
    match cli.command {
        Command::Serve(options) => {
            serve::run(&options)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Upgrade(options) => upgrade::run(&options),
        Command::Config(ConfigCommand::Check(options)) => check::check(&options),
        Command::Config(ConfigCommand::Migrate(options)) => convert::migrate(&options),
        Command::Config(ConfigCommand::Import(options)) => convert::import(&options),
        Command::Config(ConfigCommand::Export(options)) => convert::export(&options),
        Command::Config(ConfigCommand::Schema) => convert::schema(),
        Command::Config(ConfigCommand::Explain { code }) => check::explain(code.as_deref()),
        Command::Explain(options) => explain::run(&options),
        Command::Status(options) => status::run(&options),
        Command::Guard(command) => guard::run(command),
        Command::Ebpf(command) => ebpf::run(command),
        Command::Sessions(command) => sessions::run(command),
        Command::Model(command) => model::run(command),
        Command::Route(options) => route::run(&options),
        Command::Replay(ReplayCommand::Verify(options)) => replay::verify(&options),
        Command::Bench(command) => bench::run(&command),
        Command::Eval(EvalCommand::Signals(options)) => eval::signals(&options),
        Command::StandInModel(options) => {
            pintle_standin::run(options)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Demo(options) => {
            let program = std::env::current_exe()?;
            pintle_standin::demo::run(&program, &options)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
