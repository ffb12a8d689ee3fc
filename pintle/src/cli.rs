//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pintle_benches::saar::Policy;

/// Inference edge appliance: routes agent sessions to models, and proves why.
#[derive(Debug, Parser)]
#[command(name = "pintle", version, about, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve clients.
    Serve(Serve),
    /// Check and explain configurations.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Say why a request went where it went.
    Explain(Explain),
    /// List, show and release remembered sessions of a stopped gateway.
    #[command(subcommand)]
    Sessions(SessionsCommand),
    /// Measure routing policies.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Play an OpenAI-compatible model server, for tests and demonstrations.
    StandInModel(pintle_standin::Options),
    /// Play a coding agent's session through a gateway and three stand-in models.
    Demo(pintle_standin::demo::DemoOptions),
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Configuration, canonical v0.3.
    #[arg(long, value_name = "FILE", default_value = "/etc/pintle/config.yaml")]
    pub(crate) config: PathBuf,
    /// Directory for session memory and the flow journal, instead of `global.pintle.state_dir`.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Kernel interface that moves bytes, instead of `global.pintle.driver`.
    #[arg(long, value_enum)]
    pub(crate) driver: Option<DriverArg>,
    /// Number of workers, instead of `global.pintle.workers`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) workers: Option<u16>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum DriverArg {
    /// io_uring where the kernel allows it, epoll otherwise.
    Auto,
    /// io_uring, or fail to start.
    #[value(name = "io_uring", alias = "io-uring")]
    IoUring,
    /// epoll.
    Epoll,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Report every problem of a configuration. Exits 1 if it does not load.
    Check(Check),
    /// Turn an older layout, Helm values or custom resources into canonical v0.3.
    Migrate(Migrate),
    /// Turn an inventory of models into `providers` and model cards.
    Import(Import),
    /// Write a configuration as Pintle understood it: canonical, without what equals the defaults.
    Export(Export),
    /// Print the JSON Schema (2020-12) of the contract.
    Schema,
    /// Explain a code that `check` reported.
    Explain {
        /// Such as PCF001; without it, all codes are listed.
        code: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The configuration; `-` for standard input.
    pub(crate) file: PathBuf,
    /// Warnings count as errors.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Form of the report.
    #[arg(long, value_enum, default_value_t = FormatArg::Human)]
    pub(crate) format: FormatArg,
    /// Whose verdict is given.
    #[arg(long, value_enum, default_value_t = ProfileArg::Pintle)]
    pub(crate) profile: ProfileArg,
}

#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// The old file; `-` for standard input.
    pub(crate) old: PathBuf,
    /// Where to write the new one, instead of standard output. The report goes to standard error.
    #[arg(short, long, value_name = "NEW")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Kind of inventory.
    #[arg(long, value_enum)]
    pub(crate) from: ImportKind,
    /// A file; for `openai` the base URL of a running server, such as http://10.0.0.5:8000/v1.
    pub(crate) source: String,
    /// Where to write, instead of standard output. The report goes to standard error.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ImportKind {
    /// `GET /v1/models` of a running server.
    Openai,
    /// LiteLLM's config.yaml.
    Litellm,
    /// openclaw.json.
    Openclaw,
    /// Static lists of vLLM production-stack.
    ProductionStack,
    /// IntelligentPool, IntelligentRoute and SemanticRouter resources.
    Kubernetes,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The configuration; `-` for standard input.
    pub(crate) file: PathBuf,
    /// Write keys as they are instead of redacting them.
    #[arg(long)]
    pub(crate) with_keys: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum FormatArg {
    /// For a person.
    Human,
    /// One JSON document.
    Json,
    /// SARIF 2.1.0, for code review tools.
    Sarif,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ProfileArg {
    /// Pintle's own.
    Pintle,
    /// vLLM Semantic Router v0.3.0's.
    Compat,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The flow id, from `x-vsr-replay-id`.
    pub(crate) id: String,
    /// The document as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Directory of the gateway's state.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// List sessions.
    Ls(StateDir),
    /// Show one session.
    Show(OneSession),
    /// Forget one session, so that its next turn is routed as a new one.
    Unpin(OneSession),
    /// Write all sessions as JSON lines to standard output.
    Export(StateDir),
    /// Read sessions as JSON lines from standard input.
    Import(StateDir),
    /// Rewrite the file without expired sessions.
    Compact(StateDir),
}

#[derive(Debug, Args)]
pub(crate) struct StateDir {
    /// Directory of the gateway's state.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct OneSession {
    /// The session's key: 32 hexadecimal digits, as `ls` shows it.
    pub(crate) key: String,
    /// Directory of the gateway's state.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Run the session-routing benchmark: the published one, or a policy on a workload file.
    Saar(Saar),
}

#[derive(Debug, Args)]
pub(crate) struct Saar {
    /// Draw cost against shortfall of the published workload as SVG; `-` for standard output.
    #[arg(long, value_name = "FILE", conflicts_with = "workload")]
    pub(crate) svg: Option<PathBuf>,
    /// Run the other families of workloads too.
    #[arg(long, conflicts_with = "workload")]
    pub(crate) families: bool,
    /// A workload as JSON lines, instead of the published one; `-` for standard input.
    #[arg(long, value_name = "FILE", requires_all = ["policy", "decisions"])]
    pub(crate) workload: Option<PathBuf>,
    /// The policy that decides the workload; a wrong name lists all.
    #[arg(long, value_name = "NAME", requires = "workload")]
    pub(crate) policy: Option<Policy>,
    /// Where one decision per turn is written; `-` for standard output.
    #[arg(long, value_name = "FILE", requires = "workload")]
    pub(crate) decisions: Option<PathBuf>,
    /// What it is worth, in dollars, not to serve one turn below its tier; derived from the models' prices
    /// without.
    #[arg(long, value_name = "USD", value_parser = dollars, allow_negative_numbers = true)]
    pub(crate) shortfall_price: Option<f64>,
}

fn dollars(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("must be a number of dollars, not negative".to_owned()),
    }
}
