//! A whole session in one command: Pintle, three stand-in models and an agent that talks to them.
//!
//! Everything runs on loopback, in processes that end with the demonstration, and writes into a folder that
//! is removed afterwards. The configuration is a copy of the given file, apart from the idle time-out: a
//! session idles out after [`IDLE_SECONDS`], so that the break in the script takes seconds, not minutes.

mod agent;
mod child;
mod client;
mod script;
mod table;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use agent::{Agent, Answer};
use child::Process;
use client::Client;
use script::{IDLE_TIMEOUT, STEPS, Step};
use table::{Row, Widths};

/// Idle time-out of sessions while the demonstration runs.
pub const IDLE_SECONDS: u64 = IDLE_TIMEOUT.as_secs();

/// Where the configuration puts Pintle's listener.
const GATEWAY: &str = "http://127.0.0.1:8899";

/// Where it puts the admin endpoint.
const ADMIN: &str = "http://127.0.0.1:9190";

/// The stand-ins that the configuration names: what for, model, port, tokens per second, first token (ms).
const STAND_INS: [(&str, &str, u16, u32, u32); 3] = [
    ("small", "qwen3-8b", 18001, 240, 15),
    ("large", "qwen3-32b", 18002, 120, 35),
    ("frontier", "frontier-reasoner", 18003, 90, 60),
];

/// A process must answer within this time after its start.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// The flow document of a turn must be there within this time after its answer.
const FLOW_DEADLINE: Duration = Duration::from_secs(15);

/// Pause between two looks at something that is about to happen.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Lines of an explanation that are shown.
const EXPLANATION_LINES: usize = 60;

/// Settings of the demonstration; also its command line.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoOptions {
    /// Configuration to run; it must listen on 127.0.0.1:8899 and name the three stand-in models.
    #[arg(long, default_value = "config/examples/agentic.yaml", value_name = "FILE")]
    pub config: PathBuf,

    /// Keep everything running after the last turn, until Ctrl-C.
    #[arg(long)]
    pub stay: bool,
}

/// Why the demonstration did not end well.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A file or process could not be handled.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What came of it.
        source: io::Error,
    },
    /// A process ended, or did not begin to answer.
    #[error("{name} did not start on {url}: {why}")]
    Start {
        /// Which process.
        name: String,
        /// Where it should answer.
        url: String,
        /// Exit status and last log lines, or what was waited for.
        why: String,
    },
    /// An exchange over HTTP failed.
    #[error("HTTP: {0}")]
    Http(String),
    /// Turns failed, or a tool result went astray.
    #[error("{failed} of {turns} turns failed, {violations} tool results went to the wrong model")]
    Outcome {
        /// Turns without an answer.
        failed: usize,
        /// Turns played.
        turns: usize,
        /// Counted by the stand-ins.
        violations: u64,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl DemoError {
    fn http(error: impl std::fmt::Display) -> Self {
        Self::Http(error.to_string())
    }

    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// Runs the demonstration with `program` as the Pintle binary; call it on the main thread.
///
/// # Errors
/// A process does not start, a turn fails, or the user interrupts. Nothing is left running in any case.
pub fn run(program: &Path, options: &DemoOptions) -> Result<(), DemoError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(DemoError::io("start the runtime"))?.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(DemoError::io("watch for Ctrl-C"))?;
        let mut terminate = signal(SignalKind::terminate()).map_err(DemoError::io("watch for SIGTERM"))?;
        tokio::select! {
            played = play(program, options) => played,
            _ = interrupt.recv() => Err(DemoError::Interrupted),
            _ = terminate.recv() => Err(DemoError::Interrupted),
        }
    })
}

async fn play(program: &Path, options: &DemoOptions) -> Result<(), DemoError> {
    let folder = tempfile::Builder::new().prefix("pintle-demo-").tempdir();
    let folder = folder.map_err(DemoError::io("make a temporary folder"))?;
    let state = folder.path().join("state");
    let client = Client::new();
    // Declared after the folder, so that the processes end before it is removed.
    let mut processes = Vec::with_capacity(STAND_INS.len() + 1);
    for (role, model, port, rate, delay) in STAND_INS {
        let url = format!("http://127.0.0.1:{port}");
        note(&format!("starting the {role} stand-in model, {model}, on {url}"));
        let args = [
            "stand-in-model".to_owned(),
            format!("--listen=127.0.0.1:{port}"),
            format!("--model={model}"),
            format!("--tokens-per-second={rate}"),
            format!("--first-token-ms={delay}"),
        ];
        let log = folder.path().join(format!("{role}.log"));
        start(&client, program, &args, &log, model, &format!("{url}/health"), &mut processes).await?;
    }
    note(&format!("starting Pintle on {GATEWAY} with {}", options.config.display()));
    let config = folder.path().join("config.yaml");
    write_config(&options.config, &config)?;
    let args = [
        "serve".into(),
        "--config".into(),
        config.into_os_string(),
        "--state-dir".into(),
        state.clone().into(),
    ];
    let log = folder.path().join("pintle.log");
    let ready = format!("{GATEWAY}/ready");
    start(&client, program, &args, &log, "Pintle", &ready, &mut processes).await?;

    let rows = turns(&client).await?;
    let outcome = summary(&client, &rows).await;
    explain(program, &state, &rows);
    if options.stay {
        note(&format!("Pintle stays on {GATEWAY} and its admin endpoint on {ADMIN} until Ctrl-C"));
        std::future::pending::<()>().await;
    }
    outcome
}

/// Starts a process and waits until `url` answers 200.
async fn start(
    client: &Client,
    program: &Path,
    args: &[impl AsRef<std::ffi::OsStr>],
    log: &Path,
    name: &str,
    url: &str,
    processes: &mut Vec<Process>,
) -> Result<(), DemoError> {
    let fail = |why: String| DemoError::Start { name: name.to_owned(), url: url.to_owned(), why };
    // Another server on this port would answer in place of the one about to start.
    if let Ok((status, _)) = client.get(url).await {
        return Err(fail(format!("something else answers there already (status {status})")));
    }
    let mut process = Process::start(program, args, log).map_err(DemoError::io(format!("start {name}")))?;
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        if let Some(status) = process.exited().map_err(DemoError::io(format!("watch {name}")))? {
            return Err(fail(format!("{status}\n{}", process.log_tail())));
        }
        if matches!(client.get(url).await, Ok((200, _))) {
            processes.push(process);
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(fail(format!("no answer in {START_DEADLINE:?}\n{}", process.log_tail())));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Copies the configuration with the demonstration's idle time-out.
fn write_config(from: &Path, to: &Path) -> Result<(), DemoError> {
    let text = std::fs::read_to_string(from).map_err(DemoError::io(format!("read {}", from.display())))?;
    std::fs::write(to, with_idle_timeout(&text)).map_err(DemoError::io(format!("write {}", to.display())))
}

/// Gives every `session_aware` block of the file, and no other place, the short idle time-out.
fn with_idle_timeout(text: &str) -> String {
    let key = "idle_timeout_seconds:";
    let mut out = String::with_capacity(text.len() + 256);
    let mut in_block = false;
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start().len();
        if std::mem::take(&mut in_block) {
            out.push_str(&format!("{:indent$}{key} {IDLE_SECONDS}\n", ""));
        }
        if !line.trim_start().starts_with(key) {
            out.push_str(line);
        }
        in_block = line.trim() == "session_aware:";
    }
    out
}

async fn turns(client: &Client) -> Result<Vec<Row>, DemoError> {
    let widths = Widths::new(STEPS.iter().map(|s| s.what), STAND_INS.iter().map(|s| s.1.len()));
    say("");
    say(&widths.header());
    let mut agent = Agent::new();
    let mut rows = Vec::with_capacity(STEPS.len());
    for (index, step) in STEPS.iter().enumerate() {
        pause(step.pause).await;
        let row = turn(client, &mut agent, index + 1, step).await?;
        say(&widths.row(&row));
        rows.push(row);
    }
    Ok(rows)
}

async fn turn(client: &Client, agent: &mut Agent, number: usize, step: &Step) -> Result<Row, DemoError> {
    let asked = "auto";
    let mut row = Row { turn: number, what: step.what.to_owned(), asked: asked.to_owned(), ..Row::default() };
    let body = agent.act(step.act, asked);
    let url = format!("{GATEWAY}/v1/chat/completions");
    let response = client.post(&url, &[("x-session-id", "demo")], &body).await?;
    let header = |name: &str| {
        response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
    };
    row.chosen = header("x-vsr-selected-model");
    row.phase = header("x-vsr-session-phase");
    row.decision = header("x-vsr-selected-decision");
    row.flow = header("x-vsr-replay-id");
    let status = response.status();
    if status.is_success() {
        let mut answer = Answer::default();
        client::read(response, |piece| {
            answer.feed(piece);
            progress(&format!("turn {number}: {} bytes", answer.bytes));
        })
        .await?;
        progress("");
        if !answer.done {
            row.error = Some("the stream ended early".to_owned());
        }
        agent.hear(&answer);
    } else {
        let mut text = Vec::new();
        client::read(response, |piece| text.extend_from_slice(piece)).await?;
        row.error = Some(format!("{status}: {}", String::from_utf8_lossy(&text)));
    }
    if let Some(flow) = flow(client, &row.flow).await? {
        row.action = table::action(&flow["session"]["action"]);
        let reason = [&flow["session"]["reason"], &flow["verdict"]["reason"]];
        row.why = reason
            .into_iter()
            .filter_map(Value::as_str)
            .find(|r| !r.is_empty())
            .unwrap_or_default()
            .to_owned();
        row.cost_usd = flow["cost_usd"].as_f64();
    }
    Ok(row)
}

/// The flow document of a turn, once the journal has it.
async fn flow(client: &Client, id: &str) -> Result<Option<Value>, DemoError> {
    if id.is_empty() {
        return Ok(None);
    }
    let url = format!("{ADMIN}/v1/flows/{id}");
    let deadline = Instant::now() + FLOW_DEADLINE;
    loop {
        match client.get(&url).await {
            Ok((200, document)) => return Ok(Some(document)),
            Err(error) if Instant::now() > deadline => return Err(error),
            Ok(_) if Instant::now() > deadline => return Ok(None),
            // Not there yet, or a busy machine did not answer in time.
            _ => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}

/// Waits with a countdown.
async fn pause(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        progress(&format!("the agent is silent for {} s more", left.as_secs() + 1));
        tokio::time::sleep(left.min(Duration::from_millis(200))).await;
    }
    progress("");
}

async fn summary(client: &Client, rows: &[Row]) -> Result<(), DemoError> {
    let mut violations = 0;
    let mut switches = 0;
    let mut models: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, _, port, ..) in STAND_INS {
        let (_, stats) = client.get(&format!("http://127.0.0.1:{port}/stand-in/stats")).await?;
        violations += stats["violations"].as_u64().unwrap_or(0);
    }
    for row in rows {
        *models.entry(row.chosen.as_str()).or_default() += 1;
    }
    for pair in rows.windows(2) {
        switches += usize::from(pair[0].chosen != pair[1].chosen);
    }
    let failed = rows.iter().filter(|r| r.error.is_some()).count();
    let served: Vec<String> = models.iter().map(|(model, turns)| format!("{model} {turns}")).collect();
    let cost: f64 = rows.iter().filter_map(|r| r.cost_usd).sum();
    say("");
    say(&format!("turns by model: {}; {switches} switches; estimated cost {cost:.6} USD", served.join(", ")));
    say(&format!("tool results that reached a model which had not asked for them: {violations}"));
    if failed == 0 && violations == 0 {
        return Ok(());
    }
    Err(DemoError::Outcome { failed, turns: rows.len(), violations })
}

/// Shows how to explain a turn, on the first one inside a tool loop.
fn explain(program: &Path, state: &Path, rows: &[Row]) {
    let Some(row) = rows.iter().find(|r| r.phase == "tool_loop").or(rows.first()) else { return };
    say("");
    say(&format!("why turn {} went where it went: pintle explain {}", row.turn, row.flow));
    let mut command = Command::new(program);
    command.arg("explain").arg(&row.flow).arg("--state-dir").arg(state);
    match command.output() {
        Ok(output) => {
            let text = if output.status.success() { output.stdout } else { output.stderr };
            let text = String::from_utf8_lossy(&text);
            text.lines().take(EXPLANATION_LINES).for_each(|line| say(&format!("  {line}")));
        }
        Err(error) => note(&format!("explain did not run: {error}")),
    }
}

/// The demonstration's product, on standard output. A closed pipe there must not stop the clean-up.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Progress for a person, on standard error.
fn note(line: &str) {
    let _ = writeln!(io::stderr(), "demo: {line}");
}

/// A line that the next one replaces; only a terminal can show that.
fn progress(line: &str) {
    let mut out = io::stderr();
    if out.is_terminal() {
        let _ = write!(out, "\r\x1b[K{line}");
        let _ = out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_idle_timeout_changes() {
        let text = "type: session_aware\n  session_aware:\n    base: x # kept\n    idle_timeout_seconds: 300\n\
                    # idle_timeout_seconds: 9\nsession_aware:\n  margin: 1\n";
        let expected = "type: session_aware\n  session_aware:\n    idle_timeout_seconds: 3\n    base: x # kept\n\
                        # idle_timeout_seconds: 9\nsession_aware:\n  idle_timeout_seconds: 3\n  margin: 1\n";
        assert_eq!(with_idle_timeout(text), expected);
    }

    #[test]
    fn the_script_is_twelve_turns_with_a_break_and_tool_results() {
        assert!(STEPS.iter().any(|s| s.pause > IDLE_TIMEOUT));
        assert_eq!(STEPS.iter().filter(|s| matches!(s.act, script::Act::Result(_))).count(), 4);
    }
}
