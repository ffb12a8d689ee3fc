//! What reading a request body costs, beside what serde_json takes for the same.
//!
//! `cargo bench -p pintle-dataplane --bench json_scan [-- ROUNDS]`. Each round runs every case on every kind of body in turn,
//! so that a busy machine disturbs all of them alike; the medians over the rounds are printed. Eight different
//! bodies of each kind take turns, so that no branch is learnt by heart.
//!
//! * scan: UTF-8 check, full grammar check, spans of everything the router reads.
//! * facts: the scan, then counts, sizes, tool state and session key, and the text of the last user turn.
//! * serde RawValue: the leanest typed parse that serde_json offers; finds the members, decodes nothing.
//! * serde Value: a document tree.

use std::hint::black_box;
use std::time::Instant;

use pintle_dataplane::extract::{Options, facts};
use pintle_dataplane::http::head::{Limits, RequestHead, parse_request};
use pintle_dataplane::json::usage::Summary;
use pintle_dataplane::json::{ScanLimits, Spans, scan};
use pintle_routing::facts::{Dialect, Needs};
use serde::Deserialize;
use serde_json::value::RawValue;

const DEFAULT_ROUNDS: usize = 101;
const BODIES: u64 = 8;
/// Bytes each measurement works through: so few that most measurements are not interrupted.
const BYTES_PER_ROUND: usize = 256 << 10;

#[derive(Deserialize)]
struct RawBody<'a> {
    #[serde(borrow)]
    model: &'a RawValue,
    stream: Option<bool>,
    #[serde(borrow)]
    messages: Vec<RawMessage<'a>>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawMessage<'a> {
    #[serde(borrow)]
    role: &'a RawValue,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_call_id: Option<&'a RawValue>,
}

/// Kinds of text: how a client's words look in JSON.
#[derive(Clone, Copy)]
enum Style {
    /// Prose with a line break now and then.
    Prose,
    /// Source code: quotes, tabs and line breaks, as coding agents send it.
    Code,
    /// Nearly half of the words have `\u` escapes, as clients that write ASCII only send other languages.
    Escaped,
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

const PROSE: &str = "the of and to in is that for it as was with be by on not he this are or his from at which but have an had they \
    you were their one all we can her has there been if more when will would who so no time model request answer function";
const CODE: [&str; 10] = [
    "fn main() {\\n",
    "    let x = \\\"a b\\\";\\n",
    "\\tprintln!(\\\"{x}\\\");\\n",
    "}\\n\\n",
    "use std::fmt;\\n",
    "// why\\n",
    "if n > 0 { return n - 1; }\\n",
    "impl Display for Thing {\\n",
    "match value {\\n",
    "    Some(v) => v.len(),\\n",
];
const ESCAPED: [&str; 7] = [
    "caf\\u00e9",
    "na\\u00efve",
    "\\u4f60\\u597d",
    "quote\\\"d",
    "back\\\\slash",
    "line\\nbreak",
    "\\ud83d\\ude00",
];

/// A JSON string's inside, of about `len` bytes.
fn text(style: Style, len: usize, random: &mut Random) -> String {
    let words: Vec<&str> = PROSE.split_whitespace().collect();
    let mut text = String::new();
    let mut column = 0;
    while text.len() < len {
        let piece = match style {
            Style::Code => CODE[random.below(CODE.len())],
            Style::Escaped if random.below(100) < 45 => ESCAPED[random.below(ESCAPED.len())],
            Style::Prose | Style::Escaped => words[random.below(words.len())],
        };
        text.push_str(piece);
        text.push(' ');
        column += piece.len() + 1;
        if column > 80 {
            text.push_str("\\n ");
            column = 0;
        }
    }
    text
}

/// A chat request of about `len` bytes: turns of a few hundred to a few thousand bytes, some with tool calls.
fn body(style: Style, len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut body = String::from(
        r#"{"model": "gpt-4o-mini", "stream": true, "temperature": 0.7, "max_tokens": 256, "user": "u-123", "tools": [{"type": "function", "function": {"name": "get_weather", "description": "Get weather", "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}}}], "messages": [{"role": "system", "content": "You are a helpful assistant."}"#,
    );
    let mut turn = 0;
    while body.len() + 80 < len {
        let room = (len - body.len() - 60).min(200 + random.below(2800));
        let content = text(style, room, &mut random);
        let role = ["user", "assistant", "user", "assistant", "tool"][turn % 5];
        body += &format!(r#", {{"role": "{role}", "content": "{content}""#);
        match turn % 5 {
            3 => {
                body += r#", "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{\"location\":\"Paris\"}"}}]"#;
            }
            4 => body += r#", "tool_call_id": "call_1""#,
            _ => {}
        }
        body += "}";
        turn += 1;
    }
    body += "]}";
    body.into_bytes()
}

type Case<'c> = (&'static str, Box<dyn FnMut(&[u8]) -> usize + 'c>);

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// Median nanoseconds per call of each case over `inputs`.
fn measure(cases: &mut [Case<'_>], inputs: &[Vec<u8>], rounds: usize) -> Vec<f64> {
    let calls = (BYTES_PER_ROUND / inputs[0].len()).max(2);
    let mut samples = vec![Vec::new(); cases.len()];
    for round in 0..rounds {
        for (case, samples) in cases.iter_mut().zip(&mut samples) {
            let start = Instant::now();
            for call in 0..calls {
                black_box((case.1)(black_box(&inputs[(round + call) % inputs.len()])));
            }
            samples.push(start.elapsed().as_nanos() as f64 / calls as f64);
        }
    }
    samples.into_iter().map(median).collect()
}

fn print(title: &str, bytes: usize, cases: &[Case<'_>], medians: &[f64]) {
    println!("\n{title}, {bytes} bytes");
    for ((name, _), nanos) in cases.iter().zip(medians) {
        let ratio = nanos / medians[0];
        println!("  {name:<16} {nanos:>10.0} ns/op {:>6.2} GB/s {ratio:>7.2} x", bytes as f64 / nanos);
    }
}

fn main() {
    let rounds = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(DEFAULT_ROUNDS);
    let wire = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer sk-1\r\nx-session-id: s-1\r\n\r\n";
    let mut head = RequestHead::new();
    parse_request(wire, &Limits::default(), &mut head).expect("a valid head");
    let request = head.view(wire);
    let key = |tenant: &[u8], session: &[u8]| (tenant.len() as u128) << 64 | session.len() as u128;
    let options = Options { session_header: "", trusted_identity: false, key: &key };
    let needs = Needs { current_user: true, ..Needs::default() };
    let limits = ScanLimits::default();
    let (mut spans, mut more_spans) = (Spans::new(), Spans::new());

    let mut cases: Vec<Case<'_>> = vec![
        (
            "scan",
            Box::new(|body| {
                scan(body, Dialect::OpenAiChat, &limits, &mut spans).expect("valid");
                spans.messages.len()
            }),
        ),
        (
            "facts",
            Box::new(|body| {
                let text = scan(body, Dialect::OpenAiChat, &limits, &mut more_spans).expect("valid");
                let facts = facts(request, text, &more_spans, needs, &options);
                facts.envelope_bytes as usize + facts.texts.current_user.len()
            }),
        ),
        (
            "serde RawValue",
            Box::new(|body| {
                let parsed: RawBody<'_> = serde_json::from_slice(body).expect("valid");
                let sizes = parsed.messages.iter().map(|message| {
                    let optional = [message.content, message.tool_calls, message.tool_call_id];
                    message.role.get().len()
                        + optional.iter().flatten().map(|value| value.get().len()).sum::<usize>()
                });
                let rest = [parsed.tools, parsed.user]
                    .iter()
                    .flatten()
                    .map(|value| value.get().len())
                    .sum::<usize>();
                sizes.sum::<usize>()
                    + rest
                    + parsed.model.get().len()
                    + usize::from(parsed.stream == Some(true))
            }),
        ),
        (
            "serde Value",
            Box::new(|body| {
                let parsed: serde_json::Value = serde_json::from_slice(body).expect("valid");
                parsed["messages"].as_array().map_or(0, Vec::len)
            }),
        ),
    ];
    println!("medians of {rounds} rounds; x: times the first line");
    for (name, style) in [("prose", Style::Prose), ("code", Style::Code), ("escape-heavy", Style::Escaped)] {
        for size in [1 << 10, 16 << 10, 256 << 10] {
            let bodies: Vec<Vec<u8>> = (0..BODIES).map(|seed| body(style, size, seed * 977 + 1)).collect();
            let medians = measure(&mut cases, &bodies, rounds);
            print(name, bodies[0].len(), &cases, &medians);
        }
    }
    events(rounds);
}

/// An ordinary event of a streamed answer: filtered, parsed, and parsed by serde_json.
fn events(rounds: usize) {
    let event = |word: &str| {
        format!(r#"{{"id":"chatcmpl-9f3c2f6d1b7e4a5c","object":"chat.completion.chunk","created":1763720000,"model":"small","choices":[{{"index":0,"delta":{{"content":" {word}"}},"logprobs":null,"finish_reason":null}}],"usage":null}}"#).into_bytes()
    };
    let inputs: Vec<Vec<u8>> = PROSE.split_whitespace().take(BODIES as usize).map(event).collect();
    let mut filtered = Summary::new();
    filtered.read_event(&inputs[0]);
    let mut parsed = Summary::new();
    let mut cases: Vec<Case<'_>> = vec![
        (
            "read_event",
            Box::new(|data| {
                filtered.read_event(data);
                filtered.id.len()
            }),
        ),
        (
            "read_body",
            Box::new(|data| {
                parsed.read_body(data);
                parsed.id.len()
            }),
        ),
        ("serde Value", Box::new(|data| serde_json::from_slice::<serde_json::Value>(data).map_or(0, |_| 1))),
    ];
    let medians = measure(&mut cases, &inputs, rounds);
    print("ordinary stream event", inputs[0].len(), &cases, &medians);
}
