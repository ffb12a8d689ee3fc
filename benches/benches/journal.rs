//! What it costs to keep a flow: CPU time of the control thread and of the kernel's helpers, and bytes on disk, beside
//! what it costs to make the JSON document of the same flow.
//!
//! Flows are offered in bursts as large as a busy worker's in the time for which the journal gathers, and each burst is
//! waited for. The producer's own time is not counted.

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pintle_config::Profile;
use pintle_control::hooks::ControlHooks;
use pintle_control::{
    AdminOptions, ControlOptions, ControlThread, Drained, Driver, JournalOptions, ReloadReport,
};
use pintle_routing::facts::{Facts, SessionIdentity, SessionSnapshot, SessionSource};
use pintle_routing::flow::{Attempt, Decided, Fault, FlowRecord, Usage, UsageSource};
use pintle_routing::flow_id::FlowIds;
use pintle_routing::live::LiveSignals;
use pintle_routing::policy::{Inputs, Policy};
use pintle_routing::units::{Micros, Tokens, UnixMillis, Usd};

type Outcome<T> = Result<T, Box<dyn Error>>;

const NOW: UnixMillis = UnixMillis(1_795_262_400_000);
const BURST: usize = 512;
const BURSTS: usize = 200;
/// Nanoseconds in a tick of `/proc/PID/stat`.
const TICK_NS: u64 = 10_000_000;

const POLICY: &str = r#"
version: v0.3
listeners: [{name: l, address: 127.0.0.1, port: 8801}]
providers:
  defaults: {default_model: small}
  models:
    - {name: small, backend_refs: [{name: a, endpoint: "127.0.0.1:1"}], pricing: {prompt_per_1m: 0.05, completion_per_1m: 0.1, cached_input_per_1m: 0.01}}
    - {name: large, backend_refs: [{name: a, endpoint: "127.0.0.1:1"}], pricing: {prompt_per_1m: 0.3, completion_per_1m: 0.6, cached_input_per_1m: 0.06}}
    - {name: frontier, backend_refs: [{name: a, endpoint: "127.0.0.1:1"}], pricing: {prompt_per_1m: 8, completion_per_1m: 24, cached_input_per_1m: 1.2}}
routing:
  modelCards:
    - {name: small, quality_score: 0.64, context_window_size: 32768}
    - {name: large, quality_score: 0.78, context_window_size: 131072}
    - {name: frontier, quality_score: 0.94, context_window_size: 200000}
  signals:
    keywords:
      - {name: hard, operator: OR, keywords: [prove, architecture, deadlock]}
      - {name: fix, operator: OR, keywords: [fix it, typo, rename]}
    context: [{name: long, min_tokens: "16K", max_tokens: "1M"}]
    conversation: [{name: tools, feature: {type: exists, source: {type: tool_definition}}}]
  decisions:
    - name: hard
      priority: 30
      rules: {operator: OR, conditions: [{type: keyword, name: hard}, {type: keyword, name: fix}]}
      modelRefs: [{model: frontier}, {model: large}]
      algorithm: {type: session_aware, session_aware: {base_method: static}}
    - name: agent
      priority: 20
      rules: {operator: AND, conditions: [{type: conversation, name: tools}, {operator: NOT, conditions: [{type: context, name: long}]}]}
      modelRefs: [{model: large}, {model: small}]
      algorithm: {type: session_aware, session_aware: {base_method: static}}
    - name: rest
      priority: 1
      rules: {operator: AND, conditions: []}
      modelRefs: [{model: small}, {model: large}]
      algorithm: {type: session_aware, session_aware: {base_method: static}}
"#;

fn main() -> Outcome<()> {
    // `cargo test --benches` calls this too; there is nothing to measure then.
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let loaded = pintle_config::load(POLICY.as_bytes(), "bench.yaml", Profile::Pintle);
    let config = loaded.config.ok_or("the policy does not load")?;
    let policy = Policy::compile(&config, Profile::Pintle).map_err(|errors| format!("{errors:?}"))?;
    let policy = Arc::new(policy);
    let flow = flow(&policy);

    let before = thread_ns()?;
    let mut bytes = 0;
    for _ in 0..BURST * BURSTS / 10 {
        let document = FlowRecord::clone(&flow).document(policy.legend())?;
        bytes = black_box(serde_json::to_vec(&document)?).len() + 1;
    }
    let json_ns = (thread_ns()? - before) / (BURST * BURSTS / 10) as u64;
    println!("making a JSON document: {json_ns} ns of CPU, {bytes} bytes");

    let mut ids = FlowIds::new(0, 7);
    let control = ControlThread::spawn(options(dir.path()), hooks())?;
    let journal = control.journal();
    let others = |of: (u64, u64)| of.0.saturating_sub(of.1);
    let before = others((process_ns()?, thread_ns()?));
    for _ in 0..BURSTS {
        for _ in 0..BURST {
            let id = ids.next(NOW);
            journal.offer(Box::new(FlowRecord { id, ..FlowRecord::clone(&flow) }), policy.clone())?;
        }
        while journal.queued() > 0 {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
    control.shutdown();
    control.join()?;
    let used = others((process_ns()?, thread_ns()?)) - before;
    let flows = (BURST * BURSTS) as u64;
    let written: u64 = segments(&dir.path().join("flows"))?;
    println!("keeping a record: {} ns of CPU, written; {} bytes", used / flows, written / flows);
    Ok(())
}

/// The second turn of a session, as the proxy benchmark has them.
fn flow(policy: &Policy) -> Box<FlowRecord> {
    let facts = Facts {
        session: Some(SessionIdentity {
            key: 0x0123_4567_89ab_cdef << 64,
            source: SessionSource::XSessionId,
        }),
        ..Facts::of_text("The parser drops the last token when the file has no newline.")
    };
    let session = SessionSnapshot {
        model: "small",
        decision: "rest",
        turns: 3,
        switches: 0,
        turns_on_model: 3,
        last_seen: UnixMillis(NOW.get() - 7000),
        open_tool_loop: false,
        provider_state: false,
        last_prompt_tokens: Tokens(20),
        last_cached_tokens: None,
        last_completion_tokens: Tokens(2),
        prompt_tokens: Tokens(60),
        cached_tokens: Tokens(0),
        completion_tokens: Tokens(6),
        demand: 0.4,
    };
    let live = LiveSignals { bytes_per_token: 3.7, ..LiveSignals::default() };
    let inputs = Inputs {
        facts: &facts,
        session: Some(&session),
        provider_owner: None,
        now: NOW,
        live: &live,
        foresight: None,
    };
    let mut flow = FlowRecord::begin(FlowIds::new(0, 1).next(NOW), NOW, 0);
    flow.decided = Some(Decided::of(&inputs, policy.decide_with(&inputs), false));
    flow.request.method = "POST".into();
    flow.request.path = "/v1/chat/completions".into();
    flow.request.model = "auto".into();
    flow.request.session_source = Some(SessionSource::XSessionId);
    flow.request.session_key = "0123456789abcdef".into();
    flow.request.bytes = 1024;
    flow.attempts.push(Attempt {
        model: "small".into(),
        backend: "a".into(),
        address: "127.0.0.1:8000".into(),
        status: Some(200),
        ..Attempt::default()
    });
    flow.usage = Some(Usage {
        prompt: Tokens(20),
        completion: Tokens(2),
        source: UsageSource::Backend,
        ..Usage::default()
    });
    flow.cost = Some(Usd(1.2e-6));
    flow.timings.routing_us = Micros(6);
    flow.timings.first_byte_us = Some(Micros(812));
    flow.timings.total_us = Micros(903);
    flow.ending.status = 200;
    flow.ending.fault = Fault::None;
    flow.ending.committed = true;
    flow.ending.finish_reason = Some("stop".into());
    flow
}

fn options(dir: &Path) -> ControlOptions {
    ControlOptions {
        admin: AdminOptions { listen: None, allow_remote: false, socket: None },
        journal: JournalOptions {
            dir: dir.join("flows"),
            max_bytes: 1 << 30,
            segment_bytes: 16 << 20,
            queue: 8192,
        },
        driver: Driver::Auto,
        drain: Duration::ZERO,
        retire: Duration::ZERO,
        handle_signals: false,
    }
}

fn hooks() -> ControlHooks {
    let nothing = || serde_json::Value::Null;
    ControlHooks {
        reload: Arc::new(|| -> ReloadReport { unreachable!("nobody asks for it") }),
        drain: Box::new(|_| Drained::default()),
        retire: Box::new(|_| Drained::default()),
        upgrade: None,
        alive: Arc::new(|| Ok(())),
        ready: Arc::new(|| Ok(())),
        status: Arc::new(nothing),
        config: Arc::new(nothing),
        sessions: None,
        feedback: None,
        periodic: Vec::new(),
    }
}

/// CPU time of this thread.
fn thread_ns() -> Outcome<u64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split_whitespace().next().unwrap_or("0").parse()?)
}

/// CPU time of all threads, those included that have ended.
fn process_ns() -> Outcome<u64> {
    let text = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = text.rsplit_once(')').ok_or("no end of the name")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Ok(ticks.sum::<Result<u64, _>>()? * TICK_NS)
}

fn segments(dir: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}
