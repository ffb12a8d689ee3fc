//! Each story is a document as the data plane leaves it; its explanation is compared, character for
//! character, with the text in `golden/`.

use std::path::PathBuf;

use pintle_routing::evidence::{Truth, Unknown};
use pintle_routing::facts::{Dialect, MessageCounts, SessionSource, ToolFacts};
use pintle_routing::flow::recorded::RecordedSession;
use pintle_routing::flow::{
    Attempt, CandidateRecord, DecisionRecord, Ending, FactsSummary, Fault, Request, RuleRecord, Selection,
    Session, SignalRecord, Timings, Usage, UsageSource, VerdictRecord,
};
use pintle_routing::outcome::{Hold, SessionAction};
use pintle_routing::session::{
    CandidateTrace, LockKind, SessionAction as PolicyAction, SessionPhase, SessionProfile, SessionTrace,
};
use pintle_routing::units::{Micros, Tokens, UnixMillis, Usd};

use super::*;

const NOON: UnixMillis = UnixMillis(1_795_262_400_000);
const PLAIN: Style = Style { width: 100, colour: false };

fn assert_golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("src/explain/golden/{name}.txt"));
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    if text != expected {
        let got = std::env::temp_dir().join(format!("pintle-golden-{name}.txt"));
        std::fs::write(&got, text).expect("temporary file");
        panic!("explanation differs; compare:\n  diff {} {}\n{text}", path.display(), got.display());
    }
}

fn leaf(node: &str, truth: Truth) -> RuleRecord {
    RuleRecord { node: node.to_owned(), truth, confidence: 0.0, children: Vec::new() }
}

fn node(node: &str, truth: Truth, children: Vec<RuleRecord>) -> RuleRecord {
    RuleRecord { node: node.to_owned(), truth, confidence: 0.0, children }
}

fn decision(name: &str, priority: i64, rules: RuleRecord, chosen: bool) -> DecisionRecord {
    let truth = rules.truth;
    DecisionRecord {
        name: name.to_owned(),
        priority,
        tier: 0,
        truth,
        confidence: 0.92,
        chosen,
        guard: false,
        rules,
    }
}

fn signal(signal: &str, truth: Truth, confidence: Option<f64>, value: Option<f64>) -> SignalRecord {
    SignalRecord { signal: signal.to_owned(), truth, confidence, value, assumed: None }
}

const BLIND: Truth = Truth::Unknown(Unknown::NoClassifier);

/// Turn 7 of a coding session: tool results come back and must go to the model that asked for them.
fn tool_loop() -> FlowDocument {
    FlowDocument {
        id: "01KHXK5A00000R000GZWQ5Y7C3".to_owned(),
        at: NOON,
        worker: 3,
        policy_digest: "9c1f66b02d7e4a55".to_owned(),
        request: Request {
            method: "POST".to_owned(),
            path: "/v1/chat/completions".to_owned(),
            dialect: Some(Dialect::OpenAiChat),
            model: "auto".to_owned(),
            stream: true,
            bytes: 48_213,
            session_source: Some(SessionSource::XSessionId),
            session_key: "9f3a1c77e0b2d458".to_owned(),
            request_id: "5a0f7d".to_owned(),
        },
        facts: FactsSummary {
            messages: MessageCounts { user: 3, assistant: 6, system: 1, developer: 0, tool: 4 },
            tools: ToolFacts {
                definitions: 12,
                calls: 5,
                results: 5,
                last_is_result: true,
                ..ToolFacts::default()
            },
            envelope_bytes: 46_120,
            context_tokens: Tokens(11_530),
            history_tokens: Tokens(9_800),
            ..FactsSummary::default()
        },
        evidence: vec![
            signal("keyword:code", Truth::True, None, Some(2.0)),
            signal("conversation:agentic", Truth::True, Some(1.0), Some(4.0)),
            signal("context:long", Truth::False, None, Some(11_530.0)),
            signal("keyword:legal", Truth::False, None, None),
            signal("jailbreak:guard", BLIND, None, None),
        ],
        decisions: vec![
            decision(
                "coding",
                100,
                node(
                    "and",
                    Truth::True,
                    vec![
                        leaf("keyword:code", Truth::True),
                        node("not", Truth::True, vec![leaf("context:long", Truth::False)]),
                    ],
                ),
                true,
            ),
            decision("agent", 50, leaf("conversation:agentic", Truth::True), false),
            decision("guarded", 40, node("not", BLIND, vec![leaf("jailbreak:guard", BLIND)]), false),
            decision(
                "legal",
                10,
                node(
                    "or",
                    Truth::False,
                    vec![leaf("keyword:legal", Truth::False), leaf("context:long", Truth::False)],
                ),
                false,
            ),
        ],
        selection: Selection {
            algorithm: "session_aware".to_owned(),
            method: "static".to_owned(),
            confidence: 1.0,
            note: None,
            switch_gate: None,
            candidates: vec![
                CandidateRecord {
                    target: "coder-small".to_owned(),
                    eligible: true,
                    base_score: 0.4,
                    adjusted_score: Some(1.0),
                    reason: "static weight 0.4".to_owned(),
                },
                CandidateRecord {
                    target: "coder-large".to_owned(),
                    eligible: true,
                    base_score: 0.9,
                    adjusted_score: Some(0.41),
                    reason: "static weight 0.9".to_owned(),
                },
                CandidateRecord {
                    target: "vision".to_owned(),
                    eligible: false,
                    reason: "cannot call tools".to_owned(),
                    ..CandidateRecord::default()
                },
            ],
            base_choice: Some("coder-large".to_owned()),
            choice: Some("coder-small".to_owned()),
            alternatives: Vec::new(),
        },
        session: Session {
            before: Some(RecordedSession {
                model: "coder-small".to_owned(),
                decision: "coding".to_owned(),
                turns: 6,
                switches: 1,
                turns_on_model: 4,
                last_seen: UnixMillis(NOON.get() - 41_500),
                open_tool_loop: true,
                provider_state: false,
                last_prompt_tokens: Tokens(9_612),
                last_cached_tokens: Some(Tokens(8_960)),
                last_completion_tokens: Tokens(188),
                prompt_tokens: Tokens(31_004),
                cached_tokens: Tokens(24_576),
                completion_tokens: Tokens(1_702),
                demand: 0.35,
            }),
            phase: Some(SessionPhase::ToolLoop),
            action: Some(SessionAction::Held(Hold::ToolLoop)),
            policy: Some(SessionTrace {
                profile: SessionProfile::Pintle,
                phase: SessionPhase::ToolLoop,
                action: PolicyAction::Held,
                lock: Some(LockKind::ToolLoop),
                reset: None,
                reason: "hard_lock=tool_loop".into(),
                current: Some(0),
                chosen: Some(0),
                idle_ms: Some(41_500),
                turn_demand: 0.62,
                session_demand: 0.44,
                warmth: 0.85,
                remaining_turns: 5.5,
                shortfall_price: Usd(0.002),
                candidates: [
                    CandidateTrace {
                        base_score: 0.4,
                        adjusted_score: 1.0,
                        usable: true,
                        tier: 0,
                        prompt: Usd(0.000519),
                        cached: Usd(0.000294),
                        completion: Usd(0.000240),
                        rebuild: Usd(0.0),
                        shortfall: Usd(0.002),
                        switch: Usd(0.0),
                        future: Usd(0.006110),
                        total: Usd(0.009163),
                    },
                    CandidateTrace {
                        base_score: 0.9,
                        adjusted_score: 0.41,
                        usable: true,
                        tier: 1,
                        prompt: Usd(0.011530),
                        cached: Usd(0.0),
                        completion: Usd(0.0012),
                        rebuild: Usd(0.0098),
                        shortfall: Usd(0.0),
                        switch: Usd(0.0),
                        future: Usd(0.009620),
                        total: Usd(0.022350),
                    },
                ]
                .into_iter()
                .collect(),
                saar: None,
                sentence: String::new(),
            }),
            breach: false,
            reason: "the tool results go back to coder-small, which asked for them".to_owned(),
        },
        verdict: VerdictRecord {
            kind: "route".to_owned(),
            target: Some("coder-small".to_owned()),
            decision: Some("coding".to_owned()),
            confidence: 0.92,
            reason: "the tool results go back to coder-small, which asked for them".to_owned(),
            ..VerdictRecord::default()
        },
        upstream: vec![
            Attempt {
                model: "coder-small".to_owned(),
                backend: "b1".to_owned(),
                address: "10.0.0.11:8000".to_owned(),
                error: Some("connection refused".to_owned()),
                fault: Fault::Upstream,
                ..Attempt::default()
            },
            Attempt {
                model: "coder-small".to_owned(),
                backend: "b2".to_owned(),
                address: "10.0.0.12:8000".to_owned(),
                connect_us: Micros(142),
                status: Some(200),
                ..Attempt::default()
            },
        ],
        usage: Some(Usage {
            prompt: Tokens(11_602),
            cached: Some(Tokens(9_728)),
            completion: Tokens(96),
            reasoning: None,
            source: UsageSource::Backend,
        }),
        cost_usd: Some(Usd(0.000964)),
        timings: Timings {
            routing_us: Micros(84),
            classifier_us: None,
            first_byte_us: Some(Micros(212_400)),
            total_us: Micros(1_840_000),
        },
        outcome: Ending {
            status: 200,
            fault: Fault::None,
            committed: true,
            finish_reason: Some("tool_calls".to_owned()),
            error: None,
        },
        ..FlowDocument::default()
    }
}

/// A request for a model that nobody configured.
fn refusal() -> FlowDocument {
    FlowDocument {
        id: "01KHXK5A00000R000GZWQ5Y7C4".to_owned(),
        at: NOON,
        policy_digest: "9c1f66b02d7e4a55".to_owned(),
        request: Request {
            method: "POST".to_owned(),
            path: "/v1/chat/completions".to_owned(),
            dialect: Some(Dialect::OpenAiChat),
            model: "gpt-9".to_owned(),
            bytes: 1,
            ..Request::default()
        },
        verdict: VerdictRecord {
            kind: "refuse".to_owned(),
            status: Some(404),
            code: Some("model_not_found".to_owned()),
            reason: "no model named gpt-9 is configured".to_owned(),
            ..VerdictRecord::default()
        },
        timings: Timings { routing_us: Micros(7), total_us: Micros(95), ..Timings::default() },
        outcome: Ending { status: 404, fault: Fault::Client, ..Ending::default() },
        ..FlowDocument::default()
    }
}

/// Every backend of the chosen model failed.
fn outage() -> FlowDocument {
    let mut document = tool_loop();
    document.upstream[1] = Attempt {
        error: Some("no first byte within 120 s".to_owned()),
        fault: Fault::Upstream,
        status: None,
        ..document.upstream[1].clone()
    };
    document.usage = None;
    document.cost_usd = None;
    document.timings = Timings { first_byte_us: None, total_us: Micros(120_003_000), ..document.timings };
    document.outcome = Ending { status: 504, fault: Fault::Upstream, ..Ending::default() };
    document
}

#[test]
fn a_held_tool_loop_is_explained() {
    assert_golden("tool_loop", &explain(&tool_loop(), PLAIN));
}

#[test]
fn a_refusal_is_explained() {
    assert_golden("refusal", &explain(&refusal(), PLAIN));
}

#[test]
fn an_outage_is_explained_and_blamed() {
    assert_golden("outage", &explain(&outage(), PLAIN));
}

#[test]
fn an_empty_document_does_not_pretend() {
    assert_golden("empty", &explain(&FlowDocument::default(), PLAIN));
}

#[test]
fn lines_fit_the_width_and_colours_take_none_of_it() {
    for width in [40, 60, 80, 120] {
        let plain = explain(&tool_loop(), Style { width, colour: false });
        let longest_word = plain.split_whitespace().map(|word| word.chars().count()).max().unwrap_or(0);
        for line in plain.lines() {
            assert!(line.chars().count() <= width.max(longest_word + 18), "{width}: {line}");
        }
        let coloured = explain(&tool_loop(), Style { width, colour: true });
        assert!(coloured.contains("\x1b["));
        let mut stripped = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once("\x1b[") {
            stripped.push_str(before);
            rest = after.split_once('m').expect("sequences end").1;
        }
        stripped.push_str(rest);
        let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        assert_eq!(trimmed(&stripped), trimmed(&plain), "colour does not change the layout");
    }
}

#[test]
fn foreign_text_cannot_drive_the_terminal() {
    let mut document = tool_loop();
    let evil = "\x1b]0;owned\x07\x1b[2J\r\n\u{202e}txt";
    document.request.model = evil.to_owned();
    document.request.request_id = evil.to_owned();
    document.request.path = evil.to_owned();
    document.verdict.target = Some(evil.to_owned());
    document.verdict.reason = evil.to_owned();
    document.session.reason = evil.to_owned();
    document.upstream[0].error = Some(evil.to_owned());
    document.outcome.finish_reason = Some(evil.to_owned());
    document.selection.candidates[0].reason = evil.to_owned();
    document.decisions[3].rules.children[0].node = evil.to_owned();
    let text = explain(&document, PLAIN);
    let driving: Vec<char> =
        text.chars().filter(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}').collect();
    assert!(driving.is_empty(), "{driving:?}\n{text}");
}

#[test]
fn json_keeps_every_field() {
    let json = explain_json(&tool_loop()).expect("serialises");
    assert_eq!(serde_json::from_str::<FlowDocument>(&json).expect("reads back"), tool_loop());
}

mod numbers {
    use super::super::format::*;
    use super::*;

    #[test]
    fn durations_read_naturally() {
        for (micros_, text) in [
            (0, "0 µs"),
            (999, "999 µs"),
            (1_500, "1.5 ms"),
            (312_000, "312 ms"),
            (1_840_000, "1.84 s"),
            (125_000_000, "2m 5s"),
        ] {
            assert_eq!(micros(Micros(micros_)), text);
        }
    }

    #[test]
    fn counts_and_money() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
        assert_eq!(plural(1, "byte"), "1 byte");
        assert_eq!(dollars(Usd(0.000964)), "$0.000964");
        assert_eq!(dollars(Usd(-1.5)), "-$1.500000");
        assert_eq!(quantity(11_530.0), "11,530");
        assert_eq!(quantity(0.12345), "0.123");
        assert_eq!(time(UnixMillis(u64::MAX)), "9999-12-31T23:59:59.999Z");
    }
}
